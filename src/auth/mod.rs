//! Who asks: accounts, tokens, API keys and tickets, and what each may do.
//!
//! A password is checked once, at the login; from then on a token says who somebody is. Tokens, keys and tickets are
//! judged from memory, so that a request costs no look into the database: one engine has it, so what this process
//! knows of revoked tokens and live keys, read at the start, is all there is to know. What is revoked is durable first
//! and then forgotten here.

mod fair_queue;
mod password;
mod secret_file;
mod share;
mod throttle;
mod tickets;
mod token;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::time::timeout;
use uuid::Uuid;

pub use secret_file::SecretFileError;

use self::password::{HashOwner, Passwords};
use self::throttle::Throttle;
use self::tickets::Tickets;
use self::token::Signer;
use crate::config::{AuthSettings, SecretPlace};
use crate::domain::secret::Secret;
use crate::domain::user::{ApiKey, KeyId, Scopes, User, UserId, Username};
use crate::runtime::clock::Clock;
use crate::runtime::placement::Placement;
use crate::store::ReadError;
use crate::store::users::{Account, Digest, RevokedToken, StoredKey, UserStore, UserWriteError};

/// Judges who asks.
pub struct Auth {
    settings: AuthSettings,
    clock: Clock,
    signer: Signer,
    passwords: Passwords,
    users: Users,
    known: RwLock<Caches>,
    tickets: Mutex<Tickets>,
    // One key is made at a time: of many at once each would wait for the one before it in a connection of its own, and
    // commits need those.
    key_turn: tokio::sync::Mutex<()>,
    attempts: Mutex<Attempts>,
}

/// Somebody who has proved who they are, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Who.
    pub user: UserId,
    /// What they may do with this credential.
    pub scopes: Scopes,
    /// The credential, also where a ticket stood for it.
    pub credential: Credential,
}

/// A token or an API key, without what makes it worth something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The token's or key's identity.
    pub id: Uuid,
    /// When the token expires, by the machine's clock; a key does not.
    pub expires_at: Option<DateTime<Utc>>,
    /// The same moment as it was when the credential was shown, on a clock that nobody sets: what was opened with it
    /// ends then, whatever becomes of the machine's clock meanwhile.
    pub ends: Option<Instant>,
}

impl Credential {
    /// Whether its time is over.
    pub fn has_ended(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// A fresh login.
#[derive(Debug)]
pub struct Login {
    /// Who.
    pub user: User,
    /// The token.
    pub token: Secret,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
    /// Whether the account was made for it.
    pub created: bool,
}

/// Why somebody is not let in, or does not get what they want.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// Such a token, key or ticket is not known here, or not any more.
    #[error("the credential is not valid")]
    InvalidCredential,
    /// There is no user of that name and password.
    #[error("no user has this name and password")]
    InvalidLogin,
    /// Too many have tried by that name, or from that address.
    #[error("too many attempts")]
    TooManyAttempts(Duration),
    /// Somebody has that name.
    #[error("the name is taken")]
    NameTaken,
    /// New accounts are not made here.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The user has as many keys as one may have.
    #[error("no more keys")]
    TooManyKeys,
    /// As many tickets are open as may be, of the user or of all.
    #[error("no more tickets")]
    TooManyTickets,
    /// The user has no such key.
    #[error("there is no such key")]
    UnknownKey,
    /// Too many passwords wait to be checked.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// The database does not answer.
    #[error("no answer can be had just now")]
    Unavailable,
}

/// Why nobody can be judged at all.
#[derive(Debug, Error)]
pub enum AuthStartError {
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// What is revoked cannot be read.
    #[error("the users cannot be read")]
    Unreadable,
}

/// What is looked up with each request.
#[derive(Default)]
struct Caches {
    // By when each expires. Bounded by `forget_at` and the logins of some weeks, each of which costs a password's hash.
    revoked: HashMap<Uuid, DateTime<Utc>>,
    // Above this number those that expired long ago are forgotten.
    forget_at: usize,
    keys: HashMap<Digest, (KeyId, UserId, Scopes)>,
    live_keys: HashSet<Uuid>,
}

impl Caches {
    /// Fewer are kept for ever: that costs a few megabytes, and no clock that ran ahead can make a token good again whose
    /// revocation was forgotten meanwhile.
    const FORGET_FROM: usize = 50_000;
    /// Beyond that number those are forgotten that expired so long ago. A machine's clock is the only one there is, and it
    /// may run ahead by days unnoticed.
    const FORGET_AFTER: TimeDelta = TimeDelta::days(60);

