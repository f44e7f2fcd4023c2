//! Standard output and standard error that are closed, full or not read.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::os::{Finished, free_address, run_printing_to, signal};
use crate::support::process::{SWIFT, Server};
use crate::support::wait::until;

/// A disk that is always full.
fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader is closed.
fn closed_pipe() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// An engine with the lowest log level.
fn verbose_engine() -> Server {
    let mut server = Server::stopped(SWIFT);
    server.set("LOG_LEVEL", "trace");
    server
}

async fn confirm_orders(server: &Server, orders: usize) {
    for _ in 0..orders {
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_confirmed(&id).await;
    }
}

async fn dropped_lines(server: &Server) -> u64 {
    server.client.metric("order_engine_log_lines_dropped_total").await
}

async fn check_without_a_log(mut server: Server) {
    confirm_orders(&server, 20).await;
    assert!(dropped_lines(&server).await > 0);
    let ready = server.client.get("/ready").await;
    assert_eq!((ready.status, &ready.body["status"]), (200, &json!("degraded")), "{ready:?}");
    assert!(ready.body["reasons"].to_string().contains("log lines cannot be written"), "{ready:?}");
    assert_eq!(server.terminate().code(), Some(0));
}

#[actix::test]
async fn with_a_closed_log_pipe_orders_are_confirmed_and_sigterm_exits_with_0() {
    let mut server = verbose_engine();
    server.restart_logging_to(closed_pipe());
    check_without_a_log(server).await;
}

#[actix::test]
async fn with_the_log_on_a_full_disk_orders_are_confirmed_and_sigterm_exits_with_0() {
    let mut server = verbose_engine();
    server.restart_logging_to(full_disk());
    check_without_a_log(server).await;
}

#[actix::test]
async fn with_an_unread_log_pipe_orders_are_confirmed_and_sigterm_exits_with_0() {
    let (reader, writer) = pipe().unwrap();
    let mut server = verbose_engine();
    server.restart_logging_to(writer);
    // Far more than the capacity of a pipe.
    confirm_orders(&server, 100).await;
    assert_eq!(server.client.get("/ready").await.status, 200);
    assert_eq!(server.terminate().code(), Some(0));
    assert!(std::io::read_to_string(reader).unwrap().len() >= 32 * 1024, "the pipe was full");
}

#[actix::test]
async fn with_an_unread_log_pipe_lines_are_dropped_and_counted() {
    let (reader, writer) = pipe().unwrap();
    let mut server = verbose_engine();
    server.restart_logging_to(writer);
    while dropped_lines(&server).await == 0 {
        confirm_orders(&server, 50).await;
    }
    let ready = server.client.get("/ready").await;
    assert!(ready.status == 200 && ready.body["reasons"].to_string().contains("log lines"), "{ready:?}");
    // Once the pipe is read again the engine recovers.
    std::thread::spawn(move || drain(reader));
    server.client.until_ready_status("ok").await;
    assert_eq!(server.terminate().code(), Some(0));
}

fn drain(reader: PipeReader) {
    BufReader::new(reader).lines().map_while(Result::ok).for_each(drop);
}

