//! Where an actor lives.

use actix::{Actor, Addr, ArbiterHandle, Context};
use tokio::sync::oneshot;

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

    /// Runs something there; `None` where that thread has stopped.
    ///
    /// On an arbiter it goes on where nobody waits for it any more.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        match self {
            Self::Here => Some(work.await),
            Self::On(arbiter) => {
                let (done, result) = oneshot::channel();
                arbiter.spawn(async move {
                    let _ = done.send(work.await);
                });
                result.await.ok()
            }
        }
    }
}
