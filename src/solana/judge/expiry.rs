//! The judge of signed swaps: whether endpoints prove that a swap was executed, failed for good, or can never land.
//!
//! A swap that is called dead and lands after all is paid twice. So every doubt has a name, and with any doubt nothing
//! is proved.

use thiserror::Error;

use crate::domain::swap::Expiry;
use crate::solana::endpoints::{BLOCKHASH_LIFE, Standing};
use crate::solana::rpc::{At, Commitment, EpochInfo, SignatureStatus};

/// The number of blocks after the last valid one in which an endpoint without any history knows the status of a swap. A
/// node keeps the statuses of the last 300 blocks, and a swap lands in one of the [`BLOCKHASH_LIFE`] blocks up to its last
/// valid one.
const REMEMBERED_BLOCKS: u64 = 100;

/// What one endpoint said about one swap, in the order of the questions. All of it comes from this endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Its proof, while it is admitted.
    pub standing: Option<Standing>,
    /// Its newest finalized block, asked for first.
    pub finalized: Option<EpochInfo>,
    /// What it knows of the signature, asked for afterwards.
    pub status: Option<At<Option<SignatureStatus>>>,
    /// Whether the blockhash of the swap is valid at commitment `finalized`, asked for last.
    pub blockhash_valid: Option<At<bool>>,
}

/// What a second endpoint said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second<'a> {
    /// Only one endpoint is configured.
    NotConfigured,
    /// A second endpoint is configured and could not be asked.
    Missing,
    /// What it said.
    Says(&'a Testimony),
}

/// What is proved about a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was executed, and the block has the wanted commitment.
    Executed,
    /// It landed and failed, and that is final.
    Failed,
    /// It can never land.
    Expired(Expiry),
}

/// Why nothing is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Doubt {
    /// The endpoint is not admitted.
    #[error("an endpoint is not admitted")]
    NotAdmitted,
    /// A question was not answered.
    #[error("a question was not answered")]
    NoAnswer,
    /// The swap landed, and its block does not have the needed commitment yet.
    #[error("the block of the swap is not final yet")]
    NotFinal,
    /// The last valid block height is not passed for good.
    #[error("the last valid block height is not passed and final")]
    StillValid,
    /// The status, or the validity of the blockhash, was read at an earlier slot than the height.
    #[error("an answer is older than the block height")]
    OldAnswer,
    /// The blockhash is valid.
    #[error("the blockhash is still valid")]
    BlockhashValid,
    /// The swap is so old that the endpoint may have forgotten it.
    #[error("the endpoint may have forgotten a swap of that age")]
    MayBeForgotten,
    /// A second endpoint is configured and could not be asked.
    #[error("the second endpoint could not be asked")]
    NoSecond,
    /// The endpoints do not prove the same.
    #[error("the endpoints do not agree")]
    Disagreement,
}

/// What the testimonies prove about a swap.
///
/// An execution at commitment `wanted` needs one endpoint: nothing is signed after it. A final failure and an expiry
/// permit another swap, so a second endpoint must prove the same where one is configured.
pub fn judge(
    last_valid_block_height: u64,
    wanted: Commitment,
    first: &Testimony,
    second: Second<'_>,
) -> Result<Finding, Doubt> {
    let finding = finding(last_valid_block_height, wanted, first)?;
    if finding == Finding::Executed {
        return Ok(finding);
    }
    match second {
        Second::NotConfigured => Ok(finding),
        Second::Missing => Err(Doubt::NoSecond),
        Second::Says(testimony) => match (&finding, self::finding(last_valid_block_height, wanted, testimony)?) {
            (Finding::Failed, Finding::Failed) | (Finding::Expired(_), Finding::Expired(_)) => Ok(finding),
            _ => Err(Doubt::Disagreement),
        },
    }
}

/// Whether a status says that the swap was executed, at that commitment. `processed` is never enough.
pub fn is_executed(status: &SignatureStatus, wanted: Commitment) -> bool {
    status.err.is_none() && status.commitment() >= wanted.max(Commitment::Confirmed)
}

/// What one testimony alone proves.
fn finding(last_valid_block_height: u64, wanted: Commitment, testimony: &Testimony) -> Result<Finding, Doubt> {
    let standing = testimony.standing.ok_or(Doubt::NotAdmitted)?;
    let status = testimony.status.as_ref().ok_or(Doubt::NoAnswer)?;
    match &status.value {
        Some(known) if is_executed(known, wanted) => Ok(Finding::Executed),
        Some(known) if known.err.is_some() && known.commitment() == Commitment::Finalized => Ok(Finding::Failed),
        Some(_) => Err(Doubt::NotFinal),
        None => expiry(last_valid_block_height, standing, status.slot, testimony).map(Finding::Expired),
    }
}

