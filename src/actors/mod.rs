//! The actors: messages, timers and addresses around the decisions of the domain.
//!
//! | actor | owns | sends to |
//! |---|---|---|
//! | [`order_manager::OrderManager`] | admission, the schedule, restarts | orders, persistence |
//! | [`order::OrderActor`], one per order | its order and its subscribers | manager, persistence, router, venues, chain |
//! | [`dex_router::DexRouter`] | the track records of the venues | venues |
//! | [`venue::VenueActor`], one per venue | its adapter | |
//! | [`persistence::Persistence`] | the store | |
//! | [`supervisor::Supervisor`] | how a venue or the router is restarted | |
//!
//! An actor reaches another through recipients of single messages, so each of them runs alone with stubs in its place. Only
//! the order manager names another actor: it starts the orders.

pub mod dex_router;
pub mod order;
pub mod order_manager;
pub mod persistence;
pub mod restartable_addr;
pub mod supervisor;
pub mod venue;

#[cfg(test)]
pub(crate) mod tests;
