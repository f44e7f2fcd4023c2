//! The simulated chain's ledger, read without the engine.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::process::Server;

/// The swaps that the simulated chain accepted, and its block height over time.
pub struct Chain {
    pub genesis: DateTime<Utc>,
    pub block_ms: i64,
    /// When the chain skipped how many blocks.
    pub jumps: Vec<(DateTime<Utc>, i64)>,
    /// Each swap's entry of the ledger, by its signature.
    pub swaps: BTreeMap<String, Value>,
}

impl Chain {
    pub fn read(server: &Server) -> Self {
        let text = std::fs::read_to_string(server.ledger_file()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let genesis =
            lines.iter().find(|line| line["line"] == "genesis").expect("the first line of a ledger is its genesis");
        let jumps = lines.iter().filter(|line| line["line"] == "jump");
        Self {
            genesis: time(&genesis["at"]),
            block_ms: genesis["blockMs"].as_i64().unwrap(),
            jumps: jumps.map(|line| (time(&line["at"]), line["blocks"].as_i64().unwrap())).collect(),
            swaps: server.ledger().into_iter().map(|swap| (text_of(&swap["signature"]), swap)).collect(),
        }
    }

    pub fn height(&self, at: DateTime<Utc>) -> i64 {
        let jumped: i64 = self.jumps.iter().filter(|(when, _)| *when <= at).map(|(_, blocks)| blocks).sum();
        (at - self.genesis).num_milliseconds() / self.block_ms + jumped
    }

    pub fn outcome(&self, signature: &str) -> Option<&str> {
        self.swaps.get(signature).and_then(|swap| swap["outcome"].as_str())
    }

    /// Whether a signed swap could no longer land at that time.
    pub fn was_dead(&self, signature: &str, last_valid_block_height: i64, at: DateTime<Utc>) -> bool {
        let rejected =
            self.swaps.get(signature).is_some_and(|swap| swap["fate"] == "rejected" && time(&swap["at"]) <= at);
        rejected || self.height(at) > last_valid_block_height
    }
}

pub fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is not a time"))
}

/// A JSON string without its quotes; other values as JSON.
pub fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
