//! The port: what the engine asks of the store of users: accounts, API keys and revoked tokens.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, User, UserId, Username};
use crate::store::error::ReadError;

/// SHA-256 of an API key or a ticket. The key cannot be computed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// An account with the hash of its password.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user.
    pub user: User,
    /// The hash of the password in the PHC string format.
    pub password_hash: Secret,
}

/// An API key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The public part of the key.
    pub key: ApiKey,
    /// The digest that identifies the key.
    pub digest: Digest,
}

/// A token that was revoked before it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// The id of the token (`jti`).
    pub id: Uuid,
    /// When the token expires.
    pub expires_at: DateTime<Utc>,
}

/// Why a change of users was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserWriteError {
    /// Another account has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The user has the maximum number of keys.
    #[error("no more keys")]
    TooManyKeys,
    /// The database did not answer. The change may or may not be stored.
    #[error("the database gave no answer: {0}")]
    Unavailable(String),
}

/// Stores users. Every write is durable when the method returns.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Creates an account.
    async fn create_account(&self, account: &Account) -> Result<(), UserWriteError>;

    /// The account with this name.
    async fn account(&self, name: &Username) -> Result<Option<Account>, ReadError>;

    /// The user with this id.
    async fn user(&self, id: UserId) -> Result<Option<User>, ReadError>;

    /// Creates an API key, unless its user already has `most` keys that are not revoked. The limit also holds for
    /// concurrent calls.
    async fn create_key(&self, key: &StoredKey, most: u32) -> Result<(), UserWriteError>;

    /// Revokes a key of the user permanently. Returns whether there was such a key that was not revoked.
    async fn revoke_key(&self, user: UserId, id: KeyId, at: DateTime<Utc>) -> Result<bool, UserWriteError>;

    /// The keys of the user that are not revoked, oldest first.
    async fn keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, ReadError>;

    /// All keys that are not revoked.
    async fn live_keys(&self) -> Result<Vec<StoredKey>, ReadError>;

    /// Revokes a token. Revoking it again is not an error.
    async fn revoke_token(&self, token: RevokedToken) -> Result<(), UserWriteError>;

    /// Deletes the revoked tokens that expired at this time or earlier.
    async fn forget_revoked_tokens(&self, by: DateTime<Utc>) -> Result<(), UserWriteError>;

    /// All revoked tokens that are stored.
    async fn revoked_tokens(&self) -> Result<Vec<RevokedToken>, ReadError>;
}
