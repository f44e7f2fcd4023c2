//! The public contract: the JSON that HTTP, WebSocket and Redis clients receive.

pub mod views;
