//! Reads requests: the caller, the body and the query string. Outside input is parsed here and nowhere else.

pub(in crate::http) mod account;
pub(in crate::http) mod authority;
pub(in crate::http) mod body;
pub(in crate::http) mod caller;
pub(in crate::http) mod cancel_filter;
mod content_type;
pub(in crate::http) mod fields;
mod json;
pub(in crate::http) mod order;
mod query;
