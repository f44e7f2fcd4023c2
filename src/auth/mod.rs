//! Authentication: accounts, tokens, API keys and tickets, and what each of them may do.
//!
//! A password is checked once, at the login; afterwards a token identifies the user. Tokens, keys and tickets are
//! checked in memory, so a request does not read the database. One engine uses the database, so of tokens and keys there
//! is nothing but what this process read at its start and changed since. Accounts are also changed by the command line;
//! the engine reads these changes within a second. A change is stored first and then takes effect in memory.
//!
//! - `accounts`: what a user changes of the own account, and what the engine learns of changes by others.
//! - `token` signs and reads tokens, with the secret of `secret_file`. `cache` has the users, the revoked tokens and the
//!   API keys.
//! - `tickets`: one-time credentials for a socket.
//! - `password` hashes passwords, a few at a time; `fair_queue` and `share` divide the turns between addresses.
//! - `attempts` and `throttle` limit the attempts to log in.
//! - `user_access`: the way to the store of users.

mod accounts;
mod address;
mod attempts;
mod cache;
mod error;
mod fair_queue;
mod identity;
mod password;
mod random;
mod secret_file;
mod share;
mod throttle;
mod tickets;
mod token;
mod user_access;

use std::net::IpAddr;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;
use uuid::Uuid;

pub(crate) use self::address::network;
use self::attempts::LoginAttempts;
use self::cache::CredentialCache;
pub use self::error::{AuthError, AuthStartError, LoginFailure};
pub use self::identity::{Credential, Identity, Login};
pub use self::password::hash as hash_password;
use self::password::{Passwords, Requester};
use self::random::{digest, random_text};
pub use self::secret_file::SecretFileError;
use self::tickets::Tickets;
use self::token::Signer;
use self::user_access::UserAccess;
use crate::config::{AuthSettings, SecretPlace};
use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, Scopes, User, UserId, Username};
use crate::runtime::clock::Clock;
use crate::runtime::placement::Placement;
use crate::store::users::{Account, NewAccount, RevokedToken, StoredKey, UserStore};

/// Authenticates clients.
pub struct Auth {
    settings: AuthSettings,
    clock: Clock,
    signer: Signer,
    passwords: Passwords,
    users: UserAccess,
    cache: RwLock<CredentialCache>,
    // The latest change of an account that the store was asked about. A change of this process may be later.
    learnt: AtomicI64,
    tickets: Mutex<Tickets>,
    // Keys are created one at a time: concurrent creations for one user wait for each other in the database, and each
    // would occupy a connection that commits need.
    key_turn: tokio::sync::Mutex<()>,
    // Accounts are deleted one at a time: see `deletion_turn`.
    deletions: Arc<tokio::sync::Mutex<()>>,
    attempts: Mutex<LoginAttempts>,
}

impl Auth {
    const KEY_PREFIX: &str = "oek_";
    /// The maximum number of keys of one user.
    const MAX_KEYS: u32 = 50;
    const BEFORE_ALL_CHANGES: i64 = -1;

