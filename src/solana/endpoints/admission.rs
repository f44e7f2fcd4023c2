//! Whether an endpoint is believed: pure decisions over its answers.
//!
//! A public endpoint once answered `getBlockHeight` with the slot, which is millions higher. To an engine that believes
//! it every swap has expired. So an endpoint proves first that its answers fit together, fit the cluster, and fit what
//! other endpoints say.

use std::time::Duration;

use solana_hash::Hash;
use thiserror::Error;

use crate::solana::rpc::{At, EpochInfo, LatestBlockhash};

/// The blocks for which a blockhash is valid.
pub const BLOCKHASH_LIFE: u64 = 150;

/// The most blocks that the cluster may produce between two questions of one proof.
const BLOCKS_BETWEEN_QUESTIONS: u64 = 100;

/// An endpoint that is more slots behind the best one lags. Some tens of seconds.
pub const MAX_LAG: u64 = 128;

/// After this time without a new finalized block the cluster, or what is seen of it, stands still.
pub const MAX_STANDSTILL: Duration = Duration::from_secs(30);

/// What an endpoint answered to the questions of a proof, all at commitment `finalized` and in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The genesis hash.
    pub genesis: Hash,
    /// The height and slot of the newest block.
    pub epoch: EpochInfo,
    /// The height of the newest block, asked for separately.
    pub height: u64,
    /// The newest blockhash.
    pub latest: At<LatestBlockhash>,
    /// The slot of the oldest block that it has.
    pub first_available: u64,
    /// Whether it knows a transaction that is known to have landed; `None` if none is known.
    pub remembers: Option<bool>,
}

/// What is known of an admitted endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its newest finalized block.
    pub block: EpochInfo,
    /// The slot of the oldest block that it has.
    pub first_available: u64,
}

/// Why an endpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It has not been asked yet.
    #[error("it has not proved itself yet")]
    NotAsked,
    /// It did not answer.
    #[error("{0}")]
    NoAnswer(String),
    /// It is an endpoint of another cluster.
    #[error("it belongs to another cluster: its genesis hash is {0}")]
    OtherCluster(Hash),
    /// Its answers about heights contradict each other.
    #[error("its block heights do not fit together")]
    WrongHeights,
    /// Its answers contradict those of other endpoints, or its own earlier ones.
    #[error("its blocks contradict those of other endpoints or its own earlier ones")]
    Contradiction,
    /// It is behind.
    #[error("it is {0} slots behind")]
    Behind(u64),
    /// Nothing new is finalized.
    #[error("no new block is final since {} s", .0.as_secs())]
    Standstill(Duration),
    /// It does not know a transaction that has landed, or has no history at all.
    #[error("it does not know transactions that have landed")]
    NoHistory,
}

/// Whether the answers of one endpoint fit together and to the cluster with that genesis hash.
pub fn admit(cluster: Hash, answers: &Answers) -> Result<Standing, Refusal> {
    if answers.genesis != cluster {
        return Err(Refusal::OtherCluster(answers.genesis));
    }
    let EpochInfo { absolute_slot, block_height } = answers.epoch;
    // The height of the block with the blockhash.
    let hashed = answers.latest.value.last_valid_block_height.checked_sub(BLOCKHASH_LIFE);
    let is_near = |height: u64| height.abs_diff(block_height) <= BLOCKS_BETWEEN_QUESTIONS;
    if block_height > absolute_slot || !is_near(answers.height) || !hashed.is_some_and(is_near) {
        return Err(Refusal::WrongHeights);
    }
    if answers.remembers == Some(false) {
        return Err(Refusal::NoHistory);
    }
    Ok(Standing { block: answers.epoch, first_available: answers.first_available })
}

/// Whether two finalized blocks can be blocks of one chain: each block has a slot of its own and one more height.
///
/// Slots without a block only add to the slots. So an endpoint that begins to answer slots for heights is found by its
/// own earlier answers.
pub fn fit_together(one: EpochInfo, other: EpochInfo) -> bool {
    let (early, late) = if one.absolute_slot <= other.absolute_slot { (one, other) } else { (other, one) };
    let slots = late.absolute_slot - early.absolute_slot;
    let Some(blocks) = late.block_height.checked_sub(early.block_height) else { return false };
    blocks <= slots && (blocks > 0 || slots == 0)
}

