//! Campaigns of a machine that goes wrong under the engine, again and again, while a crowd trades: its disk is full,
//! reads, writes and syncs fail, files may not grow, nobody takes its log, its clock is stepped. In between it is killed
//! and started again. Whatever happens, the history stays one that [`crate::support::history`] accepts, and each time work goes on
//! soon after the fault is over, without a restart.

use std::io::{PipeReader, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::kills::ROUGH;
use crate::support::crowd::{Crowd, full, seed};
use crate::support::databases::Postgres;
use crate::support::history::Findings;
use crate::support::machine::{FakeClock, IoFaults, SmallDisk, WITHOUT_SIGXFSZ, limit_files};
use crate::support::process::{PATIENCE, SWIFT, Server, postgres_for_all};

/// An order that is submitted after the end of a fault has ended so soon. What is promised is some seconds; the rest is
/// what a busy machine may add.
const RESUMED_WITHIN: Duration = Duration::from_secs(20);

/// What goes wrong in a campaign.
trait Fault {
    /// It begins, in a way that is drawn; says which.
    async fn begin(&mut self, server: &Server, crowd: &Crowd) -> String;

    /// It is over. The engine runs, unless it was killed.
    async fn end(&mut self, server: Option<&Server>);

    /// What `/ready` must say of the fault that lasts just now, where it is one that cannot be missed.
    fn told(&self) -> Option<&'static str> {
        None
    }

    /// Prepares the next start of the engine.
    fn before_start(&mut self, _: &mut Server) {}
}

/// Has the fault come and go under a trading crowd, and judges everything at the end.
async fn campaign(server: &mut Server, mut fault: impl Fault, rounds: usize) -> Findings {
    let crowd = Crowd::new(seed());
    let orders = if full() { 25 } else { 12 };
    fault.before_start(server);
    server.restart();
    crowd.meet(server);
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds {
        crowd.trade(orders);
        crowd.some_moment(60).await;
        let what = fault.begin(server, &crowd).await;
        crowd.trade(orders);
        crowd.some_moment(500).await;
        if let Some(word) = fault.told() {
            until_ready_says(server, &crowd, word, &what).await;
        }
        if let Some(status) = server.ended() {
            panic!("the engine ended with {status} by itself, under {what}");
        }
        let end = crowd.draw(6);
        if end < 2 {
            if end == 0 {
                server.kill();
            } else {
                stop(server, &crowd, &what).await;
            }
            // It may not stand up before the fault is over, and is killed once more if it does.
            fault.before_start(server);
            server.spawn();
            crowd.some_moment(300).await;
            if server.ended().is_none() {
                server.kill();
            }
            fault.end(None).await;
            fault.before_start(server);
            server.restart();
            crowd.meet(server);
        } else {
            fault.end(Some(server)).await;
        }
        let over = Instant::now();
        crowd.one_order_ends(&format!("round {round}, {what}")).await;
        slowest = slowest.max(over.elapsed());
        assert!(over.elapsed() < RESUMED_WITHIN, "work went on {:?} after {what} was over", over.elapsed());
        if round % 10 == 0 {
            eprintln!("{round} rounds");
        }
    }
    server.kill();
    fault.before_start(server);
    server.restart();
    crowd.meet(server);
    let findings = crowd.check(server).await;
    let refused = crowd.refused();
    eprintln!(
        "{rounds} faults: 0 violations in {findings:?}; {refused} submits were refused meanwhile; work went on at most {slowest:?} after one was over"
    );
    findings
}

/// Stops it in good order, under a fault: however much it could not finish, that is no panic.
async fn stop(server: &mut Server, crowd: &Crowd, what: &str) {
    server.ask_to_stop();
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = server.ended() {
            break status;
        }
        assert!(asked.elapsed() < PATIENCE, "the engine does not stop, under {what}");
        crowd.some_moment(5).await;
    };
    assert!(status.code().is_some_and(|code| code != 101), "the engine stopped with {status}, under {what}");
}