/// Whether an endpoint that does not know the signature proves that the swap has expired.
fn expiry(
    last_valid_block_height: u64,
    standing: Standing,
    unknown_at: u64,
    testimony: &Testimony,
) -> Result<Expiry, Doubt> {
    let finalized = testimony.finalized.ok_or(Doubt::NoAnswer)?;
    if finalized.block_height <= last_valid_block_height {
        return Err(Doubt::StillValid);
    }
    let blockhash_valid = testimony.blockhash_valid.ok_or(Doubt::NoAnswer)?;
    if unknown_at < finalized.absolute_slot || blockhash_valid.slot < finalized.absolute_slot {
        return Err(Doubt::OldAnswer);
    }
    if blockhash_valid.value {
        return Err(Doubt::BlockhashValid);
    }
    let age = finalized.block_height - last_valid_block_height;
    if age > REMEMBERED_BLOCKS && standing.first_available > oldest_slot(finalized, age) {
        return Err(Doubt::MayBeForgotten);
    }
    Ok(Expiry { height: finalized.block_height, unknown_at })
}

/// A slot before the first block in which a swap can have landed whose last valid block is `age` blocks old. At most
/// every second slot is taken to have no block.
fn oldest_slot(finalized: EpochInfo, age: u64) -> u64 {
    let blocks = age.saturating_add(BLOCKHASH_LIFE);
    finalized.absolute_slot.saturating_sub(blocks.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::solana::rpc::TransactionError;

    const LAST_VALID: u64 = 1_000;

    fn block(absolute_slot: u64, block_height: u64) -> EpochInfo {
        EpochInfo { absolute_slot, block_height }
    }

    fn standing() -> Standing {
        Standing { block: block(2_000, 1_001), first_available: 0 }
    }

    /// An endpoint that proves expiry.
    fn dead() -> Testimony {
        Testimony {
            standing: Some(standing()),
            finalized: Some(block(2_000, LAST_VALID + 1)),
            status: Some(At { slot: 2_000, value: None }),
            blockhash_valid: Some(At { slot: 2_000, value: false }),
        }
    }

    fn known(err: Option<TransactionError>, commitment: Commitment) -> Testimony {
        let status = SignatureStatus::new(1_900, err, commitment);
        Testimony { status: Some(At { slot: 2_000, value: Some(status) }), ..dead() }
    }

    fn error() -> Option<TransactionError> {
        Some(TransactionError::Whole("InsufficientFundsForFee".into()))
    }

    fn judged(first: &Testimony, second: Second<'_>) -> Result<Finding, Doubt> {
        judge(LAST_VALID, Commitment::Confirmed, first, second)
    }

    fn expired() -> Result<Finding, Doubt> {
        Ok(Finding::Expired(Expiry { height: LAST_VALID + 1, unknown_at: 2_000 }))
    }

    /// Testimonies that lack one condition of the proof, and the doubt that remains.
    fn doubtful() -> Vec<(Testimony, Doubt)> {
        vec![
            (Testimony { standing: None, ..dead() }, Doubt::NotAdmitted),
            (Testimony { finalized: None, ..dead() }, Doubt::NoAnswer),
            (Testimony { status: None, ..dead() }, Doubt::NoAnswer),
            (Testimony { blockhash_valid: None, ..dead() }, Doubt::NoAnswer),
            (Testimony { finalized: Some(block(2_000, LAST_VALID)), ..dead() }, Doubt::StillValid),
            (Testimony { status: Some(At { slot: 1_999, value: None }), ..dead() }, Doubt::OldAnswer),
            (Testimony { blockhash_valid: Some(At { slot: 1_999, value: false }), ..dead() }, Doubt::OldAnswer),
            (Testimony { blockhash_valid: Some(At { slot: 2_000, value: true }), ..dead() }, Doubt::BlockhashValid),
            (known(None, Commitment::Processed), Doubt::NotFinal),
            (known(error(), Commitment::Processed), Doubt::NotFinal),
            (known(error(), Commitment::Confirmed), Doubt::NotFinal),
        ]
    }

    #[test]
    fn a_swap_has_expired_if_every_condition_holds_at_every_configured_endpoint() {
        assert_eq!(judged(&dead(), Second::NotConfigured), expired());
        assert_eq!(judged(&dead(), Second::Says(&dead())), expired());
    }

    #[test]
    fn a_swap_is_undecided_if_any_condition_is_missing_at_either_endpoint() {
        for (testimony, doubt) in doubtful() {
            assert_eq!(judged(&testimony, Second::NotConfigured), Err(doubt), "{testimony:?}");
            assert_eq!(judged(&testimony, Second::Says(&dead())), Err(doubt), "{testimony:?}");
            assert_eq!(judged(&dead(), Second::Says(&testimony)), Err(doubt), "{testimony:?}");
        }
        assert_eq!(judged(&dead(), Second::Missing), Err(Doubt::NoSecond));
    }

    #[test]
    fn endpoints_that_prove_different_things_prove_nothing_that_permits_another_swap() {
        let failed = known(error(), Commitment::Finalized);
        let executed = known(None, Commitment::Finalized);
        assert_eq!(judged(&dead(), Second::Says(&failed)), Err(Doubt::Disagreement));
        assert_eq!(judged(&dead(), Second::Says(&executed)), Err(Doubt::Disagreement));
        assert_eq!(judged(&failed, Second::Says(&dead())), Err(Doubt::Disagreement));
        assert_eq!(judged(&failed, Second::Says(&executed)), Err(Doubt::Disagreement));
        assert_eq!(judged(&failed, Second::Missing), Err(Doubt::NoSecond));
    }

    #[test]
    fn a_failure_counts_when_it_is_final_and_a_success_at_the_wanted_commitment() {
        let failed = known(error(), Commitment::Finalized);
        assert_eq!(judged(&failed, Second::NotConfigured), Ok(Finding::Failed));
        assert_eq!(judged(&failed, Second::Says(&failed)), Ok(Finding::Failed));
        let confirmed = known(None, Commitment::Confirmed);
        assert_eq!(judged(&confirmed, Second::Missing), Ok(Finding::Executed));
        let finalized = |testimony| judge(LAST_VALID, Commitment::Finalized, testimony, Second::NotConfigured);
        assert_eq!(finalized(&confirmed), Err(Doubt::NotFinal));
        assert_eq!(finalized(&known(None, Commitment::Finalized)), Ok(Finding::Executed));
        // `processed` is never enough, whatever is wanted.
        let processed = known(None, Commitment::Processed);
        assert_eq!(judge(LAST_VALID, Commitment::Processed, &processed, Second::NotConfigured), Err(Doubt::NotFinal));
    }

    #[test]
    fn an_old_swap_has_expired_only_where_the_endpoint_has_the_blocks_in_which_it_could_have_landed() {
        let aged = |age: u64, first_available: u64| {
            let slot = 100_000;
            let testimony = Testimony {
                standing: Some(Standing { block: block(slot, LAST_VALID + age), first_available }),
                finalized: Some(block(slot, LAST_VALID + age)),
                status: Some(At { slot, value: None }),
                blockhash_valid: Some(At { slot, value: false }),
            };
            judged(&testimony, Second::NotConfigured)
        };
        assert!(aged(REMEMBERED_BLOCKS, 99_999).is_ok());
        let first = 100_000 - 2 * (10_000 + BLOCKHASH_LIFE);
        assert!(aged(10_000, first).is_ok());
        assert_eq!(aged(10_000, first + 1), Err(Doubt::MayBeForgotten));
    }

    fn commitment() -> impl Strategy<Value = Commitment> {
        prop_oneof![Just(Commitment::Processed), Just(Commitment::Confirmed), Just(Commitment::Finalized)]
    }

    fn testimony() -> impl Strategy<Value = Testimony> {
        let near = 0u64..4;
        let block =
            (near.clone(), near.clone()).prop_map(|(slot, height)| block(2_000 + slot, LAST_VALID - 2 + height));
        let status =
            prop::option::of((any::<bool>(), commitment()).prop_map(|(failed, commitment)| {
                SignatureStatus::new(1_900, failed.then(error).flatten(), commitment)
            }));
        (
            prop::option::of(Just(standing())),
            prop::option::of(block),
            prop::option::of((near.clone(), status).prop_map(|(slot, value)| At { slot: 2_000 + slot, value })),
            prop::option::of((near, any::<bool>()).prop_map(|(slot, value)| At { slot: 2_000 + slot, value })),
        )
            .prop_map(|(standing, finalized, status, blockhash_valid)| Testimony {
                standing,
                finalized,
                status,
                blockhash_valid,
            })
    }

    /// The conditions of a proof of expiry, written down independently of the judge.
    fn proves_expiry(testimony: &Testimony) -> bool {
        let Testimony { standing, finalized, status, blockhash_valid } = testimony;
        let (Some(_), Some(block), Some(status), Some(valid)) = (standing, finalized, status, blockhash_valid) else {
            return false;
        };
        block.block_height > LAST_VALID
            && status.value.is_none()
            && !valid.value
            && status.slot.min(valid.slot) >= block.absolute_slot
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn no_answers_without_the_whole_proof_yield_an_expired_swap(
            first in testimony(),
            second in prop::option::of(testimony()),
            is_configured in any::<bool>(),
            wanted in commitment(),
        ) {
            let heard = match &second {
                Some(testimony) => Second::Says(testimony),
                None if is_configured => Second::Missing,
                None => Second::NotConfigured,
            };
            let is_proved = proves_expiry(&first)
                && second.as_ref().map_or(!is_configured, proves_expiry);
            let judged = judge(LAST_VALID, wanted, &first, heard);
            prop_assert_eq!(matches!(judged, Ok(Finding::Expired(_))), is_proved, "{:?}", judged);
        }
    }
}
