//! Backups: what they contain, what a restored database does until the operator decides, and what a kill leaves behind.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;

use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};

use crate::support::campaign;
use crate::support::client::Client;
use crate::support::os::{Finished, run, run_aside};
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{until, until_some};

/// Swaps that are in flight for an hour, so that orders stay `submitted`.
const SLOW_SWAPS: [(&str, &str); 3] = [
    ("simulation.swap_latency_min_ms", "3600000"),
    ("simulation.swap_latency_max_ms", "3600000"),
    ("simulation.valid_blocks", "1000000"),
];

/// A rate limit under which orders after the first one stay `pending`.
const ONE_DISPATCH: (&str, &str) = ("orders.rate_limit_per_minute", "1");

const SUSPENDED: &str = "restored from a backup; dispatching is suspended";

/// Copies the database of a server to the file `copy` in its folder.
async fn back_up(server: &Server) -> Finished {
    let finished = run_aside(server.command(&["backup", "copy"])).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

/// A stopped engine in a folder of its own, into which the backup of another one was restored.
fn restored<'a>(server: &Server, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Server {
    let other = Server::stopped(settings);
    let finished = run(&mut other.command(&["restore", server.file("copy").to_str().unwrap()]));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    other
}

#[track_caller]
fn decide(server: &Server, decision: &str) -> Finished {
    let finished = run(&mut server.command(&["restore", decision]));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

async fn assert_suspended(client: &Client) {
    let ready = client.get("/ready").await;
    assert_eq!((ready.status, &ready.body["status"]), (503, &json!("degraded")), "{ready:?}");
    assert!(ready.body["reasons"][0].as_str().unwrap().starts_with(SUSPENDED), "{ready:?}");
    client.submit(json!({})).await.assert_problem(503, "suspended");
}

fn number_of(files: &Path) -> usize {
    fs::read_dir(files).unwrap().count()
}

/// Submits orders at a rate until told to stop. Returns the ids of the accepted ones.
async fn submit_at(client: Client, per_second: u64, stop: Rc<Cell<bool>>, acknowledged: Rc<RefCell<Vec<String>>>) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_micros(1_000_000 / per_second));
    let mut submits = Vec::new();
    while !stop.get() {
        ticks.tick().await;
        let (client, acknowledged) = (client.clone(), acknowledged.clone());
        submits.push(actix::spawn(async move {
            let answer = client.submit(json!({})).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            acknowledged.borrow_mut().push(answer.order_id());
        }));
    }
    for submit in submits {
        submit.await.unwrap();
    }
}

