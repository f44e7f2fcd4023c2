//! The errors of authentication.

use std::time::Duration;

use thiserror::Error;

use crate::auth::secret_file::SecretFileError;
use crate::domain::user::Scopes;

/// Why a client is not authenticated, or why its request about accounts, keys or tickets is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The token, key or ticket is unknown, expired or revoked.
    #[error("the credential is not valid")]
    InvalidCredential,
    /// There is no user with this name and password.
    #[error("no user has this name and password")]
    InvalidLogin(LoginFailure),
    /// Name and password are right, and the operator has disabled the account.
    #[error("the account is disabled")]
    Disabled,
    /// A logged-in user gave a wrong password.
    #[error("the password is wrong")]
    WrongPassword,
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
    /// The user has not all scopes that the key would have, or none that a key can have.
    #[error("a scope that the user does not have")]
    MissingScope(Scopes),
    /// This number of orders of the user is open, so the account is not deleted.
    #[error("{0} orders are open")]
    OpenOrders(u64),
    /// Too many passwords wait to be hashed.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// The database does not answer.
    #[error("the database does not answer")]
    Unavailable,
}

/// Why a login is invalid. For the log only: the client must not learn which names exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// No user has the name.
    UnknownName,
    /// The password is wrong.
    WrongPassword,
}

/// Why authentication cannot start.
#[derive(Debug, Error)]
pub enum AuthStartError {
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The users, the revoked tokens or the API keys cannot be read.
    #[error("the users cannot be read")]
    Unreadable,
}
