//! Values for the tests of the ledger.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::record::{LedgerEntry, PlannedOutcome, Record};
use super::{Acceptance, Ledger, LedgerError};
use crate::domain::id::{OrderId, VenueId};
use crate::domain::moment::{Moment, Now, Uptime};
use crate::domain::swap::Signature;

pub(super) const BLOCK: Duration = Duration::from_millis(400);

pub(super) fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
}

/// A time at which the wall clock and the uptime are equal.
pub(super) fn now(milliseconds: i64) -> Now {
    in_boot(1, milliseconds, milliseconds)
}

pub(super) fn in_boot(boot: u128, wall: i64, uptime: i64) -> Now {
    let moment = Moment { boot: Uuid::from_u128(boot), uptime: Uptime(uptime * 1_000) };
    Now { at: at(wall), moment }
}

pub(super) fn genesis(now: Now) -> Record {
    Record::Genesis { at: now.at, block_ms: 400, moment: Some(now.moment) }
}

pub(super) fn entry(planned: PlannedOutcome) -> LedgerEntry {
    LedgerEntry {
        signature: Signature([1; 64]),
        order_id: OrderId(Uuid::nil()),
        attempt: 1,
        venue: VenueId::RAYDIUM,
        last_valid_block_height: 150,
        accepted_at: at(0),
        planned,
    }
}

pub(super) fn numbered(number: u8) -> LedgerEntry {
    LedgerEntry { signature: Signature([number; 64]), ..entry(PlannedOutcome::Dropped) }
}

pub(super) fn accept(ledger: &mut Ledger, entry: LedgerEntry) -> Result<Acceptance, LedgerError> {
    ledger.accept(entry.signature, |_| Some(entry.clone()))
}
