//! Passwords: argon2id, away from the threads that serve, only a few at once, and by turns between addresses.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::auth::fair_queue::FairQueue;
use crate::auth::{AuthError, network};
use crate::domain::secret::Secret;
use crate::domain::user::Username;

/// Hashes passwords: 19 MiB, two passes, one lane, which is what the crate has as its default.
pub(super) struct Passwords {
    turns: Arc<Mutex<HashQueue>>,
    patience: Duration,
}

/// What an unknown user's password is checked against, so that the answer takes as long. No password fits it.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whose password is worked on: what turns are dealt out by.
#[derive(Clone, Copy)]
pub(super) struct HashOwner<'a> {
    pub(super) from: IpAddr,
    pub(super) name: &'a Username,
}

impl Passwords {
    /// More may not wait for their turn.
    const LINE: usize = 64;

    pub(super) fn new(at_once: usize, patience: Duration) -> Self {
        let turns = HashQueue { free: at_once, line: FairQueue::new(Self::LINE) };
        Self { turns: Arc::new(Mutex::new(turns)), patience }
    }

    /// A password's hash, with a salt of its own.
    pub(super) async fn hash(&self, asker: HashOwner<'_>, password: Secret) -> Result<Secret, AuthError> {
        self.aside(asker, move || hash(&password)).await
    }

    /// Whether a password fits a hash. Without a hash it does not, and that takes as long.
    pub(super) async fn fits(
        &self,
        asker: HashOwner<'_>,
        password: Secret,
        hash: Option<Secret>,
    ) -> Result<bool, AuthError> {
        self.aside(asker, move || {
            let fits = fits(&password, hash.as_ref().map_or(NOBODYS, Secret::expose));
            fits && hash.is_some()
        })
        .await
    }

    /// Runs something slow on a thread for such work, when it is its turn.
    async fn aside<T: Send + 'static>(
        &self,
        asker: HashOwner<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let called = self.stand_in_line(asker);
        // The sender is dropped where another has more right to the place in the line.
        let turn = match timeout(self.patience, called).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(AuthError::Busy),
        };
        // The turn goes with the work, which runs to its end also where the client has left.
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| AuthError::Busy)
    }

    fn stand_in_line(&self, asker: HashOwner<'_>) -> oneshot::Receiver<HashPermit> {
        let (call, called) = oneshot::channel();
        let mut turns = lock(&self.turns);
        let free = turns.free.checked_sub(1);
        // Dropped after the lock is given back: what is in it may be a turn, whose end takes the lock.
        let left = match free {
            Some(free) => {
                turns.free = free;
                call.send(HashPermit(Some(self.turns.clone()))).err().map(Released::Permit)
            }
            None => {
                turns.line.retain(|call| !call.is_closed());
                turns.line.enter(network(asker.from), &asker.name.folded(), call).map(Released::Place)
            }
        };
        drop(turns);
        drop(left);
        called
    }
}

/// What is dropped once the lock is given back.
enum Released {
    Permit(#[expect(dead_code, reason = "it is dropped")] HashPermit),
    Place(#[expect(dead_code, reason = "it is dropped")] oneshot::Sender<HashPermit>),
}

struct HashQueue {
    free: usize,
    line: FairQueue<oneshot::Sender<HashPermit>>,
}

/// The right to work on one password. At its end whoever is next in the line has it.
struct HashPermit(Option<Arc<Mutex<HashQueue>>>);

impl Drop for HashPermit {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        let mut open = lock(&turns);
        while let Some(next) = open.line.next() {
            match next.send(HashPermit(Some(turns.clone()))) {
                Ok(()) => return,
                // It has given up waiting. Its turn is taken back without an end of its own.
                Err(mut turn) => turn.0 = None,
            }
        }
        open.free += 1;
    }
}

fn lock(turns: &Mutex<HashQueue>) -> MutexGuard<'_, HashQueue> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(password: &Secret) -> Secret {
    let hash = Argon2::default().hash_password(password.expose().as_bytes());
    Secret::new(hash.expect("a password is no longer than argon2 allows, and the system is random").to_string())
}

fn fits(password: &Secret, hash: &str) -> bool {
    // With the costs that the hash was made with.
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_and_no_other() {
        let password = Secret::new("correct horse");
        let (one, other) = (hash(&password), hash(&password));
        assert_ne!(one.expose(), other.expose(), "each hash has a salt of its own");
        assert!(fits(&password, one.expose()) && fits(&password, other.expose()));
        assert!(!fits(&Secret::new("correct house"), one.expose()));
        assert!(!fits(&password, "no hash at all"));
    }

    #[test]
    fn an_unknown_user_costs_what_a_known_one_does() {
        let costs = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            (hash.algorithm.to_string(), hash.version, hash.params.to_string(), hash.hash.map(|hash| hash.len()))
        };
        assert_eq!(costs(NOBODYS), costs(hash(&Secret::new("correct horse")).expose()));
        assert_eq!(costs(NOBODYS).2, "m=19456,t=2,p=1");
    }

    fn asker(name: &Username, last: u8) -> HashOwner<'_> {
        HashOwner { from: std::net::Ipv4Addr::new(10, 0, 0, last).into(), name }
    }

    #[actix::test]
    async fn no_more_than_fit_into_the_line_may_wait_and_another_address_still_finds_a_place() {
        let passwords = Passwords::new(1, Duration::from_secs(60));
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let _busy = passwords.stand_in_line(asker(&alice, 1)).await.unwrap();
        let mut waiting: Vec<_> = (0..Passwords::LINE).map(|_| passwords.stand_in_line(asker(&alice, 1))).collect();
        let mut refused = passwords.stand_in_line(asker(&alice, 1));
        assert_eq!(refused.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
        let mut other = passwords.stand_in_line(asker(&bob, 2));
        assert_eq!(other.try_recv().err(), Some(oneshot::error::TryRecvError::Empty), "it waits");
        let newest = waiting.last_mut().unwrap();
        assert_eq!(newest.try_recv().err(), Some(oneshot::error::TryRecvError::Closed), "it gave way");
    }

    #[actix::test]
    async fn a_turn_goes_on_to_who_still_waits_and_is_free_again_after_them() {
        let passwords = Passwords::new(1, Duration::from_secs(60));
        let alice = "alice".parse().unwrap();
        let busy = passwords.stand_in_line(asker(&alice, 1)).await.unwrap();
        let (gone, waiting) = (passwords.stand_in_line(asker(&alice, 1)), passwords.stand_in_line(asker(&alice, 1)));
        drop(gone);
        drop(busy);
        drop(waiting.await.unwrap());
        // Nobody took this turn before it was dropped.
        drop(passwords.stand_in_line(asker(&alice, 1)));
        assert_eq!(lock(&passwords.turns).free, 1);
        assert!(passwords.hash(asker(&alice, 1), Secret::new("correct horse")).await.is_ok());
    }

    #[actix::test]
    async fn who_waits_too_long_for_its_turn_is_told_that_all_are_busy() {
        let passwords = Passwords::new(1, Duration::ZERO);
        let alice = "alice".parse().unwrap();
        let _busy = passwords.stand_in_line(asker(&alice, 1)).await.unwrap();
        assert!(matches!(passwords.hash(asker(&alice, 1), Secret::new("correct horse")).await, Err(AuthError::Busy)));
    }
}
