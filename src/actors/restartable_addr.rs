//! The current address of an actor that may be restarted.

use std::sync::{Arc, PoisonError, RwLock};

/// The recipients `R` of an actor that the supervisor may restart.
///
/// A restart replaces them; every sender reads them before each send. The clones share one value.
#[derive(Debug)]
pub struct RestartableAddr<R>(Arc<RwLock<R>>);

impl<R> Clone for RestartableAddr<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R> RestartableAddr<R> {
    /// The address of the actor's first instance.
    pub fn new(addr: impl Into<R>) -> Self {
        Self(Arc::new(RwLock::new(addr.into())))
    }

    /// Sends something to the current instance. `send` runs under the lock, so it must not block.
    pub fn with<T>(&self, send: impl FnOnce(&R) -> T) -> T {
        send(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the address by that of a new instance.
    pub fn set(&self, addr: impl Into<R>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addr.into();
    }
}
