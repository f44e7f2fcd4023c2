//! The domain: what an order is and how it may change, as plain values and pure functions.
//!
//! Nothing here depends on an actor, a database, a socket or a clock. Time and randomness come in as arguments.
//!
//! - Orders: [`lifecycle`] (start here), [`request`], [`order`], [`retry`].
//! - Routing: [`quote`], [`routing`], [`track_record`].
//! - Settlement: [`swap`].
//! - Scheduling: [`dispatch`], [`limits`].
//! - Values: [`amount`], [`fraction`], [`token`], [`id`], [`user`], [`moment`], [`secret`].
//! - Statistics: [`tally`].

pub mod amount;
mod decimal;
pub mod dispatch;
pub mod fraction;
pub mod id;
pub mod lifecycle;
pub mod limits;
pub mod moment;
pub mod order;
pub mod quote;
pub mod request;
pub mod retry;
pub mod routing;
pub mod secret;
pub mod swap;
pub mod tally;
pub mod token;
pub mod track_record;
pub mod user;
