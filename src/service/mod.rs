//! The use cases that HTTP, WebSocket and embedding programs share.

pub mod new_order;
pub mod orders;
pub mod quote_cache;
#[cfg(test)]
mod tests;
mod turns;
