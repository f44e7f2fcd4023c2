//! The text form of amounts and times.

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;

use crate::domain::amount::BaseUnits;
use crate::domain::request::OrderRequest;

/// An amount of the output token, in whole tokens.
pub(super) fn output(request: &OrderRequest, units: BaseUnits) -> Decimal {
    units.to_decimal(request.token_out.decimals)
}

/// A time in RFC 3339, in UTC with microseconds.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
