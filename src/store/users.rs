//! The port: accounts, API keys, and the tokens that were given back before their time.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, User, UserId, Username};
use crate::store::ReadError;

/// SHA-256 of an API key; who has it does not have the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// An account with what its password is checked against.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose.
    pub user: User,
    /// The password's hash in the PHC form.
    pub password_hash: Secret,
}

/// An API key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// What is known of it.
    pub key: ApiKey,
    /// What it is recognised by.
    pub digest: Digest,
}

/// A token that is worth nothing any more though its time is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// Its identity (`jti`).
    pub id: Uuid,
    /// When it expires by itself.
    pub expires_at: DateTime<Utc>,
}

/// Why something about users was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserWriteError {
    /// Somebody has that name.
    #[error("the name is taken")]
    NameTaken,
    /// The user has as many keys as one may have.
    #[error("no more keys")]
    TooManyKeys,
    /// It is not known whether it was stored.
    #[error("the database gave no answer: {0}")]
    Unavailable(String),
}

/// Users' durable truth. Every write is durable when it is answered.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Makes an account.
    async fn create_account(&self, account: &Account) -> Result<(), UserWriteError>;

    /// The account of that name.
    async fn account(&self, name: &Username) -> Result<Option<Account>, ReadError>;

    /// A user.
    async fn user(&self, id: UserId) -> Result<Option<User>, ReadError>;

    /// Makes an API key, unless its user has `most` already that are not revoked. Of many at once no more are made.
    async fn create_key(&self, key: &StoredKey, most: u32) -> Result<(), UserWriteError>;

    /// Revokes a key of that user for ever; whether there was one to revoke.
    async fn revoke_key(&self, user: UserId, id: KeyId, at: DateTime<Utc>) -> Result<bool, UserWriteError>;

    /// A user's keys that are not revoked, oldest first.
    async fn keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, ReadError>;

    /// Every key that is not revoked.
    async fn live_keys(&self) -> Result<Vec<StoredKey>, ReadError>;

    /// Revokes a token. Once more is no mistake.
    async fn revoke_token(&self, token: RevokedToken) -> Result<(), UserWriteError>;

    /// Forgets the revoked tokens that had expired by then.
    async fn forget_revoked_tokens(&self, by: DateTime<Utc>) -> Result<(), UserWriteError>;

    /// Every revoked token that is remembered.
    async fn revoked_tokens(&self) -> Result<Vec<RevokedToken>, ReadError>;
}
