//! One engine for each database file, by any path to it; and database URLs that are refused.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::json;

use crate::support::os::run;
use crate::support::process::{SWIFT, Server};

const LOCKED: Option<i32> = Some(75);
const NOT_PERMITTED: Option<i32> = Some(77);
const WRONG_SETTINGS: Option<i32> = Some(78);

/// An engine on the file `x.db` of its folder.
fn engine() -> Server {
    Server::start_on("sqlite://x.db?mode=rwc", SWIFT)
}

/// The same engine, whose log is in the file `log` of its folder.
fn engine_with_log() -> Server {
    let mut server = Server::stopped(SWIFT);
    let log = server.file("log");
    server.set("database.url", "sqlite://x.db?mode=rwc");
    server.log_to(&log);
    server.restart();
    server
}

/// Runs another process in the same folder on that URL until it ends; its exit code and standard error.
#[track_caller]
fn another(server: &Server, command: &str, url: &str) -> (Option<i32>, String) {
    let finished = run(server.command(&[command]).env("ORDER_ENGINE__DATABASE__URL", url));
    (finished.code, finished.stderr)
}

#[track_caller]
fn assert_refused(server: &Server, url: &str, code: Option<i32>, reason: &str) {
    let (status, error) = another(server, "serve", url);
    assert!(status == code && error.contains(reason), "{url}: {status:?} {error}");
}

#[actix::test]
async fn a_second_engine_is_refused_by_any_spelling_of_the_path() {
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
        // `..` after a link is relative to the target of the link, where this file does not exist.
        let (code, reason) = if url.contains("..") { (WRONG_SETTINGS, "no folder") } else { (LOCKED, holder) };
        assert_refused(&server, url, code, reason);
    }
    assert_refused(&server, "sqlite:file:x.db", WRONG_SETTINGS, "begins like a URL");
    assert_refused(&server, "sqlite:file:x.db?mode=rwc", WRONG_SETTINGS, "begins like a URL");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_second_engine_is_refused_on_a_hard_link() {
    let mut server = engine();
    std::fs::hard_link(server.file("x.db"), server.file("y.db")).unwrap();
    assert_refused(&server, "sqlite://y.db", WRONG_SETTINGS, "hard links");
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
    // Both names are also refused when no engine runs: each has a separate write-ahead log.
    server.kill();
    assert_refused(&server, "sqlite://y.db", WRONG_SETTINGS, "hard links");
    assert_refused(&server, "sqlite://x.db", WRONG_SETTINGS, "hard links");
    std::fs::remove_file(server.file("y.db")).unwrap();
    server.restart();
    assert_eq!(server.client.order(&id).await["status"], "confirmed");
}

#[actix::test]
async fn a_second_engine_is_refused_after_the_lock_file_was_removed() {
    let server = engine();
    let note = server.file("x.db.lock");
    assert!(std::fs::read_to_string(&note).unwrap().starts_with("process "));
    std::fs::rename(&note, server.file("elsewhere")).unwrap();
    assert_refused(&server, "sqlite://x.db", LOCKED, "another engine uses this database: process ");
    std::fs::write(&note, "process 1\n").unwrap();
    let (_, error) = another(&server, "serve", "sqlite://x.db");
    assert!(!error.contains("process 1 "), "the content of the file is not trusted: {error}");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix::test]
async fn a_migration_is_refused_while_an_engine_runs() {
    let mut server = engine();
    let (status, error) = another(&server, "migrate", "sqlite://%78.db");
    assert!(status == LOCKED && error.contains("process "), "{status:?} {error}");
    assert!(server.terminate().success());
    assert_eq!(another(&server, "migrate", "sqlite://%78.db").0, Some(0));
}

#[actix::test]
async fn an_engine_exits_when_its_database_file_is_removed_or_replaced() {
    for replace in [true, false] {
        let mut server = engine_with_log();
        assert_eq!(server.client.submit(json!({})).await.status, 201);
        std::fs::rename(server.file("x.db"), server.file("moved.db")).unwrap();
        if replace {
            std::fs::write(server.file("x.db"), "").unwrap();
        }
        assert_eq!(server.wait().code(), Some(70));
        let log = std::fs::read_to_string(server.file("log")).unwrap();
        assert!(log.contains("x.db was re"), "{log}");
    }
}

#[actix::test]
async fn no_order_is_accepted_after_the_write_ahead_log_was_removed_or_truncated() {
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 4] = [
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
    for (name, damage) in damages {
        let mut server = engine_with_log();
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_ended(&id).await;
        damage(&server.file("x.db-wal"));
        // The engine may have exited already.
        if let Ok(answer) = server.client.try_submit(json!({})).await {
            assert_eq!(answer.status, 503, "{name}: {}", answer.body);
        }
        assert_eq!(server.wait().code(), Some(70), "{name}");
        let log = std::fs::read_to_string(server.file("log")).unwrap();
        assert!(log.contains(name) && log.contains("while the engine used it"), "{name}: {log}");
    }
}