    /// Reads or creates the secret, and reads the users, the revoked tokens and the API keys.
    ///
    /// The store is used on the thread of `home`, and each answer may take up to `answer_timeout`. Without a store
    /// there are no users.
    pub async fn start(
        settings: AuthSettings,
        clock: Clock,
        answer_timeout: Duration,
        store: Option<Arc<dyn UserStore>>,
        home: Placement,
    ) -> Result<Self, AuthStartError> {
        let secret = match &settings.secret {
            SecretPlace::Given(secret) => secret.clone(),
            SecretPlace::File(path) => secret_file::read_or_create(path)?,
            SecretPlace::Memory => random_text(),
        };
        let users = UserAccess { store, home, timeout: answer_timeout };
        let (cache, learnt) = match users.store {
            None => (CredentialCache::default(), Self::BEFORE_ALL_CHANGES),
            Some(_) => {
                let standings =
                    users.ask(|store| async move { Ok(store.standings(Self::BEFORE_ALL_CHANGES).await?) }).await;
                let revoked = users.ask(|store| async move { Ok(store.revoked_tokens().await?) }).await;
                let keys = users.ask(|store| async move { Ok(store.live_keys().await?) }).await;
                match (standings, revoked, keys) {
                    (Ok(standings), Ok(revoked), Ok(keys)) => {
                        let latest = standings.last().map_or(Self::BEFORE_ALL_CHANGES, |latest| latest.revision);
                        (CredentialCache::new(&standings, revoked, keys), latest)
                    }
                    _ => return Err(AuthStartError::Unreadable),
                }
            }
        };
        let attempts =
            LoginAttempts::new(settings.attempts_per_name, settings.attempts_per_address, settings.attempts_window);
        Ok(Self {
            clock,
            signer: Signer::new(&secret, TimeDelta::from_std(settings.token_ttl).unwrap_or(TimeDelta::MAX)),
            passwords: Passwords::new(settings.hashes_at_once, answer_timeout),
            users,
            cache: RwLock::new(cache),
            learnt: AtomicI64::new(learnt),
            tickets: Mutex::default(),
            key_turn: tokio::sync::Mutex::default(),
            deletions: Arc::default(),
            attempts: Mutex::new(attempts),
            settings,
        })
    }

    /// Whether every client must authenticate.
    pub fn required(&self) -> bool {
        self.settings.required
    }

    /// The user of a token or API key, with the scopes of both.
    pub fn identify(&self, bearer: &str) -> Result<Identity, AuthError> {
        let identity = match bearer.starts_with(Self::KEY_PREFIX) {
            true => self.owner_of_key(bearer),
            false => self.bearer_of_token(bearer),
        };
        identity.filter(|identity| self.holds(identity)).ok_or(AuthError::InvalidCredential)
    }

    /// Whether an identity that was valid before is still valid, with all its scopes.
    pub fn holds(&self, identity: &Identity) -> bool {
        let cache = self.cache();
        let Some(standing) = cache.active(identity.user) else { return false };
        let credential = identity.credential;
        let is_live = match credential.expires_at {
            Some(_) => {
                let has_ended = credential.has_ended(Instant::now()) || cache.is_revoked(credential.id);
                !has_ended && credential.version == standing.token_version
            }
            None => cache.is_live_key(credential.id),
        };
        is_live && standing.scopes.contain_all(identity.scopes)
    }

    /// Creates a ticket for one socket of this identity. Returns it with its expiry.
    pub fn ticket(&self, identity: Identity, from: IpAddr) -> Result<(Secret, DateTime<Utc>), AuthError> {
        let ticket = random_text();
        if !self.tickets().add(digest(ticket.expose()), identity, network(from), Instant::now()) {
            return Err(AuthError::TooManyTickets);
        }
        Ok((ticket, self.clock.now() + Tickets::TTL))
    }

    /// Uses up a ticket. It is valid once, and only as long as the credential with which it was created.
    pub fn redeem(&self, ticket: &str) -> Result<Identity, AuthError> {
        let identity = self.tickets().redeem(&digest(ticket), Instant::now()).ok_or(AuthError::InvalidCredential)?;
        if self.holds(&identity) { Ok(identity) } else { Err(AuthError::InvalidCredential) }
    }

    /// Creates an account and logs its user in.
    pub async fn register(&self, name: Username, password: Secret, from: IpAddr) -> Result<Login, AuthError> {
        self.attempts().count_registration(from, Instant::now())?;
        self.create_account(Requester { from, name: &name }, password).await
    }

    /// Logs a user in.
    pub async fn log_in(&self, name: Username, password: Secret, from: IpAddr) -> Result<Login, AuthError> {
        self.attempts().count_login(&name, from, Instant::now())?;
        let login = match self.account(&name).await {
            Ok(account) => self.check_password(Requester { from, name: &name }, account, password).await,
            Err(error) => Err(error),
        };
        self.settle_attempt(&name, from, &login);
        login
    }

