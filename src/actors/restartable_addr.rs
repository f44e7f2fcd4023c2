//! Where an actor that may be restarted is reached just now.

use std::sync::{Arc, PoisonError, RwLock};

use actix::{Actor, Addr};

/// The current address of a restartable actor: the supervisor writes it, everybody else reads it before each send.
#[derive(Debug)]
pub struct RestartableAddr<A: Actor>(Arc<RwLock<Addr<A>>>);

impl<A: Actor> Clone for RestartableAddr<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Actor> RestartableAddr<A> {
    /// A line to that actor.
    pub fn new(addr: Addr<A>) -> Self {
        Self(Arc::new(RwLock::new(addr)))
    }

    /// The address in force.
    pub fn get(&self) -> Addr<A> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Points the line at a new incarnation.
    pub fn set(&self, addr: Addr<A>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addr;
    }
}