    fn add_key(&mut self, StoredKey { key, digest }: StoredKey) {
        self.keys.insert(digest, (key.id, key.user, key.scopes));
        self.live_keys.insert(key.id.0);
    }

    /// Whether that user had such a key.
    fn remove_key(&mut self, user: UserId, id: KeyId) -> bool {
        let removed = self.keys.extract_if(|_, (known, owner, _)| (*known, *owner) == (id, user)).count() > 0;
        removed && self.live_keys.remove(&id.0)
    }

    /// Remembers that a token is revoked. Where there are so many that old ones are forgotten, says which: those that
    /// expired by then.
    fn revoke_token(&mut self, id: Uuid, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.revoked.insert(id, expires_at);
        if self.revoked.len() <= self.forget_at.max(Self::FORGET_FROM) {
            return None;
        }
        let by = now - Self::FORGET_AFTER;
        self.revoked.retain(|_, until| *until > by);
        self.forget_at = 2 * self.revoked.len();
        Some(by)
    }
}

/// Who has tried to come in lately.
struct Attempts {
    by_name: Throttle<String>,
    by_address: Throttle<IpAddr>,
}

impl Auth {
    const KEY_PREFIX: &str = "oek_";
    /// More keys one user may not have.
    const MAX_KEYS: u32 = 50;

    /// Reads or makes the secret, and reads what is revoked.
    ///
    /// The store is asked on the thread of `home`; without one there are no users.
    pub async fn start(
        settings: AuthSettings,
        clock: Clock,
        patience: Duration,
        store: Option<Arc<dyn UserStore>>,
        home: Placement,
    ) -> Result<Self, AuthStartError> {
        let secret = match &settings.secret {
            SecretPlace::Given(secret) => secret.clone(),
            SecretPlace::File(path) => secret_file::read_or_create(path)?,
            SecretPlace::Memory => random_text(),
        };
        let users = Users { store, home, patience };
        let known = match users.store {
            None => Caches::default(),
            Some(_) => {
                let revoked = users.ask(|store| async move { Ok(store.revoked_tokens().await?) }).await;
                let keys = users.ask(|store| async move { Ok(store.live_keys().await?) }).await;
                let (revoked, keys) =
                    revoked.and_then(|revoked| Ok((revoked, keys?))).map_err(|_| AuthStartError::Unreadable)?;
                let mut known = Caches::default();
                known.revoked.extend(revoked.into_iter().map(|token| (token.id, token.expires_at)));
                keys.into_iter().for_each(|key| known.add_key(key));
                known
            }
        };
        let window = settings.attempts_window;
        Ok(Self {
            clock,
            signer: Signer::new(&secret, TimeDelta::from_std(settings.token_ttl).unwrap_or(TimeDelta::MAX)),
            passwords: Passwords::new(settings.hashes_at_once, patience),
            users,
            known: RwLock::new(known),
            tickets: Mutex::default(),
            key_turn: tokio::sync::Mutex::default(),
            attempts: Mutex::new(Attempts {
                by_name: Throttle::new(settings.attempts_per_name, window),
                by_address: Throttle::new(settings.attempts_per_address, window),
            }),
            settings,
        })
    }

    /// Whether nobody is served who does not say who they are.
    pub fn required(&self) -> bool {
        self.settings.required
    }

