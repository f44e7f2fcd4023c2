//! The query string of a WebSocket, and the fields that it shares with the subscribe message.

use crate::domain::id::OrderId;
use crate::http::extract::fields::FieldReader;
use crate::http::problem::Problem;

/// The order to follow first, and the last update of it that the client has.
pub(in crate::http) struct SocketQuery {
    pub(super) order_id: Option<OrderId>,
    pub(super) after_seq: u32,
}

impl SocketQuery {
    /// Parses `orderId` and `afterSeq`, which are optional.
    pub(in crate::http) fn parse(query: &str) -> Result<Self, Problem> {
        let mut fields = FieldReader::of_query(query)?;
        let order_id = fields.take_one_of(&["orderId"], parse_order_id);
        let after_seq = take_after_seq(&mut fields);
        // The extractor of the caller has redeemed it.
        fields.take_raw("ticket");
        fields.finish(Some(Self { order_id, after_seq }))
    }
}

/// Parses an order's id.
pub(super) fn parse_order_id(text: &str) -> Result<OrderId, String> {
    text.parse().map_err(|_| "must be a UUID".to_owned())
}

/// Takes `afterSeq`: by default 0, which is before the first update.
pub(super) fn take_after_seq(fields: &mut FieldReader) -> u32 {
    let parse = |text: &str| text.parse().map_err(|_| "must be a whole number from 0".to_owned());
    fields.take_one_of(&["afterSeq"], parse).unwrap_or_default()
}
