//! The simulated chain's ledger on a disk that is full, goes away or was left half written.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, at_once};
use crate::support::process::{PATIENCE, SWIFT, Server};

/// An engine whose database is not on the disk, so that only its ledger is.
fn with_nothing_but_a_ledger() -> Server {
    let memory = [("database.url", "sqlite::memory:"), ("chain.resend_ms", "100")];
    Server::start(SWIFT.into_iter().chain(memory))
}

/// Waits until `/ready` says that status of itself; the engine takes orders all the while.
async fn until_status(client: &Client, status: &str) -> Value {
    let look = async {
        loop {
            let ready = client.get("/ready").await;
            assert_eq!(ready.status, 200, "{ready:?}");
            if ready.body["status"] == status {
                return ready.body;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it never came to that")
}

async fn submitted(client: &Client, orders: usize) -> Vec<String> {
    at_once(8, (0..orders).map(|_| async { client.submit(json!({})).await.order_id() })).await
}

async fn all_confirmed(client: &Client, ids: &[String]) {
    for id in ids {
        assert_eq!(client.until_ended(id).await["status"], "confirmed");
    }
}

/// Every swap of these orders stands in the file once, and there is nothing else in it.
fn assert_whole(server: &Server, ids: &[String]) {
    let text = fs::read_to_string(server.ledger_file()).unwrap();
    assert!(text.ends_with('\n'));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect();
    let swaps = lines.iter().filter(|line| line["line"] == "swap");
    let mut orders: Vec<_> = swaps.map(|swap| swap["orderId"].as_str().unwrap()).collect();
    let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
    orders.sort();
    ids.sort();
    assert_eq!(orders, ids);
}

#[actix::test]
async fn a_ledger_on_a_full_disk_is_whole_again_once_there_is_room() {
    let server = with_nothing_but_a_ledger();
    let mut ids = submitted(&server.client, 20).await;
    all_confirmed(&server.client, &ids).await;
    // Room for a third of a line: the next append is a short write, and then an error.
    let length = fs::metadata(server.ledger_file()).unwrap().len();
    limit_files(&server, &(length + 100).to_string());
    let held_up = submitted(&server.client, 20).await;
    let ready = until_status(&server.client, "degraded").await;
    assert!(
        ready["reasons"][0].as_str().unwrap().starts_with("the ledger of the simulated chain accepts no swaps: "),
        "{ready}"
    );
    assert!(!ready.to_string().contains("order-engine.ledger"), "no path: {ready}");
    for id in &held_up {
        // A swap that was not taken is no failure: it is sent again.
        server.client.until(id, |order| order["status"] == "submitted").await;
    }
    assert_whole(&server, &ids);
    limit_files(&server, "unlimited");
    all_confirmed(&server.client, &held_up).await;
    until_status(&server.client, "ok").await;
    ids.extend(held_up);
    assert_whole(&server, &ids);
    server.assert_no_second_swap();
}

/// Sets the largest size that a file of the engine may grow to: a write beyond it is cut short, the next one refused.
fn limit_files(server: &Server, bytes: &str) {
    let set =
        Command::new("prlimit").arg(format!("--fsize={bytes}:")).args(["--pid", &server.pid().to_string()]).status();
    assert!(set.expect("this test needs the Debian package `util-linux`").success());
}

#[actix::test]
async fn an_engine_at_rest_says_when_its_ledger_has_room_again() {
    let server = with_nothing_but_a_ledger();
    let ids = submitted(&server.client, 20).await;
    all_confirmed(&server.client, &ids).await;
    let length = fs::metadata(server.ledger_file()).unwrap().len();
    limit_files(&server, &length.to_string());
    let id = server.client.submit(json!({})).await.order_id();
    until_status(&server.client, "degraded").await;
    limit_files(&server, "unlimited");
    assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
    until_status(&server.client, "ok").await;
}

#[actix::test]
async fn a_torn_ledger_is_cut_back_at_the_start_and_the_cut_is_in_the_log() {
    let mut server = Server::start(SWIFT);
    let mut ids = submitted(&server.client, 5).await;
    all_confirmed(&server.client, &ids).await;
    server.kill();
    let torn = r#"{"line":"swap","signature":"5N"#;
    OpenOptions::new().append(true).open(server.ledger_file()).unwrap().write_all(torn.as_bytes()).unwrap();
    let log = server.file("log");
    server.log_to(&log);
    server.restart();
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("cut off an incomplete last line") && said.contains("line=7"), "{said}");
    ids.extend(submitted(&server.client, 5).await);
    all_confirmed(&server.client, &ids).await;
    assert_whole(&server, &ids);
}

#[actix::test]
async fn a_ledger_with_a_broken_line_stops_the_start_which_names_the_line_and_the_way_out() {
    let mut server = Server::start(SWIFT);
    let ids = submitted(&server.client, 5).await;
    all_confirmed(&server.client, &ids).await;
    server.kill();
    let text = fs::read_to_string(server.ledger_file()).unwrap();
    let broken = text.replacen("\n{\"line\":\"swap\"", "\n{\"line\":\"sw{\"line\":\"swap\"", 1);
    fs::write(server.ledger_file(), &broken).unwrap();
    let output = server.command(&["serve"]).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["order-engine.ledger", "line 2", "delete line 2", "never accepted"] {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    assert_eq!(fs::read_to_string(server.ledger_file()).unwrap(), broken, "the start changes nothing");
    // As it says.
    let without: Vec<_> = broken.lines().enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| line).collect();
    fs::write(server.ledger_file(), without.join("\n") + "\n").unwrap();
    server.restart();
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
}

#[actix::test]
async fn a_ledger_that_is_taken_away_holds_swaps_up_and_loses_none() {
    let server = with_nothing_but_a_ledger();
    let mut ids = submitted(&server.client, 5).await;
    all_confirmed(&server.client, &ids).await;
    let away = server.file("away");
    fs::rename(server.ledger_file(), &away).unwrap();
    let ready = until_status(&server.client, "degraded").await;
    assert!(ready["reasons"][0].as_str().unwrap().contains("removed"), "{ready}");
    let held_up = submitted(&server.client, 5).await;
    for id in &held_up {
        server.client.until(id, |order| order["status"] == "submitted").await;
    }
    assert!(!server.ledger_file().exists(), "a new one would have forgotten what landed");
    fs::rename(&away, server.ledger_file()).unwrap();
    all_confirmed(&server.client, &held_up).await;
    until_status(&server.client, "ok").await;
    ids.extend(held_up);
    assert_whole(&server, &ids);
}

#[actix::test]
async fn two_engines_on_one_ledger_tear_no_line_and_take_each_swap_once() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared.ledger");
    let engine = || Server::start(SWIFT.into_iter().chain([("simulation.ledger", shared.to_str().unwrap())]));
    let (one, two) = (engine(), engine());
    let (first, second) = tokio::join!(submitted(&one.client, 100), submitted(&two.client, 100));
    all_confirmed(&one.client, &first).await;
    all_confirmed(&two.client, &second).await;
    for server in [&one, &two] {
        assert_eq!(server.ledger().len(), 200);
        server.assert_no_second_swap();
    }
}
