//! The HTTP API: requests, answers, documents and protection.

mod compatibility;
mod documents;
mod figures;
mod hardening;
mod idempotency;
mod invalid_input;
mod monitors;
mod orders;
mod proxies;