/// The newest finalized block that was believed before, from any endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The block.
    pub block: EpochInfo,
    /// The time since it was first seen.
    pub age: Duration,
}

/// Compares endpoints that each fit together in themselves, and refuses those that contradict, lag or stand still.
///
/// An endpoint stays if it fits to more than half of all of them, itself and the reference included: of two endpoints
/// that contradict each other neither stays, unless an earlier block shows which one is wrong.
pub fn compare(proofs: &mut [Result<Standing, Refusal>], reference: Option<Reference>) {
    let believed = reference.map(|reference| reference.block);
    let said = proofs.iter().flatten().map(|standing| standing.block);
    let blocks: Vec<_> = said.chain(believed).collect();
    refuse(proofs, |block| {
        let fitting = blocks.iter().filter(|other| fit_together(**other, block)).count();
        (fitting * 2 <= blocks.len()).then_some(Refusal::Contradiction)
    });
    let newest = proofs.iter().flatten().map(|standing| standing.block.absolute_slot).max().unwrap_or_default();
    let before = believed.map_or(0, |block| block.absolute_slot);
    let standstill = reference.map(|reference| reference.age).filter(|age| newest <= before && *age > MAX_STANDSTILL);
    refuse(proofs, |block| match (newest.max(before) - block.absolute_slot, standstill) {
        (behind, _) if behind > MAX_LAG => Some(Refusal::Behind(behind)),
        (_, standstill) => standstill.map(Refusal::Standstill),
    });
}

