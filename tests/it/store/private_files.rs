//! The permissions of the files of an engine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::process::{SWIFT, Server};

const FILES: [&str; 6] = [
    "order-engine.db",
    "order-engine.db-wal",
    "order-engine.db-shm",
    "order-engine.db.lock",
    "order-engine.ledger",
    "order-engine.secret",
];

fn mode(server: &Server, name: &str) -> u32 {
    fs::metadata(server.file(name)).unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode() & 0o777
}

#[actix::test]
async fn no_other_user_can_read_what_an_engine_creates_whatever_the_umask_is() {
    let mut server = Server::stopped(SWIFT);
    server.start_through(&["sh", "-c", "umask 000; exec \"$@\"", "sh"]);
    for _ in 0..2 {
        server.restart();
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_confirmed(&id).await;
        for name in FILES {
            assert_eq!(mode(&server, name), 0o600, "{name}");
        }
        server.kill();
    }
}

#[actix::test]
async fn wider_permissions_of_existing_files_are_kept_and_reported() {
    let mut server = Server::stopped(SWIFT);
    server.restart();
    assert!(server.terminate().success());
    let wider = ["order-engine.db", "order-engine.ledger"];
    for name in wider {
        fs::set_permissions(server.file(name), Permissions::from_mode(0o640)).unwrap();
    }
    let log = server.file("log");
    server.log_to(&log);
    server.restart();
    for name in wider {
        assert_eq!(mode(&server, name), 0o640, "{name}");
    }
    assert!(server.terminate().success());
    let log = fs::read_to_string(log).unwrap();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("other users have access")).collect();
    assert_eq!(warnings.len(), wider.len(), "{log}");
    for (name, line) in wider.into_iter().zip(&warnings) {
        assert!(line.contains(name) && line.contains("640") && line.contains("chmod 600"), "{line}");
    }
}
