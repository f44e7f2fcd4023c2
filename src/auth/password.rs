//! Password hashes: argon2id on threads for blocking work, a few at a time, with turns between addresses.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::auth::address::network;
use crate::auth::error::AuthError;
use crate::auth::fair_queue::FairQueue;
use crate::domain::secret::Secret;
use crate::domain::user::Username;

/// Hashes passwords with 19 MiB, two passes and one lane, the defaults of the crate and of OWASP.
pub(super) struct Passwords {
    queue: Arc<Mutex<HashQueue>>,
    // The maximum time to wait for a permit.
    timeout: Duration,
}

/// The hash against which the password of an unknown user is checked, so that the answer takes as long as for a known
/// one. No password matches it.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The source of a request, by which turns are divided.
#[derive(Clone, Copy)]
pub(super) struct Requester<'a> {
    pub(super) from: IpAddr,
    pub(super) name: &'a Username,
}

impl Passwords {
    /// The maximum number of requests that wait for a permit.
    const MAX_WAITING: usize = 64;

    pub(super) fn new(at_once: usize, timeout: Duration) -> Self {
        let queue = HashQueue { free: at_once, waiting: FairQueue::new(Self::MAX_WAITING) };
        Self { queue: Arc::new(Mutex::new(queue)), timeout }
    }

    /// The hash of a password, with a new salt.
    pub(super) async fn hash(&self, requester: Requester<'_>, password: Secret) -> Result<Secret, AuthError> {
        self.run(requester, move || hash(&password)).await
    }

    /// Whether a password matches a hash. Without a hash the answer is no, after the same time.
    pub(super) async fn verify(
        &self,
        requester: Requester<'_>,
        password: Secret,
        hash: Option<Secret>,
    ) -> Result<bool, AuthError> {
        self.run(requester, move || {
            let matches = verify(&password, hash.as_ref().map_or(DUMMY_HASH, Secret::expose));
            matches && hash.is_some()
        })
        .await
    }

    /// Runs the work on a thread for blocking work, once there is a permit for it.
    async fn run<T: Send + 'static>(
        &self,
        requester: Requester<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let permit = self.request_permit(requester);
        let permit = match timeout(self.timeout, permit).await {
            Ok(Ok(permit)) => permit,
            // It has lost its place in the queue, or has waited too long.
            Ok(Err(_)) | Err(_) => return Err(AuthError::Busy),
        };
        // The permit moves with the work, which runs to its end even after the client has left.
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| AuthError::Busy)
    }

    /// Requests a permit. The sender is dropped without one if the request loses its place in the queue.
    fn request_permit(&self, requester: Requester<'_>) -> oneshot::Receiver<HashPermit> {
        let (sender, permit) = oneshot::channel();
        let mut queue = lock(&self.queue);
        let free = queue.free.checked_sub(1);
        // Dropped after the lock is released: it may hold a permit, and the drop of a permit takes the lock.
        let dropped = match free {
            Some(free) => {
                queue.free = free;
                sender.send(HashPermit(Some(self.queue.clone()))).err().map(Dropped::Permit)
            }
            None => {
                queue.waiting.retain(|sender| !sender.is_closed());
                let displaced = queue.waiting.push(network(requester.from), &requester.name.folded(), sender);
                displaced.map(Dropped::Request)
            }
        };
        drop(queue);
        drop(dropped);
        permit
    }
}

