//! The rules that every history must keep.

use std::fmt::Write;

use rust_decimal::Decimal;

use super::Shown;
use super::chain::{Chain, text_of, time};
use super::stored::{Stored, StoredEvent, StoredOrder};

/// Every legal step: from this status, by this event, to that status. It repeats the table of the engine on purpose, so
/// that a mistake in that table is found.
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
    // Both only after a cancel was requested, which the checker verifies.
    ("submitted", "cancelled", "cancelled"),
    ("cancel requested", "confirmed", "confirmed"),
];

/// The orders of these tests buy USDC.
const USDC_DECIMALS: u32 = 6;

const FINAL: [&str; 3] = ["confirmed", "failed", "cancelled"];

/// Collects violations, so that one run reports all of them.
#[derive(Default)]
pub struct Checker {
    /// The engine's timestamps cannot be compared with the chain's time.
    pub clock_was_stepped: bool,
    pub violations: Vec<String>,
}

impl Checker {
    pub fn require(&mut self, is_true: bool, violation: impl FnOnce() -> String) {
        if !is_true {
            self.violations.push(violation());
        }
    }

    pub fn order(&mut self, id: &str, order: &StoredOrder, chain: &Chain, shown: &Shown) {
        self.steps(id, order);
        self.swaps(id, order, chain);
        self.end(id, order, chain);
        self.api(id, order, shown);
    }

    /// The end: confirmed with the one swap that landed, or another end without any.
    fn end(&mut self, id: &str, order: &StoredOrder, chain: &Chain) {
        let last = order.events.last();
        let ended = last.map(|event| event.status.as_str()).unwrap_or_default();
        self.require(FINAL.contains(&ended), || format!("order {id} has not ended: {}", history(order)));
        self.require(order.status == ended, || format!("order {id} is stored as {}, and ended {ended}", order.status));
        let confirmed = last.filter(|event| event.status == "confirmed");
        let landed: Vec<_> = chain
            .swaps
            .values()
            .filter(|swap| text_of(&swap["orderId"]) == id && swap["outcome"] == "landed")
            .collect();
        self.require(landed.len() <= 1, || {
            format!("order {id} was swapped {} times: {}", landed.len(), history(order))
        });
        match (confirmed, landed.first()) {
            (Some(event), Some(swap)) => {
                let same = event.field("/data/swap/signature") == &swap["signature"]
                    && event.field("/data/fill/amountOut") == &swap["amountOut"];
                self.require(same, || format!("order {id} was confirmed by {}, and the chain has {swap}", event.data));
            }
            (Some(_), None) => self.require(false, || format!("order {id} is confirmed, and nothing landed")),
            (None, Some(swap)) => self.require(false, || format!("order {id} ended {ended}, and {swap} landed")),
            (None, None) => {}
        }
    }

    /// The API shows what is stored.
    fn api(&mut self, id: &str, order: &StoredOrder, Shown { order: view, events }: &Shown) {
        let failed_attempts = order.events.iter().filter(|event| event.kind() == "attempt_failed").count();
        let same = view["status"] == order.status.as_str()
            && view["attempt"] == failed_attempts + 1
            && events.len() == order.events.len()
            && events.iter().zip(&order.events).all(|(shown, event)| {
                shown["seq"] == event.seq
                    && shown["status"] == event.status.as_str()
                    && time(&shown["timestamp"]) == event.at
            });
        self.require(same, || format!("order {id} is not shown as it is stored: {view}, {events:?}"));
        if let Some(event) = order.events.last().filter(|event| event.status == "confirmed") {
            let units = event.field("/data/fill/amountOut");
            let units = text_of(units).parse::<i64>().unwrap();
            let amount = view["amountOut"].as_str().and_then(|amount| amount.parse::<Decimal>().ok());
            let same = &view["txHash"] == event.field("/data/swap/signature")
                && amount == Some(Decimal::new(units, USDC_DECIMALS));
            self.require(same, || format!("order {id} is shown as {view}, and confirmed by {}", event.data));
        }
    }

    /// The events: without a gap, each step legal, never backwards in time, one end.
    fn steps(&mut self, id: &str, order: &StoredOrder) {
        let mut from = "";
        for (event, seq) in order.events.iter().zip(1..) {
            self.require(event.seq == seq, || format!("order {id}: event {} where {seq} should be", event.seq));
            let kind = event.kind();
            let legal = LEGAL.contains(&(from, kind, event.status.as_str()))
                || (from == "cancel requested" && kind == "cancelled");
            let legal = legal && !(from == "submitted" && kind == "cancelled");
            self.require(legal, || format!("order {id}: {kind} cannot follow {from}: {}", history(order)));
            from = if kind == "cancel_requested" { "cancel requested" } else { &event.status };
        }
        let backwards = order.events.windows(2).any(|pair| pair[1].at < pair[0].at);
        self.require(!backwards, || format!("order {id}: time runs backwards: {}", history(order)));
        let finals = order.events.iter().filter(|event| FINAL.contains(&event.status.as_str())).count();
        self.require(finals == 1, || format!("order {id} ended {finals} times: {}", history(order)));
    }

