//! Standard output and standard error that nobody reads, that are full, or that stand still.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::process::{Output, Stdio};

use serde_json::json;

use crate::support::process::{SWIFT, Server};

/// A disk that is always full.
fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader has gone.
fn closed_pipe() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// An engine that logs everything.
fn talkative() -> Server {
    let mut server = Server::idle(SWIFT);
    server.set("LOG_LEVEL", "trace");
    server
}

async fn confirm_orders(server: &Server, orders: usize) {
    for _ in 0..orders {
        let id = server.client.submit(json!({})).await.order_id();
        assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
    }
}

async fn dropped_lines(server: &Server) -> u64 {
    let metrics = server.client.get("/metrics").await;
    let lines = metrics.body.as_str().unwrap().lines();
    let figure = lines.filter_map(|line| line.strip_prefix("order_engine_log_lines_dropped_total ")).next();
    figure.expect("dropped log lines are counted").parse().unwrap()
}

async fn assert_lives_without_logs(mut server: Server) {
    confirm_orders(&server, 20).await;
    assert!(dropped_lines(&server).await > 0);
    let ready = server.client.get("/ready").await;
    assert_eq!((ready.status, &ready.body["status"]), (200, &json!("degraded")), "{ready:?}");
    assert!(ready.body["reasons"].to_string().contains("log lines cannot be written"), "{ready:?}");
    assert_eq!(server.terminate().code(), Some(0));
}

#[actix::test]
async fn orders_are_confirmed_and_sigterm_ends_with_0_when_the_reader_of_the_log_is_gone() {
    let mut server = talkative();
    server.restart_logging_to(closed_pipe());
    assert_lives_without_logs(server).await;
}

#[actix::test]
async fn orders_are_confirmed_and_sigterm_ends_with_0_when_the_disk_of_the_log_is_full() {
    let mut server = talkative();
    server.restart_logging_to(full_disk());
    assert_lives_without_logs(server).await;
}

#[actix::test]
async fn orders_are_confirmed_and_sigterm_ends_with_0_when_the_reader_of_the_log_has_stalled() {
    let (reader, writer) = pipe().unwrap();
    let mut server = talkative();
    server.restart_logging_to(writer);
    // Far more than a pipe takes.
    confirm_orders(&server, 100).await;
    assert_eq!(server.client.get("/ready").await.status, 200);
    assert_eq!(server.terminate().code(), Some(0));
    assert!(std::io::read_to_string(reader).unwrap().len() >= 32 * 1024, "the pipe was full");
}

#[actix::test]
async fn lines_are_dropped_and_counted_when_the_reader_of_the_log_has_stalled() {
    let (reader, writer) = pipe().unwrap();
    let mut server = talkative();
    server.restart_logging_to(writer);
    while dropped_lines(&server).await == 0 {
        confirm_orders(&server, 50).await;
    }
    let ready = server.client.get("/ready").await;
    assert!(ready.status == 200 && ready.body["reasons"].to_string().contains("log lines"), "{ready:?}");
    // Once the reader reads again, all is well.
    std::thread::spawn(move || drain(reader));
    while server.client.get("/ready").await.body["status"] != "ok" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(server.terminate().code(), Some(0));
}

fn drain(reader: PipeReader) {
    BufReader::new(reader).lines().map_while(Result::ok).for_each(drop);
}

#[actix::test]
async fn the_log_is_whole_and_in_order_at_the_end_of_the_process() {
    let mut server = talkative();
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
async fn an_order_whose_actor_panics_is_mended_when_nobody_reads_the_log() {
    let mut server = talkative();
    server.set("FAILPOINTS", "order=2*panic->off");
    let log = server.file("log");
    for (index, stderr) in
        [closed_pipe(), full_disk().into(), File::create(&log).unwrap().into()].into_iter().enumerate()
    {
        server.restart_logging_to(stderr);
        let id = server.client.submit(json!({ "clientOrderId": format!("poison-{index}") })).await.order_id();
        assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
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
fn a_start_that_fails_ends_when_the_reader_of_the_log_has_stalled() {
    let (reader, mut writer) = pipe().unwrap();
    // As much as a pipe takes.
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    let mut server = Server::idle([("server.port", "no-port")]);
    server.spawn_logging_to(writer);
    assert_eq!(server.wait().code(), Some(78));
    drop(reader);
}

/// Runs a command with its standard output in other hands; what it says on standard error must be no panic.
async fn run(server: &Server, arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = server.command(arguments);
    command.env("ORDER_ENGINE_URL", server.client.url()).stdout(stdout).stderr(Stdio::piped());
    let output = actix_web::rt::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panic"), "{arguments:?}: {said}");
    output
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
async fn a_command_ends_quietly_when_nobody_reads_what_it_prints() {
    let server = Server::start(SWIFT);
    confirm_orders(&server, 1).await;
    for arguments in COMMANDS {
        let output = run(&server, arguments, closed_pipe()).await;
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[actix::test]
async fn a_command_names_the_full_disk_that_its_output_is_lost_on() {
    let server = Server::start(SWIFT);
    confirm_orders(&server, 1).await;
    for arguments in COMMANDS {
        let output = run(&server, arguments, full_disk()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written: No space left"), "{arguments:?}: {said}");
    }
}

#[actix::test]
async fn an_order_that_is_not_seen_to_its_end_is_not_said_to_be_confirmed() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    let output = run(&server, &["watch", &id], closed_pipe()).await;
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]));
    assert_eq!(run(&server, &["watch", &id], full_disk()).await.status.code(), Some(74));
}

#[actix::test]
async fn a_submit_whose_output_is_lost_says_on_standard_error_which_order_is_accepted() {
    let server = Server::start(SWIFT);
    let output = run(&server, &["submit", "SOL", "USDC", "1"], full_disk()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let orders = server.client.get("/api/orders").await.body;
    let id = orders["orders"][0]["orderId"].as_str().unwrap();
    assert!(output.status.code() == Some(74) && said.contains(id), "{said}");
}

#[test]
fn a_command_that_cannot_even_say_what_is_wrong_ends_with_its_own_exit_code() {
    let server = Server::idle([("server.port", "no-port")]);
    for (arguments, code) in [(&["config"][..], 78), (&["serve"], 78), (&["orders"], 1), (&["dance"], 2)] {
        for stderr in [closed_pipe(), full_disk().into()] {
            let mut command = server.command(arguments);
            command.env("ORDER_ENGINE_URL", "http://127.0.0.1:9").stdout(Stdio::null()).stderr(stderr);
            assert_eq!(command.status().unwrap().code(), Some(code), "{arguments:?}");
        }
    }
}
