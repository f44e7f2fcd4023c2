//! The thread that an actor runs on.

use actix::{Actor, Addr, ArbiterHandle, Context};
use tokio::sync::oneshot;

/// Where to start an actor.
#[derive(Clone, Debug)]
pub enum Placement {
    /// The thread that calls [`Placement::start`], and its time, which a test may have paused.
    CurrentThread,
    /// The thread of that arbiter.
    Arbiter(ArbiterHandle),
}

impl Placement {
    /// Starts an actor on that thread.
    ///
    /// If the arbiter has stopped, the address is closed from the beginning: the first message to it fails.
    pub fn start<A>(&self, make: impl FnOnce(&mut Context<A>) -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        match self {
            Self::CurrentThread => A::create(make),
            Self::Arbiter(arbiter) => A::start_in_arbiter(arbiter, make),
        }
    }

    /// Runs a future on that thread. Returns `None` if the arbiter has stopped.
    ///
    /// On an arbiter the future continues even if the caller stops waiting.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        match self {
            Self::CurrentThread => Some(work.await),
            Self::Arbiter(arbiter) => {
                let (done, result) = oneshot::channel();
                arbiter.spawn(async move {
                    let _ = done.send(work.await);
                });
                result.await.ok()
            }
        }
    }
}