#[actix::test]
async fn a_checkpoint_by_another_process_does_not_stop_the_engine() {
    let mut server = engine();
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
async fn urls_that_resemble_the_memory_url_are_refused() {
    let server = Server::stopped(SWIFT);
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
async fn a_missing_database_is_refused_with_the_url_that_creates_it() {
    let server = Server::stopped(SWIFT);
    assert_refused(&server, "sqlite://new.db", WRONG_SETTINGS, "new.db does not exist");
    assert_refused(&server, "sqlite://new.db", WRONG_SETTINGS, "sqlite://new.db?mode=rwc");
    assert_refused(&server, "sqlite://a/new.db?mode=rwc", WRONG_SETTINGS, "there is no folder");
    assert_refused(&server, "sqlite://new.db?mode=rwcc", WRONG_SETTINGS, "database.url: the parameter mode");
    assert_refused(&server, "postgres://localhost", WRONG_SETTINGS, "database.url: names no database");
    assert!(!server.file("new.db").exists());
}

#[actix::test]
async fn a_ledger_or_secret_path_that_is_the_database_is_refused() {
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
async fn a_database_file_that_is_a_mount_point_is_refused() {
    let server = Server::stopped(SWIFT);
    let (file, at) = (server.file("real.db"), server.file("mounted.db"));
    std::fs::write(&file, "").unwrap();
    std::fs::write(&at, "").unwrap();
    let run_as_root = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let status = std::process::Command::new(program).args(arguments).status().unwrap();
        assert!(status.success(), "{program} needs root");
    };
    run_as_root("mount", &["--bind".as_ref(), file.as_os_str(), at.as_os_str()]);
    let (code, error) = another(&server, "migrate", "sqlite://mounted.db");
    run_as_root("umount", &[at.as_os_str()]);
    assert!(code == WRONG_SETTINGS && error.contains("mount its folder"), "{code:?} {error}");
    assert_eq!(another(&server, "migrate", "sqlite://mounted.db").0, Some(0));
}

#[actix::test]
async fn a_second_engine_is_refused_with_the_holder() {
    let server = Server::start([]);
    let second = run(&mut server.command(&["serve"]));
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.stderr.contains("another engine uses this database: process"), "{second:?}");
}

/// A command of the engine, in its folder, as a user who owns nothing there.
fn as_another_user(server: &Server, arguments: &[&str]) -> Command {
    // Another user may not reach the folder of the binary.
    let copy = server.file("engine");
    if !copy.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_order-engine"), &copy).unwrap();
        set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    }
    let command = server.command(arguments);
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(copy).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other.current_dir(server.file(""));
    other
}

#[actix::test]
async fn files_that_the_user_may_not_write_are_named_and_are_no_other_engine() {
    let server = Server::stopped(SWIFT);
    let allow = |name: &str, mode| set_permissions(server.file(name), Permissions::from_mode(mode)).unwrap();
    let assert_denied = |url: &str, texts: &[&str]| {
        let refused = run(as_another_user(&server, &["serve"]).env("ORDER_ENGINE__DATABASE__URL", url));
        assert_eq!(refused.code, NOT_PERMITTED, "{url}: {refused:?}");
        for text in texts {
            assert!(refused.stderr.contains(text), "{url}: {text:?} is not in {refused:?}");
        }
        assert!(!refused.stderr.contains("another engine"), "{refused:?}");
    };
    allow("", 0o755);
    assert_denied("sqlite://new.db?mode=rwc", &["new.db cannot be created by this user", "Permission denied"]);
    std::fs::write(server.file("x.db"), "").unwrap();
    allow("x.db", 0o644);
    assert_denied("sqlite://x.db", &["x.db cannot be written by this user", "Permission denied"]);
    // The file alone is not enough.
    allow("x.db", 0o666);
    assert_denied("sqlite://x.db", &["must be writable for this user, because SQLite keeps its log"]);
    std::fs::create_dir(server.file("open")).unwrap();
    allow("open", 0o777);
    let mut command = as_another_user(&server, &["serve"]);
    command.env("ORDER_ENGINE__DATABASE__URL", "sqlite://open/x.db?mode=rwc");
    let refused = run(command.env("ORDER_ENGINE__SIMULATION__LEDGER", "x.ledger"));
    assert!(refused.code == NOT_PERMITTED && refused.stderr.contains("x.ledger"), "{refused:?}");
}