#[actix::test]
async fn the_log_is_complete_when_the_process_has_exited() {
    let mut server = verbose_engine();
    let log = server.file("log");
    server.restart_logging_to(File::create(&log).unwrap());
    confirm_orders(&server, 5).await;
    assert_eq!(dropped_lines(&server).await, 0);
    assert!(server.terminate().success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.lines().last().unwrap().ends_with("stopped"), "{:?}", log.lines().last());
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn a_panicking_order_is_restarted_without_a_readable_log() {
    let mut server = verbose_engine();
    server.set("FAILPOINTS", "order=2*panic->off");
    let log = server.file("log");
    for (index, stderr) in
        [closed_pipe(), full_disk().into(), File::create(&log).unwrap().into()].into_iter().enumerate()
    {
        server.restart_logging_to(stderr);
        let id = server.client.submit(json!({ "clientOrderId": format!("poison-{index}") })).await.order_id();
        server.client.until_confirmed(&id).await;
        assert_eq!(server.terminate().code(), Some(0));
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(
        log.lines().filter(|line| line.contains(" ERROR ") && line.contains("cause=\"failpoint")).count(),
        2,
        "each panic is logged"
    );
}

#[test]
fn a_failing_start_exits_with_an_unread_log_pipe() {
    let (reader, mut writer) = pipe().unwrap();
    // The capacity of a pipe.
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    let mut server = Server::stopped([("server.port", "no-port")]);
    server.spawn_logging_to(writer);
    assert_eq!(server.wait().code(), Some(78));
    drop(reader);
}

/// Runs a command with another standard output, and fails if it panics.
async fn run(server: &Server, arguments: &[&str], stdout: impl Into<Stdio>) -> Finished {
    let mut command = server.command(arguments);
    command.env("ORDER_ENGINE_URL", server.client.url());
    let stdout = stdout.into();
    let finished = actix_web::rt::task::spawn_blocking(move || run_printing_to(&mut command, stdout)).await.unwrap();
    assert!(!finished.stderr.contains("panic"), "{arguments:?}: {finished:?}");
    finished
}

const COMMANDS: [&[&str]; 11] = [
    &["orders"],
    &["orders", "--json"],
    &["quote", "SOL", "USDC", "1"],
    &["quote", "SOL", "USDC", "1", "--json"],
    &["config"],
    &["ledger"],
    &["ledger", "--json"],
    &["--help"],
    &["submit", "--help"],
    &["help"],
    &["--version"],
];

#[actix::test]
async fn a_command_with_a_closed_output_exits_without_an_error() {
    let server = Server::start(SWIFT);
    confirm_orders(&server, 1).await;
    for arguments in COMMANDS {
        let finished = run(&server, arguments, closed_pipe()).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[actix::test]
async fn a_command_with_its_output_on_a_full_disk_reports_the_error() {
    let server = Server::start(SWIFT);
    confirm_orders(&server, 1).await;
    for arguments in COMMANDS {
        let Finished { code, stderr, .. } = run(&server, arguments, full_disk()).await;
        assert_eq!(code, Some(74), "{arguments:?}: {stderr}");
        assert!(stderr.contains("standard output cannot be written: No space left"), "{arguments:?}: {stderr}");
    }
}

#[actix::test]
async fn watch_does_not_exit_with_0_if_its_output_is_lost_before_the_end() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    let closed = run(&server, &["watch", &id], closed_pipe()).await;
    assert_eq!((closed.code, closed.stderr.as_str()), (Some(141), ""));
    assert_eq!(run(&server, &["watch", &id], full_disk()).await.code, Some(74));
}

#[actix::test]
async fn a_submit_whose_output_is_lost_names_its_order_on_standard_error() {
    let server = Server::start(SWIFT);
    let finished = run(&server, &["submit", "SOL", "USDC", "1"], full_disk()).await;
    let orders = server.client.get("/api/orders").await.body;
    let id = orders["orders"][0]["orderId"].as_str().unwrap();
    assert!(finished.code == Some(74) && finished.stderr.contains(id), "{finished:?}");
}

#[test]
fn a_command_that_cannot_print_its_error_keeps_its_exit_code() {
    let server = Server::stopped([("server.port", "no-port")]);
    for (arguments, code) in [(&["config"][..], 78), (&["serve"], 78), (&["orders"], 1), (&["dance"], 2)] {
        for stderr in [closed_pipe(), full_disk().into()] {
            let mut command = server.command(arguments);
            command.env("ORDER_ENGINE_URL", "http://127.0.0.1:9").stdout(Stdio::null()).stderr(stderr);
            assert_eq!(command.status().unwrap().code(), Some(code), "{arguments:?}");
        }
    }
}

#[actix::test]
async fn an_engine_whose_standard_output_is_closed_runs() {
    let other = Server::start(SWIFT);
    let port = free_address().port();
    let mut engine = other
        .command(&["serve"])
        .env("DATABASE_URL", "sqlite::memory:")
        .env("ORDER_ENGINE__SIMULATION__LEDGER", "memory")
        .env("PORT", port.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(engine.stdout.take());
    let client = Client::of(&format!("http://127.0.0.1:{port}"));
    until("the engine was served", async || {
        assert!(engine.try_wait().unwrap().is_none(), "the engine has ended");
        client.is_served().await
    })
    .await;
    let id = client.submit(json!({})).await.order_id();
    client.until_confirmed(&id).await;
    signal("TERM", &[engine.id()]);
    assert_eq!(engine.wait().unwrap().code(), Some(0));
}

/// Fails unless every line of the log is a JSON object with a time, a level and a message. Returns the lines.
#[track_caller]
fn json_lines(text: &str) -> Vec<Value> {
    let object = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        for key in ["timestamp", "level", "message"] {
            assert!(object[key].is_string(), "no {key}: {line}");
        }
        object
    };
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(object).collect()
}

fn mentions(lines: &[Value], text: &str) -> bool {
    lines.iter().any(|line| line.to_string().contains(text))
}

/// An engine that logs JSON to the file `log`, at the lowest level.
fn json_engine() -> Server {
    let mut server = verbose_engine();
    server.set("log.format", "json");
    let log = server.file("log");
    server.log_to(&log);
    server
}

#[actix::test]
async fn a_json_log_is_json_from_the_first_line_to_the_last() {
    let mut server = json_engine();
    server.restart();
    confirm_orders(&server, 5).await;
    assert_eq!(dropped_lines(&server).await, 0);
    assert!(server.terminate().success());
    let lines = json_lines(&std::fs::read_to_string(server.file("log")).unwrap());
    assert!(lines.len() > 20 && lines.last().unwrap()["message"] == "stopped", "{:?}", lines.last());
}

#[test]
fn a_start_that_fails_is_reported_as_json() {
    let server = json_engine();
    std::fs::write(server.file("text.db"), "this is no database, and it is long enough to have a header".repeat(9))
        .unwrap();
    let run = |arguments: &[&str], variable: (&str, &str)| {
        let finished = crate::support::os::run(server.command(arguments).env(variable.0, variable.1));
        assert_eq!(finished.stdout, "", "{finished:?}");
        (finished.code, json_lines(&finished.stderr))
    };
    let (code, lines) = run(&["serve"], ("PORT", "no-port"));
    assert!(code == Some(78) && mentions(&lines, "server.port"), "{lines:?}");
    let (code, lines) = run(&[], ("DATABASE_URL", "sqlite://text.db"));
    assert!(code == Some(1) && mentions(&lines, "not a database"), "{code:?} {lines:?}");
    let (code, lines) = run(&["serve"], ("DATABASE_URL", "sqlite://missing/x.db?mode=rwc"));
    assert!(code == Some(78) && mentions(&lines, "no folder"), "{lines:?}");
    for arguments in [&["serve", "--insecur"][..], &["--dance"]] {
        let (code, lines) = run(arguments, ("PORT", "0"));
        assert!(code == Some(2) && lines.len() == 1 && mentions(&lines, arguments.last().unwrap()), "{lines:?}");
    }
    // The profile names the format, and it is known although the settings are wrong.
    let mut command = server.command(&["serve", "--profile", "production"]);
    let finished = crate::support::os::run(command.env("ORDER_ENGINE__LOG__FORMAT", ""));
    assert!(mentions(&json_lines(&finished.stderr), "set DATABASE_URL"), "{finished:?}");
    // A person reads the other commands.
    let finished = crate::support::os::run(&mut server.command(&["orders", "--dance"]));
    assert!(finished.code == Some(2) && finished.stderr.starts_with("error: "), "{finished:?}");
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn a_panic_and_a_fatal_error_are_logged_as_json() {
    let mut server = json_engine();
    server.set("FAILPOINTS", "order=1*panic->off");
    server.restart();
    let id = server.client.submit(json!({ "clientOrderId": "poison" })).await.order_id();
    server.client.until_confirmed(&id).await;
    assert!(server.terminate().success());
    server.set("FAILPOINTS", "manager=panic");
    server.restart();
    let _ = server.client.try_submit(json!({})).await;
    assert_eq!(server.wait().code(), Some(70));
    let lines = json_lines(&std::fs::read_to_string(server.file("log")).unwrap());
    assert_eq!(lines.iter().filter(|line| line["message"] == "panic").count(), 2);
    assert!(mentions(&lines, "the engine cannot continue: "), "the cause of the end is lost");
}
