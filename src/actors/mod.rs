//! The actors: messages, timers and addresses around the decisions of the domain.
//!
//! | actor | owns | talks to |
//! |---|---|---|
//! | [`order_manager::OrderManager`] | admission, the queue, the slots, the rate window, restarts | every other |
//! | [`order::OrderActor`], one an order | its order and its subscribers | manager, persistence, router, venues, chain |
//! | [`dex_router::DexRouter`] | the venues' track records | venues |
//! | [`venue::VenueActor`], one a venue | its adapter | |
//! | [`persistence::Persistence`] | the store | |
//! | [`supervisor::Supervisor`] | how to start a venue or the router again | |
//!
//! Messages stand at the top of the file of the actor that handles them.

pub mod dex_router;
pub mod order;
pub mod order_manager;
pub mod persistence;
pub mod restartable_addr;
pub mod supervisor;
pub mod venue;
