//! The errors of authentication.

use std::time::Duration;

use thiserror::Error;

use crate::auth::secret_file::SecretFileError;

/// Why a client is not authenticated, or why its request about accounts, keys or tickets is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The token, key or ticket is unknown, expired or revoked.
    #[error("the credential is not valid")]
    InvalidCredential,
    /// There is no user with this name and password.
    #[error("no user has this name and password")]
    InvalidLogin,
    /// Too many attempts with this name or from this address; the value is the time until the next one is allowed.
    #[error("too many attempts")]
    TooManyAttempts(Duration),
    /// Another account has the name.
    #[error("the name is taken")]
    NameTaken,
    /// New accounts are not accepted.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The user has the maximum number of keys.
    #[error("no more keys")]
    TooManyKeys,
    /// The user, or all users together, have the maximum number of open tickets.
    #[error("no more tickets")]
    TooManyTickets,
    /// The user has no such key.
    #[error("there is no such key")]
    UnknownKey,
    /// Too many passwords wait to be hashed.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// The database does not answer.
    #[error("the database does not answer")]
    Unavailable,
}

/// Why authentication cannot start.
#[derive(Debug, Error)]
pub enum AuthStartError {
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The revoked tokens or the API keys cannot be read.
    #[error("the users cannot be read")]
    Unreadable,
}
