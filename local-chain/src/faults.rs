//! What an endpoint does wrong on request.

use serde::{Deserialize, Serialize};

/// The faults of one endpoint. The default is none.
///
/// `PUT /admin/faults` takes the same as JSON; fields that are left out have no fault.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Faults {
    /// Sends that are accepted and never land.
    pub drop_sends: Share,
    /// How many slots later than the next one a sent transaction lands.
    pub landing_delay_slots: u64,
    /// Requests that are refused before anything happens.
    pub refuse: Share,
    /// The HTTP status of refused requests; 0 stands for 429.
    pub refuse_status: u16,
    /// The seconds in `Retry-After` of refused requests; 0 stands for 1.
    pub retry_after_seconds: u32,
    /// Sends that are carried out, but whose connection is closed without an answer.
    pub lose_answers: Share,
    /// Requests whose connection is closed without an answer and before anything happens.
    pub lose_requests: Share,
    /// How long each answer takes, in milliseconds.
    pub latency_ms: u64,
    /// How many slots the endpoint is behind.
    pub lag_slots: u64,
    /// Whether the endpoint stays at the slot of the moment when this was set.
    pub frozen: bool,
    /// Whether it says that it is behind the cluster, and refuses sends with preflight.
    pub unhealthy: bool,
    /// Where it answers slots for heights.
    pub heights: Heights,
    /// What it knows of transactions.
    pub history: History,
    /// The genesis hash that it answers, if not that of the chain.
    pub genesis_hash: Option<String>,
}

/// Which requests a fault meets: the next ones, and a share of those after them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Share {
    /// How many of the next ones.
    pub next: u32,
    /// How many of a thousand afterwards, by the seed.
    pub per_mille: u32,
    /// Repeats the same choice in another run.
    pub seed: u64,
}

impl Share {
    /// The next `count`.
    pub fn next(count: u32) -> Self {
        Self { next: count, ..Self::default() }
    }

    /// So many of a thousand, chosen by a seed.
    pub fn per_mille(per_mille: u32, seed: u64) -> Self {
        Self { per_mille, seed, ..Self::default() }
    }

    /// Whether the fault meets this one.
    pub(crate) fn meets(&mut self) -> bool {
        if self.next > 0 {
            self.next -= 1;
            return true;
        }
        self.per_mille > 0 && self.random() % 1_000 < u64::from(self.per_mille)
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Where an endpoint answers slots for heights. Slots are millions higher.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Heights {
    /// Nowhere.
    #[default]
    Truthful,
    /// In `getBlockHeight`.
    SlotsInBlockHeight,
    /// In `getBlockHeight` and `getEpochInfo`.
    SlotsInEpochInfo,
    /// Also in the last valid block height of `getLatestBlockhash`.
    SlotsEverywhere,
}

/// What an endpoint knows of transactions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum History {
    /// All of them.
    #[default]
    Full,
    /// Only those of the last 300 slots; it answers the search for older ones with an error.
    Recent,
    /// None, and it does not say so.
    Forgotten,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_ones_are_met_and_then_none() {
        let mut share = Share::next(2);
        assert_eq!([share.meets(), share.meets(), share.meets()], [true, true, false]);
    }

    #[test]
    fn a_share_is_chosen_by_its_seed() {
        let choose = |seed| {
            let mut share = Share::per_mille(300, seed);
            (0..1_000).map(|_| share.meets()).collect::<Vec<_>>()
        };
        assert_eq!(choose(7), choose(7));
        assert_ne!(choose(7), choose(8));
        let met = choose(7).into_iter().filter(|met| *met).count();
        assert!((250..350).contains(&met), "{met} of 1000");
    }
}
