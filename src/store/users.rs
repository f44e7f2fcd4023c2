//! The port: what the engine asks of the store of users: accounts, API keys and revoked tokens.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, Scopes, User, UserId, Username};
use crate::store::error::ReadError;

/// SHA-256 of an API key or a ticket. The key cannot be computed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// An account that is to be created.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The user.
    pub user: User,
    /// The hash of the password in the PHC string format.
    pub password_hash: Secret,
    /// The scopes of the user.
    pub scopes: Scopes,
}

/// An account that is not deleted.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user.
    pub user: User,
    /// The hash of the password in the PHC string format.
    pub password_hash: Secret,
    /// What the user may do.
    pub standing: Standing,
}

/// What decides about the credentials of a user, as of one change of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The user.
    pub user: UserId,
    /// The number of the change. The changes of all accounts are numbered in the order in which they are committed.
    pub revision: i64,
    /// The version of the tokens that are valid.
    pub token_version: i64,
    /// The scopes of the user.
    pub scopes: Scopes,
    /// Whether the account is neither disabled nor deleted.
    pub is_active: bool,
}

/// A change of an account.
#[derive(Clone, Debug)]
pub enum AccountChange {
    /// Another password, with this hash. The tokens of the user end.
    Password(Secret),
    /// The user is kept out. The tokens of the user end, and API keys are not accepted.
    Disable,
    /// The user is admitted again. API keys are accepted again.
    Enable,
    /// The user has these scopes too.
    Grant(Scopes),
    /// The user has these scopes no more.
    Revoke(Scopes),
    /// Everything of the user is removed but the id, which the orders keep. Refused while an order is open.
    Delete,
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
    /// The account does not exist, or is deleted.
    #[error("there is no such account")]
    NoSuchAccount,
    /// The password of the account, or its state, was changed meanwhile.
    #[error("the account was changed meanwhile")]
    Changed,
    /// This number of orders of the user is open.
    #[error("{0} orders are open")]
    OpenOrders(u64),
    /// The database did not answer. The change may or may not be stored.
    #[error("the database gave no answer: {0}")]
    Unavailable(String),
}

/// Stores users. Every write is durable when the method returns.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Creates an account.
    async fn create_account(&self, account: &NewAccount) -> Result<Standing, UserWriteError>;

    /// The account with this name.
    async fn account(&self, name: &Username) -> Result<Option<Account>, ReadError>;

    /// The account of this user.
    async fn account_of(&self, id: UserId) -> Result<Option<Account>, ReadError>;

    /// All accounts, oldest first.
    async fn accounts(&self) -> Result<Vec<Account>, ReadError>;

    /// Changes an account, at this time. With a version, only if the tokens of the account still have it.
    async fn change_account(
        &self,
        id: UserId,
        change: AccountChange,
        of_version: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<Standing, UserWriteError>;

    /// Whether an account is there and not deleted, after every change that was begun before.
    async fn remains(&self, id: UserId) -> Result<bool, UserWriteError>;

    /// The standing of each account that was changed after this revision, deleted ones included, in the order of the
    /// changes. A negative revision is before all of them.
    async fn standings(&self, after: i64) -> Result<Vec<Standing>, ReadError>;

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
