//! Faults of the engine's files: SQLite, the ledger and the log.

use std::io::{PipeReader, Read, Write};

use super::{Fault, rounds, run_campaign, settings};
use crate::support::crowd::Crowd;
use crate::support::machine::{IoFaults, SmallDisk, WITHOUT_SIGXFSZ, limit_files};
use crate::support::postgres::Postgres;
use crate::support::process::{Server, shared_postgres};

/// A full disk with the database, the ledger and the log.
struct FullDisk {
    disk: SmallDisk,
}

impl Fault for FullDisk {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        let left = crowd.one_of(&[0, 4_096, 16_384]);
        self.disk.fill_except(left);
        format!("a disk with {left} bytes left")
    }

    async fn end(&mut self, _: Option<&Server>) {
        self.disk.free();
    }

    fn reported(&self) -> Option<&'static str> {
        // SQLite may have free space inside its files, which the log has not.
        Some("cannot")
    }

    fn before_start(&mut self, server: &mut Server) {
        server.log_into(self.disk.new_file("log"));
    }
}

#[actix::test]
async fn a_repeatedly_full_disk_under_sqlite_ledger_and_log_loses_no_order() {
    let disk = SmallDisk::of_mib(64);
    let mut server = Server::stopped_in(disk.new_folder(), settings());
    server.set("LOG_LEVEL", "debug");
    let findings = run_campaign(&mut server, FullDisk { disk }, rounds(60)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// Reads, writes and syncs of SQLite that fail.
struct FailingIo {
    faults: IoFaults,
    present: Option<&'static str>,
}

impl FailingIo {
    /// The errors are EIO (5) and ENOSPC (28). Shortened reads are left out: libfiu also shortens reads to nothing,
    /// which means the end of a file.
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
        let way = crowd.one_of(&Self::WAYS);
        self.faults.control(server.pid(), &Self::enabling(way));
        self.present = Some(way);
        way.to_owned()
    }

    async fn end(&mut self, server: Option<&Server>) {
        let way = self.present.take().expect("the fault was started");
        let name = way.split(',').next().expect("a way begins with its name");
        if let Some(server) = server {
            self.faults.control(server.pid(), &format!("disable {name}"));
        }
    }

    fn reported(&self) -> Option<&'static str> {
        let stops_every_commit = |way: &str| way.contains("write,failinfo") || way.contains("fsync,failinfo");
        self.present.filter(|way| stops_every_commit(way) && !way.contains("probability")).map(|_| "database")
    }

    fn before_start(&mut self, server: &mut Server) {
        // A restart during the fault has it from the first read on.
        let faults: Vec<_> = self.present.iter().map(|way| Self::enabling(way)).collect();
        let faults: Vec<_> = faults.iter().map(String::as_str).collect();
        for (name, value) in self.faults.environment(&faults) {
            server.set(&name, &value);
        }
    }
}

#[actix::test]
async fn failing_reads_writes_and_syncs_under_sqlite_lose_no_order() {
    let fault = FailingIo { faults: IoFaults::new(), present: None };
    let findings = run_campaign(&mut Server::stopped(settings()), fault, rounds(100)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// A limit on file sizes: of the ledger, the log, and SQLite's files.
struct FileSizeLimit;

impl Fault for FileSizeLimit {
    async fn begin(&mut self, server: &Server, crowd: &Crowd) -> String {
        // The limit cuts the next line of the ledger.
        let ledger = std::fs::metadata(server.ledger_file()).map_or(0, |file| file.len());
        let limit = if crowd.draw(3) == 0 { 0 } else { ledger + u64::from(crowd.draw(400)) };
        limit_files(server.pid(), Some(limit));
        format!("a limit of {limit} bytes for each file while the ledger has {ledger}")
    }

    async fn end(&mut self, server: Option<&Server>) {
        if let Some(server) = server {
            limit_files(server.pid(), None);
        }
    }
}

#[actix::test]
async fn a_limit_on_file_sizes_loses_no_order() {
    let mut server = Server::stopped(settings());
    server.start_through(&WITHOUT_SIGXFSZ);
    server.set("LOG_LEVEL", "debug");
    let log = server.file("log");
    server.log_to(&log);
    let findings = run_campaign(&mut server, FileSizeLimit, rounds(60)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

#[actix::test]
async fn a_limit_on_the_ledgers_size_with_a_healthy_postgres_loses_no_order() {
    let postgres = Postgres::start();
    let mut server = Server::stopped(settings());
    server.set("database.url", &postgres.url());
    server.start_through(&WITHOUT_SIGXFSZ);
    let findings = run_campaign(&mut server, FileSizeLimit, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// A log whose pipe is closed or full.
struct UnreadLog {
    reader: Option<PipeReader>,
}

impl Fault for UnreadLog {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        // A pipe that is not closed becomes full.
        let closed = crowd.draw(2) == 0;
        if closed {
            self.reader = None;
        }
        format!("a log whose pipe is {}", if closed { "closed" } else { "full" })
    }

    fn reported(&self) -> Option<&'static str> {
        self.reader.is_none().then_some("log lines cannot be written")
    }

    async fn end(&mut self, _: Option<&Server>) {
        if let Some(reader) = &mut self.reader {
            // The pipe is not empty, so this does not wait.
            let _ = reader.read(&mut [0; 65_536]).unwrap();
        }
    }

    fn before_start(&mut self, server: &mut Server) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // The capacity of a pipe except for some dozens of lines.
        writer.write_all(&[b'\n'; 61_440]).unwrap();
        self.reader = Some(reader);
        server.log_into(std::os::fd::OwnedFd::from(writer).into());
    }
}

#[actix::test]
async fn an_unread_log_loses_its_lines_and_no_order() {
    let mut server = Server::stopped(settings());
    if let Some(url) = shared_postgres() {
        server.set("DATABASE_URL", &url);
    }
    server.set("LOG_LEVEL", "debug");
    let findings = run_campaign(&mut server, UnreadLog { reader: None }, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}