    /// Whose token or API key that is.
    pub fn identify(&self, bearer: &str) -> Result<Identity, AuthError> {
        if bearer.starts_with(Self::KEY_PREFIX) {
            let (id, user, scopes) = *self.known().keys.get(&digest(bearer)).ok_or(AuthError::InvalidCredential)?;
            let credential = Credential { id: id.0, expires_at: None, ends: None };
            return Ok(Identity { user, scopes, credential });
        }
        let now = self.clock.now();
        let token = self.signer.read(bearer, now).ok_or(AuthError::InvalidCredential)?;
        let left = (token.expires_at - now).to_std().unwrap_or_default();
        let ends = Instant::now().checked_add(left);
        let credential = Credential { id: token.token, expires_at: Some(token.expires_at), ends };
        let identity = Identity { user: token.user, scopes: Scopes::ALL, credential };
        if self.holds(credential) { Ok(identity) } else { Err(AuthError::InvalidCredential) }
    }

    /// Whether a credential that was good once still is.
    pub fn holds(&self, credential: Credential) -> bool {
        let known = self.known();
        match credential.expires_at {
            Some(_) => !credential.has_ended(Instant::now()) && !known.revoked.contains_key(&credential.id),
            None => known.live_keys.contains(&credential.id),
        }
    }

    /// A pass for one socket on behalf of that identity, and when it expires.
    pub fn ticket(&self, identity: Identity, from: IpAddr) -> Result<(Secret, DateTime<Utc>), AuthError> {
        let ticket = random_text();
        if !self.tickets().add(digest(ticket.expose()), identity, network(from), Instant::now()) {
            return Err(AuthError::TooManyTickets);
        }
        Ok((ticket, self.clock.now() + Tickets::TTL))
    }

    /// Whose ticket that is. It is good only once, and only as long as what it stands for.
    pub fn redeem(&self, ticket: &str) -> Result<Identity, AuthError> {
        let identity = self.tickets().redeem(&digest(ticket), Instant::now()).ok_or(AuthError::InvalidCredential)?;
        if self.holds(identity.credential) { Ok(identity) } else { Err(AuthError::InvalidCredential) }
    }

    /// Makes an account and logs it in.
    pub async fn register(&self, name: Username, password: Secret, from: IpAddr) -> Result<Login, AuthError> {
        self.attempt_from(from)?;
        self.create(HashOwner { from, name: &name }, password).await
    }

    /// Logs somebody in.
    pub async fn log_in(&self, name: Username, password: Secret, from: IpAddr) -> Result<Login, AuthError> {
        self.attempt(&name, from)?;
        let login = match self.account(&name).await {
            Ok(account) => self.check(HashOwner { from, name: &name }, account, password).await,
            Err(error) => Err(error),
        };
        self.attempted(&name, from, &login);
        login
    }

    /// Logs somebody in, or makes the account where nobody has the name and registration is open.
    pub async fn enter(&self, name: Username, password: Secret, from: IpAddr) -> Result<Login, AuthError> {
        self.attempt(&name, from)?;
        let login = self.enter_unhindered(HashOwner { from, name: &name }, password).await;
        self.attempted(&name, from, &login);
        login
    }

    async fn enter_unhindered(&self, asker: HashOwner<'_>, password: Secret) -> Result<Login, AuthError> {
        let mut account = self.account(asker.name).await?;
        if account.is_none() && self.settings.registration_open {
            match self.create(asker, password.clone()).await {
                // Somebody was quicker; perhaps it was the same somebody.
                Err(AuthError::NameTaken) => account = self.account(asker.name).await?,
                login => return login,
            }
        }
        self.check(asker, account, password).await
    }

    /// The user behind an identity.
    pub async fn user(&self, id: UserId) -> Result<User, AuthError> {
        let user = self.users.ask(move |store| async move { Ok(store.user(id).await?) }).await?;
        // A token of another server with the same secret, or of a database that was put back.
        user.ok_or(AuthError::InvalidCredential)
    }

    /// Makes that token worthless, durably.
    pub async fn revoke_token(&self, id: Uuid, expires_at: DateTime<Utc>) -> Result<(), AuthError> {
        let (token, now) = (RevokedToken { id, expires_at }, self.clock.now());
        self.users.ask(move |store| async move { Ok(store.revoke_token(token).await?) }).await?;
        let forgotten = self.known_mut().revoke_token(id, expires_at, now);
        if let Some(by) = forgotten {
            // Where that is not done, their rows stay until the next time.
            let _ = self.users.ask(move |store| async move { Ok(store.forget_revoked_tokens(by).await?) }).await;
        }
        Ok(())
    }

