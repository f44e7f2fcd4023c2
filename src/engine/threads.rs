//! The threads that the actors run on.

use std::time::Duration;

use actix::Arbiter;
use tokio::time::timeout;

use crate::runtime::environment::Environment;
use crate::runtime::placement::Placement;

/// Either the caller's thread, or threads of the engine.
pub(super) enum Threads {
    /// Everything runs on the thread of the caller, in its actix `System`, and on its time, which may be paused.
    OfCaller,
    /// The arbiters that were started so far.
    Own(Vec<Arbiter>),
}

impl Threads {
    /// Starts one thread, if the engine has threads of its own.
    pub(super) fn start_one(&mut self) -> Placement {
        match self {
            Self::OfCaller => Placement::CurrentThread,
            Self::Own(arbiters) => {
                let arbiter = Arbiter::new();
                let placement = Placement::Arbiter(arbiter.handle());
                arbiters.push(arbiter);
                placement
            }
        }
    }

    /// The environment of these threads: a caller may have paused the time of its own thread.
    pub(super) fn environment(&self) -> Environment {
        match self {
            Self::OfCaller => Environment::runtime(),
            Self::Own(_) => Environment::system(),
        }
    }

    /// Stops the threads, the last one first, and waits at most `deadline` for each.
    pub(super) async fn stop(mut self, deadline: Duration) {
        while let Self::Own(arbiters) = &mut self
            && let Some(arbiter) = arbiters.pop()
        {
            arbiter.stop();
            // Joining blocks, and an arbiter stops only while this thread's System keeps running.
            let joined = tokio::task::spawn_blocking(move || arbiter.join());
            if timeout(deadline, joined).await.is_err() {
                tracing::warn!("a thread did not end before the deadline");
            }
        }
    }
}

impl Drop for Threads {
    /// After a start that failed, no thread keeps running.
    fn drop(&mut self) {
        if let Self::Own(arbiters) = self {
            for arbiter in arbiters {
                arbiter.stop();
            }
        }
    }
}
