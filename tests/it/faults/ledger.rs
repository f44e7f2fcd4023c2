//! The simulated chain's ledger: on a full disk, removed, torn or broken.

use std::fs::{self, OpenOptions};
use std::io::Write;

use serde_json::{Value, json};

use crate::support::machine::limit_files;
use crate::support::os::run;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::block_until;

/// An engine with only its ledger on disk.
fn engine_with_a_ledger() -> Server {
    let memory = [("database.url", "sqlite::memory:"), ("chain.resend_ms", "100")];
    Server::start(SWIFT.into_iter().chain(memory))
}

/// Fails unless the file has every swap of these orders once, and nothing else.
fn assert_complete(server: &Server, ids: &[String]) {
    // While it has no space, the engine tries an append again and again, and cuts off what was written of it.
    let whole = || Some(fs::read_to_string(server.ledger_file()).unwrap()).filter(|text| text.ends_with('\n'));
    let mut text = None;
    block_until("the file ends with a whole line", || {
        text = whole();
        text.is_some()
    });
    let text = text.expect("it was waited for");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
    let swaps = lines.iter().filter(|line| line["line"] == "swap");
    let mut orders: Vec<_> = swaps.map(|swap| swap["orderId"].as_str().unwrap()).collect();
    let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
    orders.sort();
    ids.sort();
    assert_eq!(orders, ids);
}

#[actix::test]
async fn a_ledger_on_a_full_disk_is_complete_again_once_there_is_space() {
    let server = engine_with_a_ledger();
    let mut ids = server.client.submit_many(20).await;
    server.client.until_all_confirmed(&ids).await;
    // Space for a third of a line: the next append is a short write, and then an error.
    let length = fs::metadata(server.ledger_file()).unwrap().len();
    limit_files(server.pid(), Some(length + 100));
    let delayed = server.client.submit_many(20).await;
    let ready = server.client.until_ready_status("degraded").await;
    assert!(
        ready["reasons"][0].as_str().unwrap().starts_with("the ledger of the simulated chain accepts no swaps: "),
        "{ready}"
    );
    assert!(!ready.to_string().contains("order-engine.ledger"), "/ready shows no path: {ready}");
    for id in &delayed {
        // A swap that the chain did not accept is sent again.
        server.client.until(id, |order| order["status"] == "submitted").await;
    }
    assert_complete(&server, &ids);
    limit_files(server.pid(), None);
    server.client.until_all_confirmed(&delayed).await;
    server.client.until_ready_status("ok").await;
    ids.extend(delayed);
    assert_complete(&server, &ids);
    server.assert_no_second_swap();
}

#[actix::test]
async fn ready_reports_space_for_the_ledger_also_without_orders() {
    let server = engine_with_a_ledger();
    let ids = server.client.submit_many(20).await;
    server.client.until_all_confirmed(&ids).await;
    let length = fs::metadata(server.ledger_file()).unwrap().len();
    limit_files(server.pid(), Some(length));
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_ready_status("degraded").await;
    limit_files(server.pid(), None);
    server.client.until_confirmed(&id).await;
    server.client.until_ready_status("ok").await;
}

#[actix::test]
async fn a_torn_last_line_of_the_ledger_is_removed_at_the_start_and_logged() {
    let mut server = Server::start(SWIFT);
    let mut ids = server.client.submit_many(5).await;
    server.client.until_all_confirmed(&ids).await;
    server.kill();
    let torn = r#"{"line":"swap","signature":"5N"#;
    OpenOptions::new().append(true).open(server.ledger_file()).unwrap().write_all(torn.as_bytes()).unwrap();
    let log = server.file("log");
    server.log_to(&log);
    server.restart();
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("cut off an incomplete last line") && log.contains("line=7"), "{log}");
    ids.extend(server.client.submit_many(5).await);
    server.client.until_all_confirmed(&ids).await;
    assert_complete(&server, &ids);
}

#[actix::test]
async fn a_broken_line_of_the_ledger_stops_the_start_with_its_number_and_a_remedy() {
    let mut server = Server::start(SWIFT);
    let ids = server.client.submit_many(5).await;
    server.client.until_all_confirmed(&ids).await;
    server.kill();
    let text = fs::read_to_string(server.ledger_file()).unwrap();
    let broken = text.replacen("\n{\"line\":\"swap\"", "\n{\"line\":\"sw{\"line\":\"swap\"", 1);
    fs::write(server.ledger_file(), &broken).unwrap();
    let refused = run(&mut server.command(&["serve"]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["order-engine.ledger", "line 2", "delete line 2", "never accepted"] {
        assert!(refused.stderr.contains(part), "{part:?} is missing in {refused:?}");
    }
    assert_eq!(fs::read_to_string(server.ledger_file()).unwrap(), broken, "the start changes nothing");
    // The remedy of the message.
    let without: Vec<_> = broken.lines().enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| line).collect();
    fs::write(server.ledger_file(), without.join("\n") + "\n").unwrap();
    server.restart();
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
}

#[actix::test]
async fn a_removed_ledger_delays_swaps_and_loses_none() {
    let server = engine_with_a_ledger();
    let mut ids = server.client.submit_many(5).await;
    server.client.until_all_confirmed(&ids).await;
    let away = server.file("away");
    fs::rename(server.ledger_file(), &away).unwrap();
    let ready = server.client.until_ready_status("degraded").await;
    assert!(ready["reasons"][0].as_str().unwrap().contains("removed"), "{ready}");
    let delayed = server.client.submit_many(5).await;
    for id in &delayed {
        server.client.until(id, |order| order["status"] == "submitted").await;
    }
    assert!(!server.ledger_file().exists(), "a new ledger would not contain the landed swaps");
    fs::rename(&away, server.ledger_file()).unwrap();
    server.client.until_all_confirmed(&delayed).await;
    server.client.until_ready_status("ok").await;
    ids.extend(delayed);
    assert_complete(&server, &ids);
}

#[actix::test]
async fn two_engines_on_one_ledger_write_complete_lines_and_each_swap_once() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared.ledger");
    let engine = || Server::start(SWIFT.into_iter().chain([("simulation.ledger", shared.to_str().unwrap())]));
    let (one, two) = (engine(), engine());
    let (first, second) = tokio::join!(one.client.submit_many(100), two.client.submit_many(100));
    one.client.until_all_confirmed(&first).await;
    two.client.until_all_confirmed(&second).await;
    for server in [&one, &two] {
        assert_eq!(server.ledger().len(), 200);
        server.assert_no_second_swap();
    }
}