    /// Logs a user in, or creates the account if the name is free and registration is open.
    pub async fn enter(&self, name: Username, password: Secret, from: IpAddr) -> Result<Login, AuthError> {
        self.attempts().count_login(&name, from, Instant::now())?;
        let login = self.log_in_or_create(Requester { from, name: &name }, password).await;
        self.settle_attempt(&name, from, &login);
        login
    }

    /// Revokes a token. The revocation is durable when this returns.
    pub async fn revoke_token(&self, id: Uuid, expires_at: DateTime<Utc>) -> Result<(), AuthError> {
        let (token, now) = (RevokedToken { id, expires_at }, self.clock.now());
        self.users.ask(move |store| async move { Ok(store.revoke_token(token).await?) }).await?;
        let forgotten = self.cache_mut().revoke_token(id, expires_at, now);
        if let Some(by) = forgotten {
            // If this fails, the rows remain until the next time.
            let _ = self.users.ask(move |store| async move { Ok(store.forget_revoked_tokens(by).await?) }).await;
        }
        Ok(())
    }

    /// Creates an API key with these scopes, or with all of the user that a key gets without being asked for. The secret
    /// key is returned here and never again.
    pub async fn create_key(
        &self,
        user: UserId,
        name: String,
        scopes: Option<Scopes>,
    ) -> Result<(ApiKey, Secret), AuthError> {
        /// The length of the prefix that identifies a key to its user. It has too few random characters to guess the
        /// rest.
        const SHOWN: usize = Auth::KEY_PREFIX.len() + 6;
        let of_user = self.cache().active(user).ok_or(AuthError::InvalidCredential)?.scopes;
        let scopes = scopes.unwrap_or(of_user.within(Scopes::READ_AND_TRADE));
        if scopes.is_empty() || !of_user.contain_all(scopes) {
            return Err(AuthError::MissingScope(scopes.without(of_user)));
        }
        let text = Secret::new(format!("{}{}", Self::KEY_PREFIX, random_text().expose()));
        let prefix = text.expose().chars().take(SHOWN).collect();
        let (id, created_at) = (KeyId(Uuid::now_v7()), self.clock.now());
        let key = ApiKey { id, user, name, scopes, prefix, created_at };
        let stored = StoredKey { key: key.clone(), digest: digest(text.expose()) };
        let row = stored.clone();
        {
            let _turn = timeout(self.users.timeout, self.key_turn.lock()).await.map_err(|_| AuthError::Unavailable)?;
            self.users.ask(move |store| async move { Ok(store.create_key(&row, Self::MAX_KEYS).await?) }).await?;
        }
        self.cache_mut().add_key(stored);
        tracing::info!(user_id = %user, key_id = %id.0, "an API key was created");
        Ok((key, text))
    }

    /// The API keys of a user.
    pub async fn keys(&self, user: UserId) -> Result<Vec<ApiKey>, AuthError> {
        self.users.ask(move |store| async move { Ok(store.keys_of(user).await?) }).await
    }

    /// Revokes a key of the user. The revocation is durable when this returns.
    pub async fn revoke_key(&self, user: UserId, id: KeyId) -> Result<(), AuthError> {
        let now = self.clock.now();
        let revoked = self.users.ask(move |store| async move { Ok(store.revoke_key(user, id, now).await?) }).await?;
        // An earlier revocation whose answer was lost is stored, but the key is still in the cache.
        if !(self.cache_mut().remove_key(user, id) || revoked) {
            return Err(AuthError::UnknownKey);
        }
        tracing::info!(user_id = %user, key_id = %id.0, "an API key was revoked");
        Ok(())
    }

