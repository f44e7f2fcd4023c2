//! One engine a database file, whatever the file is called, and a URL that names no file starts nothing.

use std::os::unix::fs::symlink;
use std::process::{Output, Stdio};
use std::sync::mpsc;

use serde_json::json;

use crate::support::client::order;
use crate::support::process::{PATIENCE, SWIFT, Server};

const LOCKED: Option<i32> = Some(75);
const WRONG_SETTINGS: Option<i32> = Some(78);

/// An engine on the file `x.db` of its folder.
fn engine() -> Server {
    Server::start(SWIFT.into_iter().chain([("database.url", "sqlite://x.db?mode=rwc")]))
}

/// What another process says that is started in the same folder with that URL, and that has to end by itself.
fn another(server: &Server, command: &str, url: &str) -> (Option<i32>, String) {
    let mut command = server.command(&[command]);
    command.env("ORDER_ENGINE__DATABASE__URL", url).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        panic!("an engine runs on {url}");
    };
    let Output { status, stderr, .. } = output.unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[track_caller]
fn assert_refused(server: &Server, url: &str, code: Option<i32>, reason: &str) {
    let (status, said) = another(server, "serve", url);
    assert!(status == code && said.contains(reason), "{url}: {status:?} {said}");
}

#[actix::test]
async fn another_spelling_of_the_path_does_not_let_a_second_engine_in() {
    let server = engine();
    symlink("x.db", server.file("link.db")).unwrap();
    symlink(".", server.file("folder")).unwrap();
    let absolute = format!("sqlite://{}", server.file("x.db").display());
    let holder = "another engine uses this database: process ";
    for url in [
        "sqlite://x.db",
        "sqlite:x.db?mode=rwc",
        "sqlite://./x.db?mode=rw",
        "sqlite://%78.db?mode=rwc",
        "sqlite://folder/x.db",
        "sqlite://link.db?mode=rwc",
        "sqlite://folder/../folder/link.db",
        &absolute,
    ] {
        // Two dots lead out of where a link leads to, and here that is no folder with such a file.
        let (code, reason) = if url.contains("..") { (WRONG_SETTINGS, "no folder") } else { (LOCKED, holder) };
        assert_refused(&server, url, code, reason);
    }
    assert_refused(&server, "sqlite:file:x.db", WRONG_SETTINGS, "begins like a URL");
    assert_refused(&server, "sqlite:file:x.db?mode=rwc", WRONG_SETTINGS, "begins like a URL");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_hard_link_does_not_let_a_second_engine_in() {
    let mut server = engine();
    std::fs::hard_link(server.file("x.db"), server.file("y.db")).unwrap();
    assert_refused(&server, "sqlite://y.db", WRONG_SETTINGS, "hard links");
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
    // Nor is it one name's turn when nobody runs: what is in the log of the one is missing under the other.
    server.kill();
    assert_refused(&server, "sqlite://y.db", WRONG_SETTINGS, "hard links");
    assert_refused(&server, "sqlite://x.db", WRONG_SETTINGS, "hard links");
    std::fs::remove_file(server.file("y.db")).unwrap();
    server.restart();
    assert_eq!(server.client.get(&format!("/api/orders/{id}")).await.body["status"], "confirmed");
}

#[actix::test]
async fn a_removed_lock_file_does_not_let_a_second_engine_in() {
    let server = engine();
    let note = server.file("x.db.lock");
    assert!(std::fs::read_to_string(&note).unwrap().starts_with("process "));
    std::fs::rename(&note, server.file("elsewhere")).unwrap();
    assert_refused(&server, "sqlite://x.db", LOCKED, "another engine uses this database: process ");
    std::fs::write(&note, "process 1\n").unwrap();
    let (_, said) = another(&server, "serve", "sqlite://x.db");
    assert!(!said.contains("process 1 "), "the holder is not who the file says: {said}");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_migration_is_refused_while_an_engine_runs() {
    let mut server = engine();
    let (status, said) = another(&server, "migrate", "sqlite://%78.db");
    assert!(status == LOCKED && said.contains("process "), "{status:?} {said}");
    assert!(server.terminate().success());
    assert_eq!(another(&server, "migrate", "sqlite://%78.db").0, Some(0));
}

#[actix::test]
async fn an_engine_whose_database_file_is_replaced_gives_up_and_says_so() {
    for replace in [true, false] {
        let mut server = Server::idle(SWIFT);
        let log = server.file("log");
        server.set("database.url", "sqlite://x.db?mode=rwc");
        server.log_to(&log);
        server.restart();
        assert_eq!(server.client.submit(json!({})).await.status, 201);
        std::fs::rename(server.file("x.db"), server.file("moved.db")).unwrap();
        if replace {
            std::fs::write(server.file("x.db"), "").unwrap();
        }
        assert_eq!(server.wait().code(), Some(70));
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("x.db was re"), "{said}");
    }
}

#[actix::test]
async fn no_order_is_accepted_into_a_write_ahead_log_that_was_removed_or_cut_off() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 4] = [
        ("removed", |log| std::fs::remove_file(log).unwrap()),
        ("cut off", |log| std::fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap()),
        ("replaced", |log| {
            std::fs::copy(log, log.with_extension("copy")).unwrap();
            std::fs::rename(log.with_extension("copy"), log).unwrap();
        }),
        ("emptied", |log| {
            std::fs::File::options().write(true).open(log.with_extension("db")).unwrap().set_len(0).unwrap()
        }),
    ];
    for (harm, does) in harms {
        let mut server = Server::idle(SWIFT);
        let log = server.file("log");
        server.set("database.url", "sqlite://x.db?mode=rwc");
        server.log_to(&log);
        server.restart();
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_ended(&id).await;
        does(&server.file("x.db-wal"));
        // It may have given up already.
        let json_body = [("content-type", "application/json")];
        if let Ok(answer) = server.client.send("POST", "/api/orders", &json_body, order(json!({})).to_string()).await {
            assert_eq!(answer.status, 503, "{harm}: {}", answer.body);
        }
        assert_eq!(server.wait().code(), Some(70), "{harm}");
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains(harm) && said.contains("while the engine used it"), "{harm}: {said}");
    }
}