    /// Makes an API key. The key itself is told here and never again.
    pub async fn create_key(&self, user: UserId, name: String, scopes: Scopes) -> Result<(ApiKey, Secret), AuthError> {
        /// So many characters of the random part show which key it is, and too few to be of use.
        const SHOWN: usize = Auth::KEY_PREFIX.len() + 6;
        let text = Secret::new(format!("{}{}", Self::KEY_PREFIX, random_text().expose()));
        let prefix = text.expose().chars().take(SHOWN).collect();
        let (id, created_at) = (KeyId(Uuid::now_v7()), self.clock.now());
        let key = ApiKey { id, user, name, scopes, prefix, created_at };
        let stored = StoredKey { key: key.clone(), digest: digest(text.expose()) };
        let row = stored.clone();
        {
            let _turn = timeout(self.users.patience, self.key_turn.lock()).await.map_err(|_| AuthError::Unavailable)?;
            self.users.ask(move |store| async move { Ok(store.create_key(&row, Self::MAX_KEYS).await?) }).await?;
        }
        self.known_mut().add_key(stored);
        tracing::info!(user_id = %user, key_id = %id.0, "an API key was made");
        Ok((key, text))
    }

    /// A user's keys.
    pub async fn keys(&self, user: UserId) -> Result<Vec<ApiKey>, AuthError> {
        self.users.ask(move |store| async move { Ok(store.keys_of(user).await?) }).await
    }

    /// Makes a key of that user worthless, durably.
    pub async fn revoke_key(&self, user: UserId, id: KeyId) -> Result<(), AuthError> {
        let now = self.clock.now();
        let revoked = self.users.ask(move |store| async move { Ok(store.revoke_key(user, id, now).await?) }).await?;
        // It may have been revoked before by a write whose answer was lost, and still be known here.
        if !(self.known_mut().remove_key(user, id) || revoked) {
            return Err(AuthError::UnknownKey);
        }
        tracing::info!(user_id = %user, key_id = %id.0, "an API key was revoked");
        Ok(())
    }

    async fn account(&self, name: &Username) -> Result<Option<Account>, AuthError> {
        let name = name.clone();
        self.users.ask(move |store| async move { Ok(store.account(&name).await?) }).await
    }

    async fn create(&self, asker: HashOwner<'_>, password: Secret) -> Result<Login, AuthError> {
        if !self.settings.registration_open {
            return Err(AuthError::RegistrationClosed);
        }
        let password_hash = self.passwords.hash(asker, password).await?;
        let user = User { id: UserId(Uuid::now_v7()), name: asker.name.clone(), created_at: self.clock.now() };
        let account = Account { user: user.clone(), password_hash };
        self.users.ask(move |store| async move { Ok(store.create_account(&account).await?) }).await?;
        // By the identity alone: a name may be a password that went into the wrong field.
        tracing::info!(user_id = %user.id, "an account was made");
        Ok(self.login(user, true))
    }

    /// Checks a password. Whether nobody has the name or the password is wrong, is the same answer after the same work.
    async fn check(
        &self,
        asker: HashOwner<'_>,
        account: Option<Account>,
        password: Secret,
    ) -> Result<Login, AuthError> {
        let (user, hash) = account.map(|account| (account.user, account.password_hash)).unzip();
        match (self.passwords.fits(asker, password, hash).await?, user) {
            (true, Some(user)) => Ok(self.login(user, false)),
            _ => Err(AuthError::InvalidLogin),
        }
    }

    fn login(&self, user: User, created: bool) -> Login {
        let issued = self.signer.issue(user.id, self.clock.now());
        Login { user, token: issued.text, expires_at: issued.expires_at, created }
    }

    /// Counts an attempt before it is made: of many at once no more get through than one after the other.
    fn attempt(&self, name: &Username, from: IpAddr) -> Result<(), AuthError> {
        self.attempt_from(from)?;
        self.attempts().by_name.take(name.folded(), Instant::now()).map_err(AuthError::TooManyAttempts)
    }

    fn attempt_from(&self, from: IpAddr) -> Result<(), AuthError> {
        self.attempts().by_address.take(network(from), Instant::now()).map_err(AuthError::TooManyAttempts)
    }

