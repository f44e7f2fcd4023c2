//! Passwords: argon2id, away from the threads that serve, and only a few at once.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::AuthError;
use crate::domain::secret::Secret;

/// Hashes passwords: 19 MiB, two passes, one lane, which is what the crate has as its default.
pub(super) struct Passwords {
    at_once: Arc<Semaphore>,
    in_line: Arc<Semaphore>,
    patience: Duration,
}

/// What an unknown user's password is checked against, so that the answer takes as long. No password fits it.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Passwords {
    /// More may not wait for their turn.
    const LINE: usize = 64;

    pub(super) fn new(at_once: usize, patience: Duration) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(at_once)),
            in_line: Arc::new(Semaphore::new(at_once + Self::LINE)),
            patience,
        }
    }

    /// A password's hash, with a salt of its own.
    pub(super) async fn hash(&self, password: Secret) -> Result<Secret, AuthError> {
        self.aside(move || hash(&password)).await
    }

    /// Whether a password fits a hash. Without a hash it does not, and that takes as long.
    pub(super) async fn fits(&self, password: Secret, hash: Option<Secret>) -> Result<bool, AuthError> {
        self.aside(move || {
            let fits = fits(&password, hash.as_ref().map_or(NOBODYS, Secret::expose));
            fits && hash.is_some()
        })
        .await
    }

    /// Runs something slow on a thread for such work, when it is its turn.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AuthError> {
        let place = self.in_line.clone().try_acquire_owned().map_err(|_| AuthError::Busy)?;
        let turn = match timeout(self.patience, self.at_once.clone().acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(AuthError::Busy),
        };
        // The turn goes with the work, which runs to its end also where the client has left.
        let held: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, turn);
        let work = move || {
            let _held = held;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| AuthError::Busy)
    }
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

    #[actix::test]
    async fn no_more_than_fit_into_the_line_may_wait() {
        let passwords = Passwords::new(1, Duration::ZERO);
        let places = u32::try_from(Passwords::LINE + 1).unwrap();
        let _all = passwords.in_line.clone().acquire_many_owned(places).await.unwrap();
        assert!(matches!(passwords.hash(Secret::new("correct horse")).await, Err(AuthError::Busy)));
    }
}