#[actix::test]
async fn a_checkpoint_by_somebody_else_is_no_reason_to_give_up() {
    let mut server = Server::idle(SWIFT);
    server.set("database.url", "sqlite://x.db?mode=rwc");
    server.restart();
    let database = sea_orm::Database::connect(format!("sqlite://{}", server.file("x.db").display())).await.unwrap();
    for _ in 0..20 {
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_ended(&id).await;
        sea_orm::ConnectionTrait::execute_unprepared(&database, "PRAGMA wal_checkpoint(TRUNCATE); VACUUM")
            .await
            .unwrap();
    }
    assert_eq!(server.client.get("/ready").await.body["status"], "ok");
    assert!(server.terminate().success());
}

#[actix::test]
async fn a_url_that_only_sounds_like_memory_starts_no_engine() {
    let server = Server::idle(SWIFT);
    for url in [
        "sqlite:",
        "sqlite://",
        "sqlite://?mode=memory",
        "sqlite://x.db?mode=memory",
        "sqlite::memory:?cache=shared",
        "sqlite:file::memory:",
    ] {
        assert_refused(&server, url, WRONG_SETTINGS, "sqlite::memory:");
    }
    assert_eq!(std::fs::read_dir(server.file("")).unwrap().count(), 0, "a refused engine leaves nothing behind");
}

#[actix::test]
async fn a_database_that_is_not_there_is_named_with_what_to_write() {
    let server = Server::idle(SWIFT);
    assert_refused(&server, "sqlite://new.db", WRONG_SETTINGS, "new.db does not exist");
    assert_refused(&server, "sqlite://new.db", WRONG_SETTINGS, "sqlite://new.db?mode=rwc");
    assert_refused(&server, "sqlite://a/new.db?mode=rwc", WRONG_SETTINGS, "there is no folder");
    assert_refused(&server, "sqlite://new.db?mode=rwcc", WRONG_SETTINGS, "database.url: the parameter mode");
    assert_refused(&server, "postgres://localhost", WRONG_SETTINGS, "database.url: names no database");
    assert!(!server.file("new.db").exists());
}

#[actix::test]
async fn a_ledger_or_a_secret_that_is_the_database_itself_starts_no_engine() {
    let mut server = engine();
    assert_eq!(server.client.submit(json!({})).await.status, 201);
    assert!(server.terminate().success());
    symlink("x.db", server.file("x.ledger2")).unwrap();
    let before = std::fs::read(server.file("x.db")).unwrap();
    server.set("simulation.ledger", "x.ledger2");
    assert_refused(&server, "sqlite://x.db", WRONG_SETTINGS, "simulation.ledger: \"x.ledger2\" is the database");
    server.set("simulation.ledger", "auto");
    server.set("auth.secret_file", "./x.db");
    assert_refused(&server, "sqlite://x.db", WRONG_SETTINGS, "auth.secret_file: \"./x.db\" is the database");
    assert_eq!(std::fs::read(server.file("x.db")).unwrap(), before);
}

#[actix::test]
async fn a_database_file_that_is_mounted_by_itself_starts_no_engine() {
    let server = Server::idle(SWIFT);
    let (file, at) = (server.file("real.db"), server.file("mounted.db"));
    std::fs::write(&file, "").unwrap();
    std::fs::write(&at, "").unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let status = std::process::Command::new(program).args(arguments).status().unwrap();
        assert!(status.success(), "{program} needs root");
    };
    run("mount", &["--bind".as_ref(), file.as_os_str(), at.as_os_str()]);
    let (code, said) = another(&server, "migrate", "sqlite://mounted.db");
    run("umount", &[at.as_os_str()]);
    assert!(code == WRONG_SETTINGS && said.contains("mount its folder"), "{code:?} {said}");
    assert_eq!(another(&server, "migrate", "sqlite://mounted.db").0, Some(0));
}
