//! Faults of the disk of PostgreSQL.

use super::{Fault, rounds, run_campaign, settings};
use crate::support::crowd::Crowd;
use crate::support::machine::{IoFaults, SmallDisk};
use crate::support::postgres::{self, Postgres};
use crate::support::process::Server;

/// A PostgreSQL on a full disk. It may exit, and may not start again before there is space.
struct PostgresOnFullDisk {
    disk: SmallDisk,
    postgres: Option<Postgres>,
}

impl Fault for PostgresOnFullDisk {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        let left = crowd.one_of(&[0, 8_192, 262_144]);
        self.disk.fill_except(left);
        format!("a PostgreSQL whose disk has {left} bytes left")
    }

    async fn end(&mut self, _: Option<&Server>) {
        self.disk.free();
        aside(&mut self.postgres, |postgres| {
            if !postgres.runs() {
                postgres.kill();
                postgres.restart();
            }
        })
        .await;
    }
}

/// Does something to a PostgreSQL on another thread, so that the crowd trades on.
async fn aside(postgres: &mut Option<Postgres>, action: impl FnOnce(&mut Postgres) + Send + 'static) {
    let taken = postgres.take().expect("it is put back each time");
    *postgres = Some(postgres::aside(taken, action).await);
}

#[actix::test]
async fn a_repeatedly_full_disk_under_postgres_loses_no_order() {
    let disk = SmallDisk::of_mib(160);
    let postgres = Postgres::start_in(disk.new_folder());
    let mut server = Server::stopped(settings());
    server.set("database.url", &postgres.url());
    let findings = run_campaign(&mut server, PostgresOnFullDisk { disk, postgres: Some(postgres) }, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}

/// Reads, writes and syncs of PostgreSQL that fail. Its processes are too many and too short-lived to be controlled
/// while they run, so it is restarted with the fault and without.
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
        let way = crowd.one_of(&Self::WAYS);
        let environment = self.faults.environment(&[way]);
        aside(&mut self.postgres, move |postgres| {
            postgres.kill();
            // It may fail to start.
            let _ = postgres.try_restart_with(&environment);
        })
        .await;
        format!("a PostgreSQL with {way}")
    }

    async fn end(&mut self, _: Option<&Server>) {
        aside(&mut self.postgres, |postgres| {
            postgres.kill();
            postgres.try_restart_with(&[]).unwrap_or_else(|log| panic!("PostgreSQL does not start again: {log}"));
        })
        .await;
    }
}

#[actix::test]
async fn failing_reads_writes_and_syncs_under_postgres_lose_no_order() {
    let postgres = Postgres::start();
    let mut server = Server::stopped(settings());
    server.set("database.url", &postgres.url());
    let fault = PostgresWithFailingIo { faults: IoFaults::new(), postgres: Some(postgres) };
    let findings = run_campaign(&mut server, fault, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
}