    fn owner_of_key(&self, key: &str) -> Option<Identity> {
        let cache = self.cache();
        let (id, user, scopes) = cache.key(&digest(key))?;
        let credential = Credential { id: id.0, expires_at: None, version: 0, ends: None };
        Some(Identity { user, scopes: scopes.within(cache.active(user)?.scopes), credential })
    }

    fn bearer_of_token(&self, token: &str) -> Option<Identity> {
        let now = self.clock.now();
        let token = self.signer.read(token, now)?;
        let left = (token.expires_at - now).to_std().unwrap_or_default();
        let ends = Instant::now().checked_add(left);
        let credential =
            Credential { id: token.token, expires_at: Some(token.expires_at), version: token.version, ends };
        Some(Identity { user: token.user, scopes: self.cache().active(token.user)?.scopes, credential })
    }

    async fn log_in_or_create(&self, requester: Requester<'_>, password: Secret) -> Result<Login, AuthError> {
        let mut account = self.account(requester.name).await?;
        if account.is_none() && self.settings.registration_open {
            match self.create_account(requester, password.clone()).await {
                // A concurrent request created the account; it may be a request of the same user.
                Err(AuthError::NameTaken) => account = self.account(requester.name).await?,
                login => return login,
            }
        }
        self.check_password(requester, account, password).await
    }

    async fn account(&self, name: &Username) -> Result<Option<Account>, AuthError> {
        let name = name.clone();
        self.users.ask(move |store| async move { Ok(store.account(&name).await?) }).await
    }

    async fn create_account(&self, requester: Requester<'_>, password: Secret) -> Result<Login, AuthError> {
        if !self.settings.registration_open {
            return Err(AuthError::RegistrationClosed);
        }
        let password_hash = self.passwords.hash(requester, password).await?;
        let user = User { id: UserId(Uuid::now_v7()), name: requester.name.clone(), created_at: self.clock.now() };
        let account = NewAccount { user: user.clone(), password_hash, scopes: self.settings.default_scopes };
        let standing = self.users.ask(move |store| async move { Ok(store.create_account(&account).await?) }).await?;
        self.cache_mut().learn(standing);
        tracing::info!(user_id = %user.id, "an account was created");
        Ok(self.issue_token(user, standing.token_version, true))
    }

    /// Checks a password. An unknown name and a wrong password give the same answer after the same work.
    async fn check_password(
        &self,
        requester: Requester<'_>,
        account: Option<Account>,
        password: Secret,
    ) -> Result<Login, AuthError> {
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let matches = self.passwords.verify(requester, password, hash).await?;
        let Some(Account { user, standing, .. }) = account else {
            return Err(AuthError::InvalidLogin(LoginFailure::UnknownName));
        };
        if !matches {
            return Err(AuthError::InvalidLogin(LoginFailure::WrongPassword));
        }
        if !standing.is_active {
            return Err(AuthError::Disabled);
        }
        let mut cache = self.cache_mut();
        cache.learn(standing);
        // The password may have been changed while it was checked.
        match cache.active(user.id) {
            Some(now) if now.token_version == standing.token_version => {
                Ok(self.issue_token(user, standing.token_version, false))
            }
            _ => Err(AuthError::InvalidLogin(LoginFailure::WrongPassword)),
        }
    }

    fn issue_token(&self, user: User, version: i64, created: bool) -> Login {
        let issued = self.signer.issue(user.id, version, self.clock.now());
        Login { user, token: issued.text, expires_at: issued.expires_at, created }
    }

    /// Uncounts an attempt unless it was a failed login.
    fn settle_attempt(&self, name: &Username, from: IpAddr, login: &Result<Login, AuthError>) {
        if !matches!(login, Err(AuthError::InvalidLogin(_))) {
            let created_account = matches!(login, Ok(Login { created: true, .. }));
            self.attempts().uncount(name, from, created_account);
        }
    }

    fn cache(&self) -> RwLockReadGuard<'_, CredentialCache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache_mut(&self) -> RwLockWriteGuard<'_, CredentialCache> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, LoginAttempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