#[actix::test]
async fn a_backup_under_load_has_every_order_acknowledged_before_it_and_is_dispatched_only_when_resumed() {
    let (per_second, before, during) = campaign::size((500, 10_000, 5_000), (100, 300, 100));
    let open = ("orders.max_open", "100000");
    let server = Server::start_on("sqlite://order-engine.db?mode=rwc", SWIFT.into_iter().chain([open]));
    let (stop, acknowledged) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
    let submits = actix::spawn(submit_at(server.client.clone(), per_second, stop.clone(), acknowledged.clone()));
    until("orders were acknowledged", async || acknowledged.borrow().len() >= before).await;

    let acknowledged_before = acknowledged.borrow().clone();
    let made = back_up(&server).await;
    let after = acknowledged.borrow().len() + during;
    until("the engine went on", async || acknowledged.borrow().len() >= after).await;
    stop.set(true);
    submits.await.unwrap();
    let acknowledged = acknowledged.borrow().clone();
    server.client.until_all_confirmed(&acknowledged).await;
    assert_eq!(server.client.get("/ready").await.body["status"], "ok");
    println!(
        "{} orders were acknowledged before the backup, {} in all\n{made:?}",
        acknowledged_before.len(),
        acknowledged.len()
    );

    let check = run(&mut server.command(&["restore", "copy", "--check"]));
    assert_eq!(check.code, Some(0), "nothing is half: {check:?}");
    for name in ["copy", "copy.ledger"] {
        assert_eq!(fs::metadata(server.file(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }

    let mut other = restored(&server, SWIFT);
    assert_eq!(other.ledger().len(), fs::read_to_string(server.file("copy.ledger")).unwrap().lines().count() - 1);
    other.restart();
    let swaps = other.ledger().len();
    for id in &acknowledged_before {
        let order = other.client.get(&format!("/api/orders/{id}")).await;
        assert_eq!(order.status, 200, "an acknowledged order is missing: {order:?}");
    }
    assert_suspended(&other.client).await;
    // Live swaps of the backup are settled by asking; every other open order stays as it is.
    until("no swap of the backup is live", async || {
        other.client.all_orders().await.iter().all(|order| order["status"] != "submitted")
    })
    .await;
    assert_eq!(other.ledger().len(), swaps, "something was sent");
    let waiting: Vec<_> =
        other.client.all_orders().await.into_iter().filter(|order| order["completedAt"].is_null()).collect();
    assert_eq!(other.client.metric("order_engine_orders{state=\"running\"}").await, 0);
    assert!(other.terminate().success());

    decide(&other, "--resume");
    other.restart();
    println!("{} orders go on after --resume", waiting.len());
    for order in &waiting {
        other.client.until_confirmed(order["orderId"].as_str().unwrap()).await;
    }
    assert_eq!(other.client.get("/ready").await.body["status"], "ok");
    assert_eq!(other.client.submit(json!({})).await.status, 201);
    // What the operator accepts with --resume: an order that was swapped after the backup is swapped again. No other is.
    let mut swapped = HashSet::new();
    for entry in other.ledger().into_iter().filter(|entry| entry["outcome"] == "landed") {
        let is_new = swapped.insert(entry["orderId"].to_string());
        assert!(is_new || waiting.iter().any(|order| order["orderId"] == entry["orderId"]), "{entry}");
    }
}

/// A server with one order whose swap is in flight, one that waits for its dispatch, one that has ended; their ids.
async fn with_open_orders() -> (Server, [String; 3]) {
    let url = "sqlite://order-engine.db?mode=rwc";
    let mut server = Server::start_on(url, SWIFT);
    let ended = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&ended).await;
    for (key, value) in SLOW_SWAPS {
        server.set(key, value);
    }
    assert!(server.terminate().success());
    server.restart();
    let live = server.client.submit(json!({})).await.order_id();
    server.client.until(&live, |order| order["status"] == "submitted").await;
    server.set("orders.rate_limit_per_minute", "1");
    server.kill();
    server.restart();
    let waiting = server.client.submit(json!({ "clientOrderId": "waiting" })).await.order_id();
    (server, [live, waiting, ended])
}

#[actix::test]
async fn a_restored_database_answers_reads_and_neither_dispatches_nor_ends_an_order() {
    let (server, [live, waiting, ended]) = with_open_orders().await;
    back_up(&server).await;
    // Every open order is out of time in the restored engine: nothing must conclude that it failed.
    let mut other = restored(&server, SWIFT.into_iter().chain([("orders.timeout_ms", "1")]));
    other.restart();
    assert_suspended(&other.client).await;
    for (id, status) in [(&live, "submitted"), (&waiting, "pending"), (&ended, "confirmed")] {
        assert_eq!(other.client.order(id).await["status"], status);
    }
    let repeated = other.client.submit(json!({ "clientOrderId": "waiting" })).await;
    assert_eq!((repeated.status, repeated.order_id()), (200, waiting.clone()));
    for id in [&live, &waiting] {
        other.client.cancel(id).await.assert_problem(503, "suspended");
    }
    assert_eq!(other.client.cancel(&ended).await.code(), "already_ended");
    let all = other.client.post("/api/orders/cancel", &json!({})).await;
    assert_eq!(all.body["cancelled"], 0, "{all:?}");
    let mut socket = other.client.socket(&format!("/ws/orders/{waiting}")).await;
    assert_eq!(socket.next().await.unwrap()["status"], "pending");
    // A swap that has landed meanwhile is found, although it is not sent again.
    let swaps = other.ledger().len();
    other.kill();
    let ledger = fs::read_to_string(other.ledger_file()).unwrap();
    let mut lines: Vec<Value> = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let swap = lines.iter_mut().find(|line| line["orderId"] == live.as_str()).unwrap();
    swap["at"] = swap["acceptedAt"].clone();
    fs::write(other.ledger_file(), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    other.restart();
    other.client.until_confirmed(&live).await;
    assert_eq!(other.client.order(&waiting).await["status"], "pending");
    assert_eq!(other.ledger().len(), swaps);
    assert!(other.terminate().success());
}

#[actix::test]
async fn cancel_unfinished_cancels_what_has_no_live_swap_and_leaves_the_rest_to_the_chain() {
    let (server, [live, waiting, ended]) = with_open_orders().await;
    back_up(&server).await;
    let mut other = restored(&server, SWIFT);
    // A killed decision is made again.
    decide(&other, "--cancel-unfinished");
    other.restart();
    let cancelled = other.client.order(&waiting).await;
    assert_eq!((&cancelled["status"], &cancelled["error"]["code"]), (&json!("cancelled"), &json!("restored")));
    let events = other.client.events(&live).await;
    assert!(events.last().unwrap()["reason"].as_str().unwrap().contains("no further attempt"), "{events:?}");
    assert_eq!(other.client.order(&ended).await["status"], "confirmed");
    assert_eq!(other.client.get("/ready").await.body["status"], "ok");
    let next = other.client.submit(json!({})).await.order_id();
    other.client.until_confirmed(&next).await;
    assert!(other.terminate().success());
    let again = decide(&other, "--cancel-unfinished");
    assert!(again.stdout.contains("nothing is suspended"), "{again:?}");
}

#[actix::test]
async fn a_backup_that_is_copied_into_place_by_hand_is_suspended_too() {
    let (server, [_, waiting, _]) = with_open_orders().await;
    back_up(&server).await;
    let mut other = Server::stopped(SWIFT);
    fs::copy(server.file("copy"), other.file("order-engine.db")).unwrap();
    fs::copy(server.file("copy.ledger"), other.ledger_file()).unwrap();
    other.restart();
    assert_suspended(&other.client).await;
    assert_eq!(other.client.order(&waiting).await["status"], "pending");
    // The engine runs, so the decision must wait.
    assert_eq!(run(&mut other.command(&["restore", "--resume"])).code, Some(75));
    assert_suspended(&other.client).await;
}

#[actix::test]
async fn nothing_that_exists_is_overwritten_by_a_backup_or_a_restore() {
    let server = Server::start_on("sqlite://order-engine.db?mode=rwc", SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
    back_up(&server).await;
    let copied = fs::read(server.file("copy")).unwrap();
    // `order-engine` would have the ledger of the engine as its ledger.
    for name in ["copy", "order-engine.db", "order-engine"] {
        let refused = run(&mut server.command(&["backup", name]));
        assert_eq!(refused.code, Some(73), "{name}: {refused:?}");
        assert!(refused.stderr.contains("exists already"), "{name}: {refused:?}");
    }
    let refused = run(&mut server.command(&["restore", "copy"]));
    assert!(refused.code == Some(73) && refused.stderr.contains("order-engine.db"), "{refused:?}");
    assert_eq!(fs::read(server.file("copy")).unwrap(), copied);
    assert_eq!(server.client.order(&id).await["status"], "confirmed");

    // SQLite would apply the log of an earlier database to the restored one.
    let other = Server::stopped(SWIFT);
    fs::write(other.file("order-engine.db-wal"), "").unwrap();
    let copy = server.file("copy");
    let refused = run(&mut other.command(&["restore", copy.to_str().unwrap()]));
    assert!(refused.code == Some(73) && refused.stderr.contains("order-engine.db-wal"), "{refused:?}");
    fs::remove_file(other.file("order-engine.db-wal")).unwrap();
    // An empty file is nothing.
    fs::write(other.file("order-engine.db"), "").unwrap();
    let finished = run(&mut other.command(&["restore", copy.to_str().unwrap()]));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let ledger = fs::read(other.ledger_file()).unwrap();
    assert_eq!(ledger, fs::read(server.file("copy.ledger")).unwrap());
}

#[actix::test]
async fn a_damaged_or_foreign_backup_is_refused_and_leaves_nothing_behind() {
    let server = Server::start_on("sqlite://order-engine.db?mode=rwc", SWIFT);
    let ids = server.client.submit_many(200).await;
    server.client.until_all_confirmed(&ids).await;
    back_up(&server).await;
    let bytes = fs::read(server.file("copy")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(server.file(name), bytes).unwrap();
    let mut torn = bytes.clone();
    torn[4096 * 8..4096 * 24].fill(0x5a);
    write("torn", &torn);
    write("short", &bytes[..bytes.len() / 2]);
    write("text", b"no database");
    write("empty", b"");
    let other = Server::stopped(SWIFT);
    for name in ["torn", "short", "text", "empty", "missing"] {
        let path = server.file(name);
        let path = path.to_str().unwrap();
        for arguments in [&["restore", path, "--check"][..], &["restore", path]] {
            let refused = run(&mut other.command(arguments));
            assert!(matches!(refused.code, Some(1 | 65)), "{arguments:?}: {refused:?}");
            assert!(refused.stderr.contains(name), "{arguments:?}: {refused:?}");
            assert_eq!(number_of(&other.file("")), 0, "{arguments:?}");
        }
    }
    // A row that cannot be read is named, and does not keep the others from being restored.
    let copy = Database::connect(format!("sqlite://{}", server.file("copy").display())).await.unwrap();
    copy.execute_unprepared("UPDATE orders SET request = '{}' WHERE rowid = 7").await.unwrap();
    copy.close().await.unwrap();
    let check = run(&mut server.command(&["restore", "copy", "--check"]));
    assert!(check.code == Some(65) && check.stderr.contains("cannot be read: order"), "{check:?}");
    let other = restored(&server, SWIFT);
    assert_eq!(number_of(&other.file("")), 2, "the database and the ledger");
}

#[actix::test]
async fn a_kill_during_a_backup_or_a_restore_leaves_the_old_state_or_the_new_one() {
    let server = Server::start_on("sqlite://order-engine.db?mode=rwc", SWIFT);
    let ids = server.client.submit_many(campaign::size(2_000, 100)).await;
    server.client.until_all_confirmed(&ids).await;
    let rounds = campaign::size(60, 12);
    for round in 0..rounds {
        let name = format!("copy-{round}");
        let mut backup = server.command(&["backup", &name]).stdout(Stdio::null()).spawn().unwrap();
        // The moment of the kill is what is tested; each round has another one.
        tokio::time::sleep(std::time::Duration::from_millis(round * 8)).await;
        backup.kill().unwrap();
        backup.wait().unwrap();
        if server.file(&name).exists() {
            let check = run(&mut server.command(&["restore", &name, "--check"]));
            assert_eq!(check.code, Some(0), "{check:?}");
        } else {
            // The next attempt replaces the part; a ledger that has its name is the only one left.
            let _ = fs::remove_file(server.file(&format!("{name}.ledger")));
            let again = run(&mut server.command(&["backup", &name]));
            assert_eq!(again.code, Some(0), "{again:?}");
        }
        assert!(!server.file(&format!("{name}.partial")).exists());
    }
    assert_eq!(server.client.get("/ready").await.body["status"], "ok", "the engine runs");
    back_up(&server).await;
    let copy = server.file("copy");
    for round in 0..rounds {
        let mut other = Server::stopped(SWIFT);
        let mut restore = other.command(&["restore", copy.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(round * 8)).await;
        restore.kill().unwrap();
        restore.wait().unwrap();
        if !other.file("order-engine.db").exists() {
            let again = run(&mut other.command(&["restore", copy.to_str().unwrap()]));
            assert_eq!(again.code, Some(0), "{again:?}");
        }
        let mut decision = other.command(&["restore", "--resume"]).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(round * 4)).await;
        decision.kill().unwrap();
        decision.wait().unwrap();
        other.restart();
        let ready = until_some("/ready is settled", async || Some(other.client.get("/ready").await)).await;
        let suspended = ready.body["reasons"].to_string().contains(SUSPENDED);
        assert_eq!(ready.status, if suspended { 503 } else { 200 }, "{ready:?}");
        assert_eq!(other.client.all_orders().await.len(), ids.len());
    }
}

#[actix::test]
async fn a_restored_postgresql_database_is_suspended_once_it_is_marked() {
    let postgres = Postgres::start();
    let mut server = Server::start_on(&postgres.url(), SWIFT.into_iter().chain([ONE_DISPATCH]));
    let refused = run(&mut server.command(&["backup", "copy"]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["pg_dump --format=custom --file=copy", "pg_restore", "INSERT INTO engine_state"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let first = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&first).await;
    let waiting = server.client.submit(json!({})).await.order_id();
    server.kill();
    // The line of the recipe.
    let mark = refused.stderr.split("--command=\"").nth(1).unwrap().split('"').next().unwrap();
    postgres.sql(mark);
    server.set("orders.rate_limit_per_minute", "0");
    server.restart();
    assert_suspended(&server.client).await;
    assert_eq!(server.client.order(&waiting).await["status"], "pending");
    assert!(server.terminate().success());
    decide(&server, "--resume");
    server.restart();
    server.client.until_confirmed(&waiting).await;
}
