//! The statuses of all swaps that wait for their outcome, asked for in one call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::domain::swap::Signature;
use crate::solana::endpoints::{Endpoints, Refusal};
use crate::solana::rpc::{MAX_SIGNATURES, RpcError, SignatureStatus};

/// The number of rounds of statuses for each request of the newest finalized block, which shows when the proof of an
/// expiry is worth its requests.
const ROUNDS_PER_HEIGHT: u32 = 5;

/// The statuses of one round. A signature is missing if no endpoint answered for it.
pub type Round = Arc<HashMap<Signature, Option<SignatureStatus>>>;

/// The signatures that are asked for, and the rounds of answers.
///
/// The number of signatures is bounded by the orders that run at the same time. A round that is not read in time is
/// replaced by the next one.
pub struct Statuses {
    wanted: Mutex<HashMap<Signature, usize>>,
    has_wanted: Notify,
    rounds: watch::Sender<Round>,
}

impl Statuses {
    /// Asks nothing until [`Statuses::run`] runs.
    pub fn new() -> Arc<Self> {
        let rounds = watch::Sender::new(Round::default());
        Arc::new(Self { wanted: Mutex::default(), has_wanted: Notify::new(), rounds })
    }

    /// Asks for a signature until the returned value is dropped.
    pub fn ask(self: &Arc<Self>, signature: Signature) -> Asking {
        *self.wanted().entry(signature).or_default() += 1;
        self.has_wanted.notify_one();
        Asking { rounds: self.rounds.subscribe(), signature, statuses: self.clone() }
    }

    /// Asks an admitted endpoint for all wanted signatures at that interval, until `this` is dropped.
    pub async fn run(this: Weak<Self>, endpoints: Arc<Endpoints>, interval: Duration) {
        let mut rounds_until_height = 0;
        while let Some(statuses) = this.upgrade() {
            let signatures: Vec<_> = statuses.wanted().keys().copied().collect();
            if signatures.is_empty() {
                // A signature may be wanted right after this look: the permit of `notify_one` is kept.
                let wait = statuses.has_wanted.notified();
                let _ = tokio::time::timeout(interval, wait).await;
                continue;
            }
            if rounds_until_height == 0 {
                refresh_height(&endpoints).await;
                rounds_until_height = ROUNDS_PER_HEIGHT;
            }
            rounds_until_height -= 1;
            let mut round = HashMap::with_capacity(signatures.len());
            for some in signatures.chunks(MAX_SIGNATURES) {
                round.extend(ask(&endpoints, some).await);
            }
            statuses.rounds.send_replace(Arc::new(round));
            drop(statuses);
            tokio::time::sleep(interval).await;
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<Signature, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest finalized block of the first admitted endpoint that answers; the endpoint keeps it.
async fn refresh_height(endpoints: &Endpoints) {
    for endpoint in endpoints.admitted() {
        if endpoint.finalized().await.is_ok() {
            return;
        }
    }
}

/// The answer of the first admitted endpoint that gives one.
async fn ask(endpoints: &Endpoints, signatures: &[Signature]) -> Vec<(Signature, Option<SignatureStatus>)> {
    for endpoint in endpoints.admitted() {
        match endpoint.rpc().signature_statuses(signatures).await {
            Ok(statuses) => return signatures.iter().copied().zip(statuses.value).collect(),
            Err(RpcError::NoHistory) => endpoint.drop_for(Refusal::NoHistory),
            Err(error) => tracing::debug!(endpoint = endpoint.name(), %error, "no statuses"),
        }
    }
    Vec::new()
}

/// A signature that is asked for.
pub struct Asking {
    rounds: watch::Receiver<Round>,
    signature: Signature,
    statuses: Arc<Statuses>,
}

impl Asking {
    /// The status of the signature in the next round that has it: a round that began after the last one that was read.
    pub async fn next(&mut self) -> Option<SignatureStatus> {
        loop {
            if self.rounds.changed().await.is_err() {
                // The sender lives as long as `statuses`.
                return std::future::pending().await;
            }
            let round = self.rounds.borrow_and_update().clone();
            if let Some(status) = round.get(&self.signature) {
                return status.clone();
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut wanted = self.statuses.wanted();
        if let Some(count) = wanted.get_mut(&self.signature) {
            *count -= 1;
            if *count == 0 {
                wanted.remove(&self.signature);
            }
        }
    }
}