    /// The swaps: each recorded before it was sent, none signed while another might land, each settled as on the chain.
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
            self.require(agree, || {
                format!("order {id}: swap {signature} is stored as {status:?}, on the chain {fate:?}")
            });
            if let Some(swap) = chain.swaps.get(&signature) {
                let recorded_first = self.clock_was_stepped || event.at <= time(&swap["acceptedAt"]);
                self.require(recorded_first, || format!("order {id}: {swap} was sent before it was recorded"));
            }
        }
        self.require(order.swaps.len() == signed.len(), || format!("order {id}: swaps without their events"));
        for pair in signed.windows(2) {
            let last_valid = pair[0].field("/data/lastValidBlockHeight").as_i64().unwrap();
            let dead = self.clock_was_stepped || chain.was_dead(&signature(pair[0]), last_valid, pair[1].at);
            self.require(dead, || format!("order {id}: a swap was signed while {} might land", signature(pair[0])));
        }
    }

    /// The chain has no swap that the database does not have.
    pub fn chain(&mut self, chain: &Chain, database: &Stored) {
        for (signature, swap) in &chain.swaps {
            let recorded = database.orders.get(&text_of(&swap["orderId"])).is_some_and(|order| {
                order
                    .events
                    .iter()
                    .any(|event| event.kind() == "submitted" && event.field("/data/signature") == signature.as_str())
            });
            self.require(recorded, || format!("{swap} was sent and never recorded"));
            self.require(swap["outcome"] != "open", || format!("{swap} is still open"));
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
    use chrono::{DateTime, Utc};
    use serde_json::json;

    use super::super::stored::StoredSwap;
    use super::*;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        START + chrono::TimeDelta::milliseconds(milliseconds)
    }

    /// An order whose events are a second apart; a swap's signature is the sequence number of its event.
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

    /// A chain with a block every 100 ms that accepted these swaps: signature, time and outcome.
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

    /// Fails unless the checker finds that violation; none where it is empty.
    #[track_caller]
    fn assert_found(order: &StoredOrder, chain: &Chain, expected: &str) {
        let mut checker = Checker::default();
        checker.steps("one", order);
        checker.swaps("one", order, chain);
        checker.end("one", order, chain);
        let is_found = checker.violations.iter().any(|violation| violation.contains(expected));
        assert!(is_found || expected.is_empty(), "{expected}: {:?}", checker.violations);
        assert!(!expected.is_empty() || checker.violations.is_empty(), "{:?}", checker.violations);
    }

    const BEGINNING: [(&str, &str); 4] =
        [("accepted", "pending"), ("dispatched", "routing"), ("routed", "building"), ("submitted", "submitted")];

    fn submitted_then(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [&BEGINNING, more].concat()
    }

    #[test]
    fn each_violation_of_a_rule_is_found() {
        let confirmed = |swaps: &[&str]| {
            let mut order = order(&submitted_then(&[("confirmed", "confirmed")]), swaps);
            order.events[4].data["data"]["swap"]["signature"] = json!("swap-4");
            order
        };
        let landed = chain(&[("swap-4", 4_100, "landed")]);
        assert_found(&confirmed(&["swap-4 landed"]), &landed, "");
        assert_found(&confirmed(&["swap-4 landed"]), &chain(&[("swap-4", 3_900, "landed")]), "before it was recorded");
        assert_found(&confirmed(&["swap-4 expired"]), &landed, "is stored as");
        assert_found(&confirmed(&["swap-4 landed"]), &chain(&[]), "nothing landed");
        let twice = chain(&[("swap-4", 4_100, "landed"), ("swap-9", 9_100, "landed")]);
        assert_found(&confirmed(&["swap-4 landed"]), &twice, "was swapped 2 times");

        let mut gap = confirmed(&["swap-4 landed"]);
        gap.events[2].seq = 9;
        assert_found(&gap, &landed, "event 9 where 3 should be");
        let mut backwards = confirmed(&["swap-4 landed"]);
        backwards.events[1].at = at(10);
        assert_found(&backwards, &landed, "time runs backwards");
        assert_found(&order(&[("accepted", "pending"), ("routed", "building")], &[]), &chain(&[]), "cannot follow");
        assert_found(&order(&submitted_then(&[]), &["swap-4 live"]), &chain(&[]), "has not ended");
        let ended_twice = order(&[("accepted", "pending"), ("failed", "failed"), ("failed", "failed")], &[]);
        assert_found(&ended_twice, &chain(&[]), "ended 2 times");
        let cancelled = order(&submitted_then(&[("cancelled", "cancelled")]), &["swap-4 expired"]);
        assert_found(&cancelled, &chain(&[]), "cancelled cannot follow submitted");
        let granted = submitted_then(&[("cancel_requested", "submitted"), ("cancelled", "cancelled")]);
        assert_found(&order(&granted, &["swap-4 expired"]), &chain(&[]), "");
        assert_found(&order(&granted, &["swap-4 landed"]), &landed, "ended cancelled");

        // The second swap is signed at 8 s, which is height 80; the first may land up to 45.
        let retried = submitted_then(&[
            ("attempt_failed", "pending"),
            ("dispatched", "routing"),
            ("routed", "building"),
            ("submitted", "submitted"),
            ("failed", "failed"),
        ]);
        let mut retried = order(&retried, &["swap-4 expired", "swap-8 expired"]);
        assert_found(&retried, &chain(&[]), "");
        retried.events[3].data["data"]["lastValidBlockHeight"] = json!(80);
        assert_found(&retried, &chain(&[]), "while swap-4 might land");
    }
}
