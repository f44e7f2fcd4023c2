//! The history checker of the fault tests: what clients received, what the database holds and what the chain did must
//! agree. It reads the tables and the chain's file, and has its own copy of the rules instead of asking the engine.

mod chain;
mod checker;
mod stored;

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use self::chain::Chain;
use self::checker::Checker;
use self::stored::Stored;
use crate::support::client::{Answer, Client, concurrently};
use crate::support::process::Server;
use crate::support::socket::SocketLog;

/// What clients sent, and what they received.
#[derive(Default)]
pub struct History {
    // Each idempotency key, with the order of every answer to it.
    keys: BTreeMap<String, Vec<String>>,
    // Keys whose submit was refused finally: nothing is stored, and nothing will be.
    refused: Vec<String>,
    // Orders of answers 201 and 200 to submits without a key.
    accepted: Vec<String>,
    // Each socket's order, the sequence number it resumed after, and what it sent.
    sockets: Vec<(String, u64, SocketLog)>,
    // Each cancel's order, status and code.
    cancels: Vec<(String, u16, String)>,
    // The engine's timestamps cannot be compared with the chain's time.
    clock_was_stepped: bool,
}

/// How much was checked.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "the fields are read by Debug")]
pub struct Findings {
    pub orders: usize,
    pub events: usize,
    pub swaps: usize,
    pub sockets: usize,
    pub confirmed: usize,
    pub failed: usize,
    pub cancelled: usize,
}

impl History {
    /// Notes that the engine's wall clock is stepped from now on.
    pub fn clock_stepped(&mut self) {
        self.clock_was_stepped = true;
    }

    /// Notes that a submit is sent under this key; it may never be answered.
    pub fn submit_sent(&mut self, key: &str) {
        self.keys.entry(key.to_owned()).or_default();
    }

    /// Notes the answer to a submit.
    pub fn submit_answered(&mut self, key: Option<&str>, answer: &Answer) {
        match (answer.status, key) {
            (200 | 201, Some(key)) => self.keys.entry(key.to_owned()).or_default().push(answer.order_id()),
            (200 | 201, None) => self.accepted.push(answer.order_id()),
            (503, Some(key)) if ["not_accepted", "stopping"].contains(&answer.code()) => {
                self.refused.push(key.to_owned());
            }
            _ => {}
        }
    }

    /// Notes the answer to a cancel.
    pub fn cancel_answered(&mut self, id: &str, answer: &Answer) {
        self.cancels.push((id.to_owned(), answer.status, answer.code().to_owned()));
    }

    /// Notes what a socket of an order sent after the sequence number `after_seq`.
    pub fn socket_closed(&mut self, id: &str, after_seq: u64, log: SocketLog) {
        self.sockets.push((id.to_owned(), after_seq, log));
    }

    /// Every order that a client received an id of.
    pub fn orders(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.keys.values().flatten().chain(&self.accepted).cloned().collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Waits until every order of the database has ended, and checks everything; fails with all violations.
    pub async fn check(&self, server: &Server) -> Findings {
        until_all_ended(&server.client).await;
        let database = Stored::read(&server.database_url()).await;
        let chain = Chain::read(server);
        let mut checker = Checker { clock_was_stepped: self.clock_was_stepped, ..Checker::default() };
        let shown = shown_by_the_api(&server.client, database.orders.keys()).await;
        for (id, order) in &database.orders {
            checker.order(id, order, &chain, &shown[id]);
        }
        checker.chain(&chain, &database);
        self.check_answers(&database, &mut checker);
        self.check_sockets(&shown, &mut checker);
        assert!(
            checker.violations.is_empty(),
            "{} violations:\n{}",
            checker.violations.len(),
            checker.violations.join("\n")
        );
        let ended = |status: &str| database.orders.values().filter(|order| order.status == status).count();
        Findings {
            orders: database.orders.len(),
            events: database.orders.values().map(|order| order.events.len()).sum(),
            swaps: chain.swaps.len(),
            sockets: self.sockets.len(),
            confirmed: ended("confirmed"),
            failed: ended("failed"),
            cancelled: ended("cancelled"),
        }
    }

    fn check_answers(&self, database: &Stored, checker: &mut Checker) {
        for id in self.orders() {
            checker.require(database.orders.contains_key(&id), || format!("order {id} was accepted and is lost"));
        }
        for (key, ids) in &self.keys {
            let owner = database.keys.get(key);
            for id in ids {
                checker.require(owner == Some(id), || {
                    format!("key {key} was answered with {id}, and belongs to {owner:?}")
                });
            }
        }
        let mut owners: Vec<_> = database.keys.values().collect();
        owners.sort();
        owners.dedup();
        checker.require(owners.len() == database.keys.len(), || "two keys have one order".to_owned());
        for (key, id) in &database.keys {
            checker.require(self.keys.contains_key(key), || format!("order {id} has key {key}, which no client used"));
        }
        for id in database.orders.keys().filter(|id| !owners.contains(id)) {
            checker.require(self.accepted.contains(id), || format!("order {id} was never submitted, or stored twice"));
        }
        for key in &self.refused {
            let stored = database.keys.get(key).filter(|_| self.keys[key].is_empty());
            checker.require(stored.is_none(), || format!("key {key} was refused finally, and is stored as {stored:?}"));
        }
        for (id, status, code) in &self.cancels {
            let Some(order) = database.orders.get(id) else { continue };
            let requested = || order.events.iter().any(|event| event.kind() == "cancel_requested");
            let is_kept = match (*status, code.as_str()) {
                (200, _) => order.status == "cancelled",
                (409, "too_late") => requested(),
                (409, "already_ended") => order.status != "cancelled",
                _ => true,
            };
            checker.require(is_kept, || {
                format!("a cancel of {id} was answered {status} {code}, and it is {}", order.status)
            });
        }
    }

    fn check_sockets(&self, shown: &HashMap<String, Shown>, checker: &mut Checker) {
        for (id, after_seq, SocketLog { steps, close }) in &self.sockets {
            let Some(Shown { events, .. }) = shown.get(id) else { continue };
            for (step, seq) in steps.iter().zip(after_seq + 1..) {
                let recorded = usize::try_from(seq - 1).ok().and_then(|index| events.get(index));
                // A timeline also has the duration of each step, and an update also has its type.
                let same = recorded.is_some_and(|recorded| {
                    let fields = recorded.as_object().unwrap().iter();
                    fields.filter(|(name, _)| *name != "durationMs").all(|(name, value)| step[name] == *value)
                });
                checker.require(same, || format!("a socket sent {step} where order {id} has {recorded:?}"));
            }
            if *close == Some(1000) {
                let is_complete = after_seq + steps.len() as u64 == events.len() as u64;
                checker
                    .require(is_complete, || format!("a socket of order {id} was closed before it had sent the end"));
            }
        }
    }
}

/// Waits until the API shows no order that has not ended.
async fn until_all_ended(client: &Client) {
    for status in ["pending", "routing", "building", "submitted"] {
        loop {
            // An order that leaves `submitted` may be `pending` again, so all four are checked once more at the end.
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

/// What the API shows of an order after its end.
struct Shown {
    order: Value,
    events: Vec<Value>,
}

async fn shown_by_the_api(client: &Client, ids: impl Iterator<Item = &String>) -> HashMap<String, Shown> {
    let read = |id: &String| {
        let (client, id) = (client.clone(), id.clone());
        async move {
            let shown = Shown { order: client.order(&id).await, events: client.events(&id).await };
            (id, shown)
        }
    };
    concurrently(32, ids.map(read)).await.into_iter().collect()
}
