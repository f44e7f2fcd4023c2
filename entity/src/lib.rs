//! The rows of the tables, and nothing but their shapes. The schema and its reasons stand in the migrations.
#![allow(missing_docs, reason = "the migrations say what each column means")]

pub mod api_keys;
pub mod idempotency_keys;
pub mod order_events;
pub mod orders;
pub mod revoked_tokens;
pub mod transactions;
pub mod users;
