//! What HTTP, WebSocket and embedding programs may ask: orders, and quotes with their cache.

pub mod orders;
pub mod quote_cache;