/// Waits until `/ready` says something, for which the crowd trades on.
async fn until_ready_says(server: &Server, crowd: &Rc<Crowd>, word: &str, what: &str) {
    let mut said = Value::Null;
    let looks = async {
        while !said.to_string().contains(word) {
            said = server.client.get("/ready").await.body;
            crowd.trade(1);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, looks).await.is_ok();
    assert!(told, "/ready never says {word:?} of {what}: {said}");
}

/// One of several ways.
fn one_of<T: Copy>(ways: &[T], crowd: &Crowd) -> T {
    ways[crowd.draw(ways.len() as u32) as usize]
}

fn rounds(long: usize) -> usize {
    if full() { long } else { 5 }
}

fn rough_weather() -> impl Iterator<Item = (&'static str, &'static str)> {
    SWIFT.into_iter().chain(ROUGH).chain([("server.shutdown_timeout_ms", "500")])
}

/// The database, the ledger and the log on a disk that others fill.
struct FullDisk {
    disk: SmallDisk,
}

impl Fault for FullDisk {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        let left = one_of(&[0, 4_096, 16_384], crowd);
        self.disk.fill_but(left);
        format!("a disk with {left} bytes left")
    }

    async fn end(&mut self, _: Option<&Server>) {
        self.disk.free();
    }

    fn told(&self) -> Option<&'static str> {
        // SQLite may have room in its files that the log has not.
        Some("cannot")
    }

    fn before_start(&mut self, server: &mut Server) {
        server.log_into(self.disk.new_file("log"));
    }
}

