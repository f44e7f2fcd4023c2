//! Limits the attempts to log in, per name and per address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::auth::address::network;
use crate::auth::error::AuthError;
use crate::auth::throttle::Throttle;
use crate::domain::user::Username;

/// The recent attempts.
///
/// An attempt is counted before it is made, so that concurrent attempts do not exceed the limit. It is uncounted
/// afterwards if it was not a failure.
pub(super) struct LoginAttempts {
    by_name: Throttle<String>,
    by_address: Throttle<IpAddr>,
}

impl LoginAttempts {
    pub(super) fn new(per_name: usize, per_address: usize, window: Duration) -> Self {
        Self { by_name: Throttle::new(per_name, window), by_address: Throttle::new(per_address, window) }
    }

    /// Counts an attempt to log in.
    pub(super) fn count_login(&mut self, name: &Username, from: IpAddr, now: Instant) -> Result<(), AuthError> {
        self.count_registration(from, now)?;
        self.by_name.take(name.folded(), now).map_err(AuthError::TooManyAttempts)
    }

    /// Counts an attempt to register, which only the address limits.
    pub(super) fn count_registration(&mut self, from: IpAddr, now: Instant) -> Result<(), AuthError> {
        self.by_address.take(network(from), now).map_err(AuthError::TooManyAttempts)
    }

    /// Uncounts an attempt that was not a failed login. For the address it stays counted if it created an account.
    pub(super) fn uncount(&mut self, name: &Username, from: IpAddr, created_account: bool) {
        self.by_name.give_back(&name.folded());
        if !created_account {
            self.by_address.give_back(&network(from));
        }
    }
}