/// Refuses each endpoint for whose block there is a reason.
fn refuse(proofs: &mut [Result<Standing, Refusal>], reason: impl Fn(EpochInfo) -> Option<Refusal>) {
    for proof in proofs {
        let refusal = proof.as_ref().ok().and_then(|standing| reason(standing.block));
        if let Some(refusal) = refusal {
            *proof = Err(refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(absolute_slot: u64, block_height: u64) -> EpochInfo {
        EpochInfo { absolute_slot, block_height }
    }

    fn latest(last_valid_block_height: u64) -> At<LatestBlockhash> {
        At {
            slot: 9_000_020,
            value: LatestBlockhash { blockhash: Hash::new_from_array([2; 32]), last_valid_block_height },
        }
    }

    const CLUSTER: Hash = Hash::new_from_array([1; 32]);

    fn honest() -> Answers {
        Answers {
            genesis: CLUSTER,
            epoch: block(9_000_000, 5_000_000),
            height: 5_000_003,
            latest: latest(5_000_160),
            first_available: 8_000_000,
            remembers: None,
        }
    }

    #[test]
    fn an_endpoint_whose_answers_fit_together_is_admitted() {
        let standing = Standing { block: block(9_000_000, 5_000_000), first_available: 8_000_000 };
        assert_eq!(admit(CLUSTER, &honest()), Ok(standing));
        assert_eq!(admit(CLUSTER, &Answers { remembers: Some(true), ..honest() }), Ok(standing));
    }

    #[test]
    fn an_endpoint_with_any_wrong_answer_is_refused() {
        let other = Hash::new_from_array([9; 32]);
        for (answers, refusal) in [
            (Answers { genesis: other, ..honest() }, Refusal::OtherCluster(other)),
            // Slots for heights: in one answer, in another, and in both.
            (Answers { height: 9_000_003, ..honest() }, Refusal::WrongHeights),
            (Answers { epoch: block(9_000_000, 9_000_000), ..honest() }, Refusal::WrongHeights),
            (Answers { epoch: block(9_000_000, 9_000_000), height: 9_000_003, ..honest() }, Refusal::WrongHeights),
            (Answers { latest: latest(9_000_150), ..honest() }, Refusal::WrongHeights),
            (Answers { latest: latest(149), ..honest() }, Refusal::WrongHeights),
            (Answers { latest: latest(u64::MAX), ..honest() }, Refusal::WrongHeights),
            // More blocks than slots.
            (Answers { epoch: block(4_999_999, 5_000_000), ..honest() }, Refusal::WrongHeights),
            (Answers { remembers: Some(false), ..honest() }, Refusal::NoHistory),
        ] {
            assert_eq!(admit(CLUSTER, &answers), Err(refusal), "{answers:?}");
        }
    }

    #[test]
    fn two_blocks_fit_together_if_slots_and_heights_can_belong_to_one_chain() {
        for (one, other, fits) in [
            (block(100, 50), block(100, 50), true),
            (block(100, 50), block(110, 60), true),
            (block(100, 50), block(110, 51), true),
            (block(100, 50), block(110, 61), false),
            (block(100, 50), block(110, 50), false),
            (block(100, 50), block(110, 49), false),
            (block(100, 50), block(100, 51), false),
            (block(100, 50), block(110, 110), false),
        ] {
            assert_eq!((fit_together(one, other), fit_together(other, one)), (fits, fits), "{one:?} {other:?}");
        }
    }

    fn standing(absolute_slot: u64, block_height: u64) -> Result<Standing, Refusal> {
        Ok(Standing { block: block(absolute_slot, block_height), first_available: 0 })
    }

    fn compared<const N: usize>(
        mut proofs: [Result<Standing, Refusal>; N],
        reference: Option<Reference>,
    ) -> [Result<Standing, Refusal>; N] {
        compare(&mut proofs, reference);
        proofs
    }

    fn seen(absolute_slot: u64, block_height: u64, seconds: u64) -> Option<Reference> {
        Some(Reference { block: block(absolute_slot, block_height), age: Duration::from_secs(seconds) })
    }

    #[test]
    fn of_two_endpoints_that_contradict_each_other_neither_is_believed_and_of_three_the_majority_is() {
        let (truth, later, lie) = (standing(1_000, 500), standing(1_010, 508), standing(1_000, 1_000));
        let refused = || Err(Refusal::Contradiction);
        assert_eq!(compared([truth.clone(), lie.clone()], None), [refused(), refused()]);
        let majority = [truth.clone(), lie, later.clone()];
        assert_eq!(compared(majority, None), [truth.clone(), refused(), later]);
        let alone = [truth.clone()];
        assert_eq!(compared(alone.clone(), None), alone);
        // One that was refused before has no voice.
        let silent = Err(Refusal::NotAsked);
        assert_eq!(compared([truth.clone(), silent.clone()], None), [truth, silent]);
    }

    #[test]
    fn an_earlier_block_shows_which_endpoint_is_wrong_and_two_endpoints_outvote_it() {
        let (truth, lie) = (standing(1_000, 500), standing(1_000, 1_000));
        let refused = || Err(Refusal::Contradiction);
        assert_eq!(compared([lie.clone(), truth.clone()], seen(990, 492, 2)), [refused(), truth.clone()]);
        assert_eq!(compared([lie.clone()], seen(990, 492, 2)), [refused()]);
        assert_eq!(compared([truth.clone(), truth.clone()], seen(990, 990, 2)), [truth.clone(), truth]);
    }

    #[test]
    fn an_endpoint_that_lags_behind_another_or_behind_what_was_seen_is_refused() {
        let (fast, slow) = (standing(1_000, 500), standing(1_000 - MAX_LAG - 1, 450));
        let behind = || Err(Refusal::Behind(MAX_LAG + 1));
        assert_eq!(compared([fast.clone(), slow.clone()], None), [fast, behind()]);
        assert_eq!(compared([slow.clone()], seen(1_000, 500, 2)), [behind()]);
        assert_eq!(compared([slow.clone()], seen(999, 500, 2)), [slow]);
    }

    #[test]
    fn endpoints_of_a_cluster_that_stands_still_are_refused_until_it_goes_on() {
        let still = standing(1_000, 500);
        let refused = Err(Refusal::Standstill(Duration::from_secs(31)));
        assert_eq!(compared([still.clone()], seen(1_000, 500, 31)), [refused]);
        assert_eq!(compared([still.clone()], seen(1_000, 500, 30)), [still]);
        let next = standing(1_001, 501);
        assert_eq!(compared([next.clone()], seen(1_000, 500, 31)), [next]);
    }
}
