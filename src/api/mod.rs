//! The public contract: the JSON that HTTP, WebSocket and Redis clients receive.
//!
//! Names are in camelCase, amounts are decimal strings in whole tokens, times are RFC 3339 in UTC.

mod format;
pub mod order;
pub mod problem;
pub mod publication;
pub mod quote;
pub mod update;
