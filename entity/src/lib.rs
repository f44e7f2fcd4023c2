//! The row types of the tables, for SeaORM. The migrations define the schema and explain its columns and indexes.
#![allow(missing_docs, reason = "the migrations explain each column")]

pub mod api_keys;
pub mod engine_state;
pub mod idempotency_keys;
pub mod order_events;
pub mod orders;
pub mod revoked_tokens;
pub mod transactions;
pub mod users;
