//! One actor at a time, with stubs for all others, on paused time.

mod dex_router;
mod order;
mod order_manager;
mod persistence;
pub(crate) mod stubs;
mod supervisor;