#[actix::test]
async fn a_disk_that_is_full_again_and_again_under_sqlite_the_ledger_and_the_log_costs_nothing_but_time() {
    let disk = SmallDisk::of_mib(64);
    let mut server = Server::idle_in(disk.new_folder(), rough_weather());
    server.set("LOG_LEVEL", "debug");
    let findings = campaign(&mut server, FullDisk { disk }, rounds(60)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// Reads, writes and syncs of SQLite that fail.
struct FailingIo {
    faults: IoFaults,
    lasting: Option<&'static str>,
}

impl FailingIo {
    /// The errors are EIO (5) and ENOSPC (28). A shortened read is left out: libfiu also makes one of it that reads
    /// nothing, which is the end of a file and not what disks do.
    const WAYS: [&str; 11] = [
        "name=posix/io/rw/pwrite,failinfo=5",
        "name=posix/io/rw/pwrite,failinfo=28",
        "name=posix/io/rw/pwrite,failinfo=5,probability=0.1",
        "name=posix/io/rw/pwrite,failinfo=28,probability=0.02",
        "name=posix/io/rw/pwrite/reduce,probability=0.2",
        "name=posix/io/sync/fsync,failinfo=5",
        "name=posix/io/sync/fsync,failinfo=5,probability=0.2",
        "name=posix/io/rw/pread,failinfo=5",
        "name=posix/io/rw/pread,failinfo=5,probability=0.05",
        "name=posix/io/rw/ftruncate,failinfo=5",
        "name=posix/io/dir/unlink,failinfo=5",
    ];

    fn enabling(way: &str) -> String {
        format!("{} {way}", if way.contains("probability") { "enable_random" } else { "enable" })
    }
}

impl Fault for FailingIo {
    async fn begin(&mut self, server: &Server, crowd: &Crowd) -> String {
        let way = one_of(&Self::WAYS, crowd);
        self.faults.tell(server.pid(), &Self::enabling(way));
        self.lasting = Some(way);
        way.to_owned()
    }

    async fn end(&mut self, server: Option<&Server>) {
        let way = self.lasting.take().expect("it began");
        let name = way.split(',').next().expect("a way begins with its name");
        if let Some(server) = server {
            self.faults.tell(server.pid(), &format!("disable {name}"));
        }
    }

    fn told(&self) -> Option<&'static str> {
        let stops_every_commit = |way: &str| way.contains("write,failinfo") || way.contains("fsync,failinfo");
        self.lasting.filter(|way| stops_every_commit(way) && !way.contains("probability")).map(|_| "database")
    }

    fn before_start(&mut self, server: &mut Server) {
        // Started again in mid-fault, it has the fault from its first read on.
        let faults: Vec<_> = self.lasting.iter().map(|way| Self::enabling(way)).collect();
        let faults: Vec<_> = faults.iter().map(String::as_str).collect();
        for (name, value) in self.faults.environment(&faults) {
            server.set(&name, &value);
        }
    }
}

#[actix::test]
async fn reads_writes_and_syncs_that_fail_under_sqlite_cost_nothing_but_time() {
    let fault = FailingIo { faults: IoFaults::new(), lasting: None };
    let findings = campaign(&mut Server::idle(rough_weather()), fault, rounds(100)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// Files that may not grow: the ledger and the log, and SQLite's where there is one.
struct FilesThatMayNotGrow;

impl Fault for FilesThatMayNotGrow {
    async fn begin(&mut self, server: &Server, crowd: &Crowd) -> String {
        // The next line of the ledger is cut short after some bytes.
        let ledger = std::fs::metadata(server.ledger_file()).map_or(0, |file| file.len());
        let limit = if crowd.draw(3) == 0 { 0 } else { ledger + u64::from(crowd.draw(400)) };
        limit_files(server.pid(), Some(limit));
        format!("a limit of {limit} bytes a file where the ledger has {ledger}")
    }

    async fn end(&mut self, server: Option<&Server>) {
        if let Some(server) = server {
            limit_files(server.pid(), None);
        }
    }
}

#[actix::test]
async fn files_that_may_not_grow_cost_nothing_but_time() {
    let mut server = Server::idle(rough_weather());
    server.start_through(&WITHOUT_SIGXFSZ);
    server.set("LOG_LEVEL", "debug");
    let log = server.file("log");
    server.log_to(&log);
    let findings = campaign(&mut server, FilesThatMayNotGrow, rounds(60)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

#[actix::test]
async fn a_ledger_that_may_not_grow_beside_a_sound_postgres_costs_nothing_but_time() {
    let postgres = Postgres::start();
    let mut server = Server::idle(rough_weather());
    server.set("database.url", &postgres.url());
    server.start_through(&WITHOUT_SIGXFSZ);
    let findings = campaign(&mut server, FilesThatMayNotGrow, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// A log that nobody takes.
struct LogThatNobodyTakes {
    reader: Option<PipeReader>,
}

impl Fault for LogThatNobodyTakes {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        // Where it is not closed it stays full, and nobody reads it.
        let closed = crowd.draw(2) == 0;
        if closed {
            self.reader = None;
        }
        format!("a log whose pipe is {}", if closed { "closed" } else { "full" })
    }

    fn told(&self) -> Option<&'static str> {
        self.reader.is_none().then_some("log lines cannot be written")
    }

    async fn end(&mut self, _: Option<&Server>) {
        if let Some(reader) = &mut self.reader {
            // It holds something in any case, so this does not wait.
            let _ = reader.read(&mut [0; 65_536]).unwrap();
        }
    }

    fn before_start(&mut self, server: &mut Server) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // What a pipe holds, but for some dozens of lines.
        writer.write_all(&[b'\n'; 61_440]).unwrap();
        self.reader = Some(reader);
        server.log_into(std::os::fd::OwnedFd::from(writer).into());
    }
}

#[actix::test]
async fn a_log_that_nobody_takes_costs_nothing_but_its_lines() {
    let mut server = Server::idle(rough_weather());
    if let Some(url) = postgres_for_all() {
        server.set("DATABASE_URL", &url);
    }
    server.set("LOG_LEVEL", "debug");
    let findings = campaign(&mut server, LogThatNobodyTakes { reader: None }, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// A PostgreSQL whose disk others fill. It may end by itself, and may not start again before there is space.
struct PostgresOnFullDisk {
    disk: SmallDisk,
    postgres: Option<Postgres>,
}

impl Fault for PostgresOnFullDisk {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        let left = one_of(&[0, 8_192, 262_144], crowd);
        self.disk.fill_but(left);
        format!("a PostgreSQL whose disk has {left} bytes left")
    }

    async fn end(&mut self, _: Option<&Server>) {
        self.disk.free();
        meanwhile(&mut self.postgres, |postgres| {
            if !postgres.runs() {
                postgres.reap();
                postgres.restart();
            }
        })
        .await;
    }
}

/// Does something to a PostgreSQL on a thread of its own, so that the crowd trades on.
async fn meanwhile(postgres: &mut Option<Postgres>, what: impl FnOnce(&mut Postgres) + Send + 'static) {
    let mut taken = postgres.take().expect("it is given back each time");
    let done = tokio::task::spawn_blocking(move || {
        what(&mut taken);
        taken
    });
    *postgres = Some(done.await.unwrap());
}

#[actix::test]
async fn a_disk_that_is_full_again_and_again_under_postgres_costs_nothing_but_time() {
    let disk = SmallDisk::of_mib(160);
    let postgres = Postgres::start_in(disk.new_folder());
    let mut server = Server::idle(rough_weather());
    server.set("database.url", &postgres.url());
    let findings = campaign(&mut server, PostgresOnFullDisk { disk, postgres: Some(postgres) }, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// Reads, writes and syncs of PostgreSQL that fail. Its processes are too many and too short-lived to be told, so it is
/// started anew with the fault and without.
struct PostgresWithFailingIo {
    faults: IoFaults,
    postgres: Option<Postgres>,
}

impl PostgresWithFailingIo {
    const WAYS: [&str; 5] = [
        "enable_random name=posix/io/rw/pwrite,failinfo=5,probability=0.02",
        "enable_random name=posix/io/rw/pwrite,failinfo=28,probability=0.05",
        "enable_random name=posix/io/rw/pwrite/reduce,probability=0.05",
        "enable_random name=posix/io/sync/*,failinfo=5,probability=0.02",
        "enable_random name=posix/io/rw/pread,failinfo=5,probability=0.02",
    ];
}

impl Fault for PostgresWithFailingIo {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        let way = one_of(&Self::WAYS, crowd);
        let environment = self.faults.environment(&[way]);
        meanwhile(&mut self.postgres, move |postgres| {
            postgres.kill();
            // It may well not stand up.
            let _ = postgres.try_restart_with(&environment);
        })
        .await;
        format!("a PostgreSQL with {way}")
    }

    async fn end(&mut self, _: Option<&Server>) {
        meanwhile(&mut self.postgres, |postgres| {
            postgres.reap();
            postgres.try_restart_with(&[]).unwrap_or_else(|log| panic!("PostgreSQL does not start again: {log}"));
        })
        .await;
    }
}

#[actix::test]
async fn reads_writes_and_syncs_that_fail_under_postgres_cost_nothing_but_time() {
    let postgres = Postgres::start();
    let mut server = Server::idle(rough_weather());
    server.set("database.url", &postgres.url());
    let fault = PostgresWithFailingIo { faults: IoFaults::new(), postgres: Some(postgres) };
    let findings = campaign(&mut server, fault, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// A clock that is stepped.
struct SteppedClock {
    clock: FakeClock,
}

impl Fault for SteppedClock {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        crowd.clock_is_set();
        let step = one_of(&[-3_600, 86_400, -5], crowd);
        self.clock.set(step);
        format!("a clock that is {step} s off")
    }

    async fn end(&mut self, _: Option<&Server>) {
        self.clock.set(0);
    }
}

async fn clock_is_stepped(mut server: Server) {
    let clock = FakeClock::new();
    for (name, value) in clock.environment() {
        server.set(&name, &value);
    }
    let findings = campaign(&mut server, SteppedClock { clock }, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
    // Ten minutes have not gone by for any of them.
    let failed = server.client.get("/api/orders?status=failed&limit=200").await.body;
    let out_of_time = failed["orders"].as_array().unwrap().iter().find(|order| order["error"]["code"] == "timeout");
    assert!(out_of_time.is_none(), "{out_of_time:?}");
}

#[actix::test]
async fn a_clock_that_is_stepped_again_and_again_costs_nothing_but_wrong_stamps() {
    clock_is_stepped(Server::idle(rough_weather())).await;
}

#[actix::test]
async fn a_clock_that_is_stepped_over_a_postgres_costs_nothing_but_wrong_stamps() {
    let postgres = Postgres::start();
    let mut server = Server::idle(rough_weather());
    server.set("database.url", &postgres.url());
    clock_is_stepped(server).await;
}
