//! The format of the ledger: one record per line, as JSON.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::moment::Moment;
use crate::domain::retry::FailureCode;
use crate::domain::swap::Signature;

/// One line of the ledger. The first line is the genesis.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Record {
    /// The chain begins.
    Genesis {
        at: DateTime<Utc>,
        block_ms: u64,
        /// The uptime at the genesis; earlier versions did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moment: Option<Moment>,
    },
    /// A new boot opens the ledger: `at` is the chain's time at that moment.
    Boot { at: DateTime<Utc>, moment: Moment },
    /// The block height advances by a number of blocks.
    Jump { at: DateTime<Utc>, blocks: u64 },
    /// The chain accepts a swap.
    Swap(LedgerEntry),
}

/// A swap that the chain has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// The signature.
    pub signature: Signature,
    /// The order.
    pub order_id: OrderId,
    /// The attempt of the order.
    pub attempt: u32,
    /// The venue.
    pub venue: VenueId,
    /// The last block height at which the swap can land.
    pub last_valid_block_height: u64,
    /// The time of acceptance.
    pub accepted_at: DateTime<Utc>,
    /// The outcome, if it is due before the last valid block height has passed.
    #[serde(flatten)]
    pub planned: PlannedOutcome,
}

/// The outcome of a swap, drawn when the chain accepts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PlannedOutcome {
    /// The swap lands.
    Lands {
        /// The time.
        at: DateTime<Utc>,
        /// The output.
        amount_out: BaseUnits,
    },
    /// The transaction lands and fails.
    Rejected {
        /// The time.
        at: DateTime<Utc>,
        /// The cause.
        code: FailureCode,
    },
    /// The swap never lands.
    Dropped,
}

impl PlannedOutcome {
    /// The time of the outcome; `None` if the swap never lands.
    pub const fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Lands { at, .. } | Self::Rejected { at, .. } => Some(*at),
            Self::Dropped => None,
        }
    }
}

impl Record {
    /// The line in the file, including its newline.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a record holds only strings and integers");
        line.push(b'\n');
        line
    }
}

/// Whether an incomplete first line is the rest of an interrupted genesis, so that nothing else is lost with it.
///
/// After a power failure the rest of a write can read as zeros.
pub(super) fn is_interrupted_genesis(rest: &[u8]) -> bool {
    const GENESIS: &[u8] = br#"{"line":"genesis","#;
    rest.starts_with(GENESIS) || GENESIS.starts_with(rest) || rest.iter().all(|byte| *byte == 0)
}
