//! The public contract: what is told over HTTP, WebSocket and Redis, in one place for all of them.

pub mod views;
