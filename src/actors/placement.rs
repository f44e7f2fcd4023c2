//! Where an actor lives.

use actix::{Actor, Addr, ArbiterHandle, Context};

/// The thread an actor is started on.
#[derive(Clone, Debug)]
pub enum Placement {
    /// The thread of whoever starts it: for tests under paused time.
    Here,
    /// An arbiter's thread.
    On(ArbiterHandle),
}

impl Placement {
    /// Starts an actor there.
    ///
    /// On an arbiter that has stopped the address is closed from the beginning: its first message says so.
    pub fn start<A>(&self, make: impl FnOnce(&mut Context<A>) -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        match self {
            Self::Here => A::create(make),
            Self::On(arbiter) => A::start_in_arbiter(arbiter, make),
        }
    }
}