    /// What counts in the end: failures, and from an address also new accounts.
    fn attempted(&self, name: &Username, from: IpAddr, login: &Result<Login, AuthError>) {
        if matches!(login, Err(AuthError::InvalidLogin)) {
            return;
        }
        let mut attempts = self.attempts();
        attempts.by_name.give_back(&name.folded());
        if !matches!(login, Ok(Login { created: true, .. })) {
            attempts.by_address.give_back(&network(from));
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Caches> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Caches> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the store, whose connections belong to a thread of their own.
struct Users {
    store: Option<Arc<dyn UserStore>>,
    home: Placement,
    patience: Duration,
}

impl Users {
    /// Asks the store. What has been asked goes on where nobody waits any more, but no longer than that: over a line that
    /// is dead it would keep a connection that commits need.
    async fn ask<T, F>(&self, question: impl FnOnce(Arc<dyn UserStore>) -> F) -> Result<T, AuthError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreFailure>> + Send + 'static,
    {
        let store = self.store.clone().ok_or(AuthError::Unavailable)?;
        let answered = timeout(self.patience, question(store));
        // The thread itself may not come to it.
        let reason = match timeout(self.patience, self.home.run(answered)).await {
            Ok(Some(Ok(Ok(answer)))) => return Ok(answer),
            Ok(Some(Ok(Err(StoreFailure::NameTaken)))) => return Err(AuthError::NameTaken),
            Ok(Some(Ok(Err(StoreFailure::TooManyKeys)))) => return Err(AuthError::TooManyKeys),
            Ok(Some(Ok(Err(StoreFailure::NoAnswer(reason))))) => reason,
            Ok(Some(Err(_))) | Err(_) => format!("not within {:?}", self.patience),
            Ok(None) => "its thread has stopped".to_owned(),
        };
        tracing::warn!(reason, "a question about users was not answered");
        Err(AuthError::Unavailable)
    }
}

/// Why the store has not done as asked.
enum StoreFailure {
    NameTaken,
    TooManyKeys,
    NoAnswer(String),
}

impl From<ReadError> for StoreFailure {
    fn from(error: ReadError) -> Self {
        Self::NoAnswer(error.to_string())
    }
}

impl From<UserWriteError> for StoreFailure {
    fn from(error: UserWriteError) -> Self {
        match error {
            UserWriteError::NameTaken => Self::NameTaken,
            UserWriteError::TooManyKeys => Self::TooManyKeys,
            UserWriteError::Unavailable(reason) => Self::NoAnswer(reason),
        }
    }
}

/// What nobody guesses: 256 random bits.
fn random_text() -> Secret {
    let mut text = [0; 44];
    let length = five8::encode_32(&rand::random(), &mut text);
    Secret::new(String::from_utf8_lossy(&text[..length.into()]).into_owned())
}

fn digest(text: &str) -> Digest {
    Digest(Sha256::digest(text).into())
}

/// Whoever has one address of an IPv6 network has them all.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_not_forgotten_because_a_clock_runs_ahead() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut known = Caches::default();
        let first = Uuid::from_u128(0);
        assert_eq!(known.revoke_token(first, now + TimeDelta::days(1), now), None);
        for number in 1..Caches::FORGET_FROM as u128 {
            let in_years = now + TimeDelta::days(4_000);
            assert_eq!(known.revoke_token(Uuid::from_u128(number), in_years, in_years), None, "{number}");
        }
        assert!(known.revoked.contains_key(&first));
    }

    #[test]
    fn of_very_many_revocations_those_are_forgotten_that_expired_long_ago() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut known = Caches::default();
        let by = now - Caches::FORGET_AFTER;
        let mut forgotten = Vec::new();
        for number in 0..=Caches::FORGET_FROM as u128 {
            let expires_at = if number % 2 == 0 { by } else { by + TimeDelta::seconds(1) };
            forgotten.extend(known.revoke_token(Uuid::from_u128(number), expires_at, now));
        }
        assert_eq!(forgotten, [by]);
        assert_eq!(known.revoked.len(), Caches::FORGET_FROM / 2);
    }
}
