//! The judge of the fault tests: what clients were told, what the database holds and what the chain did have to be one
//! story. It reads the raw tables and the chain's own file, and knows the rules by heart instead of asking the engine.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};
use serde_json::Value;
use uuid::Uuid;

use crate::support::client::{Answer, Client, SocketLog, at_once};
use crate::support::process::Server;

/// Every step an order may take: from this status, by this event, to that status. Written down here once more, so that
/// the engine's own table is not its own judge.
const LEGAL: [(&str, &str, &str); 21] = [
    ("", "accepted", "pending"),
    ("pending", "dispatched", "routing"),
    ("routing", "routed", "building"),
    ("building", "submitted", "submitted"),
    ("submitted", "confirmed", "confirmed"),
    ("pending", "attempt_failed", "pending"),
    ("routing", "attempt_failed", "pending"),
    ("building", "attempt_failed", "pending"),
    ("submitted", "attempt_failed", "pending"),
    ("routing", "interrupted", "pending"),
    ("building", "interrupted", "pending"),
    ("pending", "failed", "failed"),
    ("routing", "failed", "failed"),
    ("building", "failed", "failed"),
    ("submitted", "failed", "failed"),
    ("pending", "cancelled", "cancelled"),
    ("routing", "cancelled", "cancelled"),
    ("building", "cancelled", "cancelled"),
    ("submitted", "cancel_requested", "submitted"),
    // Both only after a cancel was asked for, which the checker sees to.
    ("submitted", "cancelled", "cancelled"),
    ("cancel requested", "confirmed", "confirmed"),
];

/// Every order of these tests buys USDC.
const USDC_DECIMALS: u32 = 6;

const FINAL: [&str; 3] = ["confirmed", "failed", "cancelled"];

/// What clients were told.
#[derive(Default)]
pub struct History {
    /// Each key, with every order it was answered with.
    keys: BTreeMap<String, Vec<String>>,
    /// Keys of which a client was told that nothing is and never will be stored.
    refused: Vec<String>,
    /// Orders that were answered with 201 or 200 without a key.
    accepted: Vec<String>,
    /// What each socket told, and what it was asked to leave out.
    histories: Vec<(String, u64, SocketLog)>,
    /// How cancels were answered.
    cancels: Vec<(String, u16, String)>,
    /// The engine's wall clock was set meanwhile: its stamps cannot be compared with the chain's time.
    clock_was_set: bool,
}

/// How much was looked at.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "each is printed")]
pub struct Findings {
    pub orders: usize,
    pub events: usize,
    pub swaps: usize,
    pub histories: usize,
    pub confirmed: usize,
    pub failed: usize,
    pub cancelled: usize,
}

impl History {
    /// From here on the engine's wall clock is set.
    pub fn clock_is_set(&mut self) {
        self.clock_was_set = true;
    }

    /// A submit is about to be sent under this key; whether it is ever answered is open.
    pub fn asked(&mut self, key: &str) {
        self.keys.entry(key.to_owned()).or_default();
    }

    /// A submit was answered.
    pub fn answered(&mut self, key: Option<&str>, answer: &Answer) {
        match (answer.status, key) {
            (200 | 201, Some(key)) => self.keys.entry(key.to_owned()).or_default().push(answer.order_id()),
            (200 | 201, None) => self.accepted.push(answer.order_id()),
            (503, Some(key)) if ["not_accepted", "stopping"].contains(&code(answer)) => {
                self.refused.push(key.to_owned());
            }
            _ => {}
        }
    }

    /// A cancel was answered.
    pub fn cancel_answered(&mut self, id: &str, answer: &Answer) {
        self.cancels.push((id.to_owned(), answer.status, code(answer).to_owned()));
    }

    /// A socket has told its story, from after `after_seq` on.
    pub fn told(&mut self, id: &str, after_seq: u64, history: SocketLog) {
        self.histories.push((id.to_owned(), after_seq, history));
    }