/// What is dropped after the lock of the queue is released.
enum Dropped {
    Permit(#[expect(dead_code, reason = "it is only dropped")] HashPermit),
    Request(#[expect(dead_code, reason = "it is only dropped")] oneshot::Sender<HashPermit>),
}

struct HashQueue {
    // The number of permits that are not in use.
    free: usize,
    waiting: FairQueue<oneshot::Sender<HashPermit>>,
}

/// The right to hash one password. When it is dropped, the next request in the queue gets it.
struct HashPermit(Option<Arc<Mutex<HashQueue>>>);

impl Drop for HashPermit {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        let mut open = lock(&queue);
        while let Some(next) = open.waiting.pop() {
            match next.send(HashPermit(Some(queue.clone()))) {
                Ok(()) => return,
                // This request has given up. The permit is emptied, so that its drop does not take the lock again.
                Err(mut permit) => permit.0 = None,
            }
        }
        open.free += 1;
    }
}

fn lock(queue: &Mutex<HashQueue>) -> MutexGuard<'_, HashQueue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hash of a password, with a new salt. It takes as long as a login, so a server limits how many are made at a time.
pub fn hash(password: &Secret) -> Secret {
    let hash = Argon2::default().hash_password(password.expose().as_bytes());
    Secret::new(hash.expect("a password is no longer than argon2 allows, and the system has random bytes").to_string())
}

/// Whether a password matches a hash, with the cost parameters of the hash.
fn verify(password: &Secret, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_and_no_other() {
        let password = Secret::new("correct horse");
        let (one, other) = (hash(&password), hash(&password));
        assert_ne!(one.expose(), other.expose(), "each hash has its own salt");
        assert!(verify(&password, one.expose()) && verify(&password, other.expose()));
        assert!(!verify(&Secret::new("correct house"), one.expose()));
        assert!(!verify(&password, "not a hash"));
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let costs = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            (hash.algorithm.to_string(), hash.version, hash.params.to_string(), hash.hash.map(|hash| hash.len()))
        };
        assert_eq!(costs(DUMMY_HASH), costs(hash(&Secret::new("correct horse")).expose()));
        assert_eq!(costs(DUMMY_HASH).2, "m=19456,t=2,p=1");
    }

    fn requester(name: &Username, last: u8) -> Requester<'_> {
        Requester { from: std::net::Ipv4Addr::new(10, 0, 0, last).into(), name }
    }

    #[actix::test]
    async fn a_full_queue_refuses_its_largest_address_and_has_a_place_for_another_one() {
        let passwords = Passwords::new(1, Duration::from_secs(60));
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let _busy = passwords.request_permit(requester(&alice, 1)).await.unwrap();
        let mut waiting: Vec<_> =
            (0..Passwords::MAX_WAITING).map(|_| passwords.request_permit(requester(&alice, 1))).collect();
        let mut refused = passwords.request_permit(requester(&alice, 1));
        assert_eq!(refused.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
        let mut other = passwords.request_permit(requester(&bob, 2));
        assert_eq!(other.try_recv().err(), Some(oneshot::error::TryRecvError::Empty), "it waits");
        let newest = waiting.last_mut().unwrap();
        assert_eq!(newest.try_recv().err(), Some(oneshot::error::TryRecvError::Closed), "it has lost its place");
    }

    #[actix::test]
    async fn a_permit_goes_to_a_request_that_still_waits_and_is_free_after_the_last_one() {
        let passwords = Passwords::new(1, Duration::from_secs(60));
        let alice = "alice".parse().unwrap();
        let busy = passwords.request_permit(requester(&alice, 1)).await.unwrap();
        let (gone, waiting) =
            (passwords.request_permit(requester(&alice, 1)), passwords.request_permit(requester(&alice, 1)));
        drop(gone);
        drop(busy);
        drop(waiting.await.unwrap());
        // This permit is dropped before it was received.
        drop(passwords.request_permit(requester(&alice, 1)));
        assert_eq!(lock(&passwords.queue).free, 1);
        assert!(passwords.hash(requester(&alice, 1), Secret::new("correct horse")).await.is_ok());
    }

    #[actix::test]
    async fn a_request_that_waits_too_long_is_answered_with_busy() {
        let passwords = Passwords::new(1, Duration::ZERO);
        let alice = "alice".parse().unwrap();
        let _busy = passwords.request_permit(requester(&alice, 1)).await.unwrap();
        let refused = passwords.hash(requester(&alice, 1), Secret::new("correct horse")).await;
        assert!(matches!(refused, Err(AuthError::Busy)));
    }
}