    /// Every order that a client knows of.
    pub fn orders(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.keys.values().flatten().chain(&self.accepted).cloned().collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Waits until every order of the database has ended, and judges everything.
    pub async fn check(&self, server: &Server) -> Findings {
        until_all_ended(&server.client).await;
        let database = Stored::read(&server.database_url()).await;
        let chain = Chain::read(server);
        let mut judge = Judge { clock_was_set: self.clock_was_set, ..Judge::default() };
        let told = told_by_the_api(&server.client, database.orders.keys()).await;
        for (id, order) in &database.orders {
            judge.order(id, order, &chain, &told[id]);
        }
        judge.chain(&chain, &database);
        self.check_answers(&database, &mut judge);
        self.check_stories(&told, &mut judge);
        assert!(judge.violations.is_empty(), "{} violations:\n{}", judge.violations.len(), judge.violations.join("\n"));
        let ended = |status: &str| database.orders.values().filter(|order| order.status == status).count();
        Findings {
            orders: database.orders.len(),
            events: database.orders.values().map(|order| order.events.len()).sum(),
            swaps: chain.swaps.len(),
            histories: self.histories.len(),
            confirmed: ended("confirmed"),
            failed: ended("failed"),
            cancelled: ended("cancelled"),
        }
    }

    fn check_answers(&self, database: &Stored, judge: &mut Judge) {
        for id in self.orders() {
            judge.holds(database.orders.contains_key(&id), || format!("order {id} was accepted and is lost"));
        }
        for (key, ids) in &self.keys {
            let owner = database.keys.get(key);
            for id in ids {
                judge
                    .holds(owner == Some(id), || format!("key {key} was answered with {id}, and belongs to {owner:?}"));
            }
        }
        let mut owners: Vec<_> = database.keys.values().collect();
        owners.sort();
        owners.dedup();
        judge.holds(owners.len() == database.keys.len(), || "two keys have one order".to_owned());
        for (key, id) in &database.keys {
            judge.holds(self.keys.contains_key(key), || format!("order {id} has key {key}, which nobody used"));
        }
        for id in database.orders.keys().filter(|id| !owners.contains(id)) {
            judge.holds(self.accepted.contains(id), || format!("order {id} was never asked for, or made twice"));
        }
        for key in &self.refused {
            let stored = database.keys.get(key).filter(|_| self.keys[key].is_empty());
            judge.holds(stored.is_none(), || format!("key {key} was refused for good, and is stored as {stored:?}"));
        }
        for (id, status, code) in &self.cancels {
            let Some(order) = database.orders.get(id) else { continue };
            let asked = || order.events.iter().any(|event| event.kind() == "cancel_requested");
            let holds = match (*status, code.as_str()) {
                (200, _) => order.status == "cancelled",
                (409, "too_late") => asked(),
                (409, "already_ended") => order.status != "cancelled",
                _ => true,
            };
            judge.holds(holds, || format!("a cancel of {id} was answered {status} {code}, and it is {}", order.status));
        }
    }

    fn check_stories(&self, told: &HashMap<String, Told>, judge: &mut Judge) {
        for (id, after_seq, SocketLog { steps, close }) in &self.histories {
            let Some(Told { events, .. }) = told.get(id) else { continue };
            for (step, seq) in steps.iter().zip(after_seq + 1..) {
                let recorded = usize::try_from(seq - 1).ok().and_then(|index| events.get(index));
                // A timeline tells how long the order stood there, and an update says that it is one.
                let same = recorded.is_some_and(|recorded| {
                    let fields = recorded.as_object().unwrap().iter();
                    fields.filter(|(name, _)| *name != "durationMs").all(|(name, value)| step[name] == *value)
                });
                judge.holds(same, || format!("a socket told {step} where order {id} has {recorded:?}"));
            }
            if *close == Some(1000) {
                let whole = after_seq + steps.len() as u64 == events.len() as u64;
                judge.holds(whole, || format!("a socket of order {id} was closed before it had told the end"));
            }
        }
    }
}

fn code(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

async fn until_all_ended(client: &Client) {
    for status in ["pending", "routing", "building", "submitted"] {
        loop {
            // Whatever has left `submitted` may be `pending` again, so at the end all four are looked at once more.
            let answer = client.get(&format!("/api/orders?limit=200&status={status}")).await;
            let Some(open) = answer.body["orders"].as_array().and_then(|orders| orders.first()).cloned() else { break };
            client.until_ended(open["orderId"].as_str().unwrap()).await;
        }
    }
    for status in ["pending", "routing", "building", "submitted"] {
        let answer = client.get(&format!("/api/orders?limit=1&status={status}")).await;
        if answer.body["orders"].as_array().is_none_or(|orders| !orders.is_empty()) {
            return Box::pin(until_all_ended(client)).await;
        }
    }
}

/// What the public face says of an order after the end.
struct Told {
    order: Value,
    events: Vec<Value>,
}

async fn told_by_the_api(client: &Client, ids: impl Iterator<Item = &String>) -> HashMap<String, Told> {
    let ask = |id: &String| {
        let (client, id) = (client.clone(), id.clone());
        async move {
            let told =
                Told { order: client.get(&format!("/api/orders/{id}")).await.body, events: client.events(&id).await };
            (id, told)
        }
    };
    at_once(32, ids.map(ask)).await.into_iter().collect()
}

/// The tables as they are.
struct Stored {
    orders: BTreeMap<String, StoredOrder>,
    keys: BTreeMap<String, String>,
}

#[derive(Default)]
struct StoredOrder {
    status: String,
    events: Vec<StoredEvent>,
    swaps: Vec<StoredSwap>,
}

struct StoredEvent {
    seq: i32,
    status: String,
    data: Value,
    at: DateTime<Utc>,
}

impl StoredEvent {
    fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    fn field(&self, pointer: &str) -> &Value {
        self.data.pointer(pointer).unwrap_or(&Value::Null)
    }
}

struct StoredSwap {
    signature: String,
    status: String,
}

impl Stored {
    async fn read(url: &str) -> Self {
        let database = Database::connect(url).await.unwrap();
        let mut orders = BTreeMap::new();
        for row in rows(&database, "SELECT id, status FROM orders").await {
            let status = row.try_get::<Option<String>>("", "status").unwrap().unwrap_or_default();
            orders.insert(id(&row, "id"), StoredOrder { status, ..StoredOrder::default() });
        }
        for row in
            rows(&database, "SELECT order_id, seq, status, data, at FROM order_events ORDER BY order_id, seq").await
        {
            let event = StoredEvent {
                seq: row.try_get("", "seq").unwrap(),
                status: row.try_get("", "status").unwrap(),
                data: serde_json::from_str(&row.try_get::<String>("", "data").unwrap()).unwrap(),
                at: row.try_get("", "at").unwrap(),
            };
            orders.get_mut(&id(&row, "order_id")).expect("an event belongs to an order").events.push(event);
        }
        for row in
            rows(&database, "SELECT order_id, signature, status FROM transactions ORDER BY order_id, attempt").await
        {
            let swap = StoredSwap {
                signature: row.try_get("", "signature").unwrap(),
                status: row.try_get("", "status").unwrap(),
            };
            orders.get_mut(&id(&row, "order_id")).expect("a swap belongs to an order").swaps.push(swap);
        }
        let keys = rows(&database, "SELECT key, order_id FROM idempotency_keys").await;
        let keys = keys.iter().map(|row| (row.try_get("", "key").unwrap(), id(row, "order_id"))).collect();
        database.close().await.unwrap();
        Self { orders, keys }
    }
}

async fn rows(database: &DatabaseConnection, select: &str) -> Vec<QueryResult> {
    database.query_all_raw(Statement::from_string(database.get_database_backend(), select)).await.unwrap()
}

fn id(row: &QueryResult, column: &str) -> String {
    row.try_get::<Uuid>("", column).unwrap().to_string()
}

/// What the chain took, and how high it was when.
struct Chain {
    genesis: DateTime<Utc>,
    block_ms: i64,
    jumps: Vec<(DateTime<Utc>, i64)>,
    swaps: BTreeMap<String, Value>,
}

impl Chain {
    fn read(server: &Server) -> Self {
        let text = std::fs::read_to_string(server.ledger_file()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let genesis = lines.iter().find(|line| line["line"] == "genesis").expect("a ledger begins with its genesis");
        let jumps = lines.iter().filter(|line| line["line"] == "jump");
        Self {
            genesis: time(&genesis["at"]),
            block_ms: genesis["blockMs"].as_i64().unwrap(),
            jumps: jumps.map(|line| (time(&line["at"]), line["blocks"].as_i64().unwrap())).collect(),
            swaps: server.ledger().into_iter().map(|swap| (text_of(&swap["signature"]), swap)).collect(),
        }
    }

    fn height(&self, at: DateTime<Utc>) -> i64 {
        let jumped: i64 = self.jumps.iter().filter(|(when, _)| *when <= at).map(|(_, blocks)| blocks).sum();
        (at - self.genesis).num_milliseconds() / self.block_ms + jumped
    }

    fn outcome(&self, signature: &str) -> Option<&str> {
        self.swaps.get(signature).and_then(|swap| swap["outcome"].as_str())
    }

    /// Whether a swap that was signed could no longer land at that moment.
    fn was_dead(&self, signature: &str, last_valid_block_height: i64, at: DateTime<Utc>) -> bool {
        let rejected =
            self.swaps.get(signature).is_some_and(|swap| swap["fate"] == "rejected" && time(&swap["at"]) <= at);
        rejected || self.height(at) > last_valid_block_height
    }
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Default)]
struct Judge {
    clock_was_set: bool,
    violations: Vec<String>,
}

impl Judge {
    fn holds(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    fn order(&mut self, id: &str, order: &StoredOrder, chain: &Chain, told: &Told) {
        self.steps(id, order);
        self.swaps(id, order, chain);
        self.end(id, order, chain);
        self.app(id, order, told);
    }

    /// The end: confirmed with the one swap that landed, or ended otherwise without any.
    fn end(&mut self, id: &str, order: &StoredOrder, chain: &Chain) {
        let last = order.events.last();
        let ended = last.map(|event| event.status.as_str()).unwrap_or_default();
        self.holds(FINAL.contains(&ended), || format!("order {id} has not ended: {}", history(order)));
        self.holds(order.status == ended, || format!("order {id} is stored as {}, and ended {ended}", order.status));
        let confirmed = last.filter(|event| event.status == "confirmed");
        let landed: Vec<_> = chain
            .swaps
            .values()
            .filter(|swap| text_of(&swap["orderId"]) == id && swap["outcome"] == "landed")
            .collect();
        self.holds(landed.len() <= 1, || format!("order {id} was swapped {} times: {}", landed.len(), history(order)));
        match (confirmed, landed.first()) {
            (Some(event), Some(swap)) => {
                let same = event.field("/data/swap/signature") == &swap["signature"]
                    && event.field("/data/fill/amountOut") == &swap["amountOut"];
                self.holds(same, || format!("order {id} was confirmed by {}, and the chain has {swap}", event.data));
            }
            (Some(_), None) => self.holds(false, || format!("order {id} is confirmed, and nothing landed")),
            (None, Some(swap)) => self.holds(false, || format!("order {id} ended {ended}, and {swap} landed")),
            (None, None) => {}
        }
    }

    /// What the public face tells is what is stored.
    fn app(&mut self, id: &str, order: &StoredOrder, Told { order: view, events }: &Told) {
        let failed_attempts = order.events.iter().filter(|event| event.kind() == "attempt_failed").count();
        let same = view["status"] == order.status.as_str()
            && view["attempt"] == failed_attempts + 1
            && events.len() == order.events.len()
            && events.iter().zip(&order.events).all(|(told, event)| {
                told["seq"] == event.seq
                    && told["status"] == event.status.as_str()
                    && time(&told["timestamp"]) == event.at
            });
        self.holds(same, || format!("order {id} is told otherwise than it is stored: {view}, {events:?}"));
        if let Some(event) = order.events.last().filter(|event| event.status == "confirmed") {
            let units = event.field("/data/fill/amountOut");
            let units = text_of(units).parse::<i64>().unwrap();
            let amount = view["amountOut"].as_str().and_then(|amount| amount.parse::<Decimal>().ok());
            let same = &view["txHash"] == event.field("/data/swap/signature")
                && amount == Some(Decimal::new(units, USDC_DECIMALS));
            self.holds(same, || format!("order {id} is told as {view}, and confirmed by {}", event.data));
        }
    }

    /// The story: gapless, legal at each step, never backwards in time, ended once.
    fn steps(&mut self, id: &str, order: &StoredOrder) {
        let mut from = "";
        for (event, seq) in order.events.iter().zip(1..) {
            self.holds(event.seq == seq, || format!("order {id}: event {} where {seq} should be", event.seq));
            let kind = event.kind();
            let legal = LEGAL.contains(&(from, kind, event.status.as_str()))
                || (from == "cancel requested" && kind == "cancelled");
            let legal = legal && !(from == "submitted" && kind == "cancelled");
            self.holds(legal, || format!("order {id}: {kind} cannot follow {from}: {}", history(order)));
            from = if kind == "cancel_requested" { "cancel requested" } else { &event.status };
        }
        let backwards = order.events.windows(2).any(|pair| pair[1].at < pair[0].at);
        self.holds(!backwards, || format!("order {id}: time runs backwards: {}", history(order)));
        let finals = order.events.iter().filter(|event| FINAL.contains(&event.status.as_str())).count();
        self.holds(finals == 1, || format!("order {id} ended {finals} times: {}", history(order)));
    }

    /// Its swaps: each recorded before it was sent, none signed while another might land, all decided as the chain did.
    fn swaps(&mut self, id: &str, order: &StoredOrder, chain: &Chain) {
        let signed: Vec<_> = order.events.iter().filter(|event| event.kind() == "submitted").collect();
        let signature = |event: &StoredEvent| text_of(event.field("/data/signature"));
        for event in &signed {
            let signature = signature(event);
            let row = order.swaps.iter().find(|swap| swap.signature == signature);
            let status = row.map(|row| row.status.as_str());
            let fate = chain.outcome(&signature);
            let agree = match status {
                Some("landed") => fate == Some("landed"),
                Some("rejected") => fate == Some("rejected"),
                Some("expired") => fate.is_none_or(|fate| fate == "expired"),
                _ => false,
            };
            self.holds(agree, || {
                format!("order {id}: swap {signature} is stored as {status:?}, on the chain {fate:?}")
            });
            if let Some(swap) = chain.swaps.get(&signature) {
                let recorded_first = self.clock_was_set || event.at <= time(&swap["acceptedAt"]);
                self.holds(recorded_first, || format!("order {id}: {swap} was sent before it was recorded"));
            }
        }
        self.holds(order.swaps.len() == signed.len(), || format!("order {id}: swaps without their events"));
        for pair in signed.windows(2) {
            let last_valid = pair[0].field("/data/lastValidBlockHeight").as_i64().unwrap();
            let dead = self.clock_was_set || chain.was_dead(&signature(pair[0]), last_valid, pair[1].at);
            self.holds(dead, || format!("order {id}: a swap was signed while {} might land", signature(pair[0])));
        }
    }

    /// The chain's side: it knows no swap that the database does not.
    fn chain(&mut self, chain: &Chain, database: &Stored) {
        for (signature, swap) in &chain.swaps {
            let recorded = database.orders.get(&text_of(&swap["orderId"])).is_some_and(|order| {
                order
                    .events
                    .iter()
                    .any(|event| event.kind() == "submitted" && event.field("/data/signature") == signature.as_str())
            });
            self.holds(recorded, || format!("{swap} was sent and never recorded"));
            self.holds(swap["outcome"] != "open", || format!("{swap} is still open"));
        }
    }
}

fn history(order: &StoredOrder) -> String {
    order.events.iter().fold(String::new(), |mut history, event| {
        let _ = write!(history, "{} {} → {}; ", event.seq, event.kind(), event.status);
        history
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        START + chrono::TimeDelta::milliseconds(milliseconds)
    }

    /// An order whose events come a second apart; a swap's signature is its place in the story.
    fn order(steps: &[(&str, &str)], swaps: &[&str]) -> StoredOrder {
        let events = steps.iter().zip(1..).map(|((kind, status), seq)| {
            let swap = json!({ "signature": format!("swap-{seq}"), "lastValidBlockHeight": seq * 10 + 5 });
            let data = if *kind == "confirmed" { json!({ "swap": swap, "fill": { "amountOut": 7 } }) } else { swap };
            let data = json!({ "type": kind, "data": data });
            StoredEvent { seq, status: (*status).to_owned(), data, at: at(i64::from(seq) * 1_000) }
        });
        let swaps = swaps.iter().map(|swap| {
            let (signature, status) = swap.split_once(' ').unwrap();
            StoredSwap { signature: signature.to_owned(), status: status.to_owned() }
        });
        let status = steps.last().unwrap().1.to_owned();
        StoredOrder { status, events: events.collect(), swaps: swaps.collect() }
    }

    /// A chain with a block every 100 ms that took these swaps: signature, when, and what came of it.
    fn chain(swaps: &[(&str, i64, &str)]) -> Chain {
        let swaps = swaps.iter().map(|(signature, taken, outcome)| {
            let fate = if *outcome == "rejected" { "rejected" } else { "lands" };
            let swap = json!({
                "signature": signature, "orderId": "one", "acceptedAt": at(*taken), "at": at(*taken),
                "amountOut": 7, "fate": fate, "outcome": outcome,
            });
            ((*signature).to_owned(), swap)
        });
        Chain { genesis: START, block_ms: 100, jumps: vec![], swaps: swaps.collect() }
    }

    #[track_caller]
    fn objects(order: &StoredOrder, chain: &Chain, objection: &str) {
        let mut judge = Judge::default();
        judge.steps("one", order);
        judge.swaps("one", order, chain);
        judge.end("one", order, chain);
        let objects = judge.violations.iter().any(|violation| violation.contains(objection));
        assert!(objects || objection.is_empty(), "{objection}: {:?}", judge.violations);
        assert!(!objection.is_empty() || judge.violations.is_empty(), "{:?}", judge.violations);
    }

    const BEGINNING: [(&str, &str); 4] =
        [("accepted", "pending"), ("dispatched", "routing"), ("routed", "building"), ("submitted", "submitted")];

    fn life(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [&BEGINNING, more].concat()
    }

    #[test]
    fn the_judge_objects_to_whatever_must_not_be() {
        let confirmed = |swaps: &[&str]| {
            let mut order = order(&life(&[("confirmed", "confirmed")]), swaps);
            order.events[4].data["data"]["swap"]["signature"] = json!("swap-4");
            order
        };
        let landed = chain(&[("swap-4", 4_100, "landed")]);
        objects(&confirmed(&["swap-4 landed"]), &landed, "");
        objects(&confirmed(&["swap-4 landed"]), &chain(&[("swap-4", 3_900, "landed")]), "before it was recorded");
        objects(&confirmed(&["swap-4 expired"]), &landed, "is stored as");
        objects(&confirmed(&["swap-4 landed"]), &chain(&[]), "nothing landed");
        let twice = chain(&[("swap-4", 4_100, "landed"), ("swap-9", 9_100, "landed")]);
        objects(&confirmed(&["swap-4 landed"]), &twice, "was swapped 2 times");

        let mut gap = confirmed(&["swap-4 landed"]);
        gap.events[2].seq = 9;
        objects(&gap, &landed, "event 9 where 3 should be");
        let mut backwards = confirmed(&["swap-4 landed"]);
        backwards.events[1].at = at(10);
        objects(&backwards, &landed, "time runs backwards");
        objects(&order(&[("accepted", "pending"), ("routed", "building")], &[]), &chain(&[]), "cannot follow");
        objects(&order(&life(&[]), &["swap-4 live"]), &chain(&[]), "has not ended");
        let ended_twice = order(&[("accepted", "pending"), ("failed", "failed"), ("failed", "failed")], &[]);
        objects(&ended_twice, &chain(&[]), "ended 2 times");
        let cancelled = order(&life(&[("cancelled", "cancelled")]), &["swap-4 expired"]);
        objects(&cancelled, &chain(&[]), "cancelled cannot follow submitted");
        let granted = life(&[("cancel_requested", "submitted"), ("cancelled", "cancelled")]);
        objects(&order(&granted, &["swap-4 expired"]), &chain(&[]), "");
        objects(&order(&granted, &["swap-4 landed"]), &landed, "ended cancelled");

        // The second swap is signed at 8 s, which is height 80; the first is good up to 45.
        let retried = life(&[
            ("attempt_failed", "pending"),
            ("dispatched", "routing"),
            ("routed", "building"),
            ("submitted", "submitted"),
            ("failed", "failed"),
        ]);
        let mut retried = order(&retried, &["swap-4 expired", "swap-8 expired"]);
        objects(&retried, &chain(&[]), "");
        retried.events[3].data["data"]["lastValidBlockHeight"] = json!(80);
        objects(&retried, &chain(&[]), "while swap-4 might land");
    }
}
