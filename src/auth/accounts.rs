//! What a user changes of the own account, and what the engine learns of changes by the command line.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::auth::Auth;
use crate::auth::error::AuthError;
use crate::auth::identity::{Identity, Login};
use crate::auth::password::Requester;
use crate::auth::user_access::StoreFailure;
use crate::domain::secret::Secret;
use crate::domain::user::{User, UserId};
use crate::store::users::{Account, AccountChange, Standing};

impl Auth {
    /// The user of an identity.
    pub async fn user(&self, id: UserId) -> Result<User, AuthError> {
        Ok(self.account_of(id).await?.user)
    }

    /// Replaces the password of a user who knows it. All tokens of the user end; the new one is in the answer.
    ///
    /// The change is durable when this returns, and the old tokens are refused.
    pub async fn change_password(
        &self,
        identity: Identity,
        old: Secret,
        new: Secret,
        from: IpAddr,
    ) -> Result<Login, AuthError> {
        let Account { user, standing, .. } = self.confirm_password(identity, old, from).await?;
        let hash = self.passwords.hash(Requester { from, name: &user.name }, new).await?;
        let standing = self.change(standing, AccountChange::Password(hash)).await?;
        tracing::info!(user_id = %user.id, "a password was changed");
        Ok(self.issue_token(user, standing.token_version, false))
    }

    /// The account of a user who proves the identity again by the password: a stolen token must not be enough for what
    /// follows. Wrong passwords are counted like failed logins.
    pub async fn confirm_password(
        &self,
        identity: Identity,
        password: Secret,
        from: IpAddr,
    ) -> Result<Account, AuthError> {
        let account = self.account_of(identity.user).await?;
        let name = &account.user.name;
        self.attempts().count_login(name, from, Instant::now())?;
        let hash = Some(account.password_hash.clone());
        let matches = self.passwords.verify(Requester { from, name }, password, hash).await;
        if !matches!(matches, Ok(false)) {
            self.attempts().uncount(name, from, false);
        }
        match matches? {
            false => Err(AuthError::WrongPassword),
            // The token may have ended meanwhile.
            true if !self.holds(&identity) => Err(AuthError::InvalidCredential),
            true => Ok(account),
        }
    }

    /// The right to delete an account. One is deleted at a time: before its deletion the orders of the user are stopped,
    /// and after a failure admitted again, and a concurrent deletion of the same account would mix these steps up.
    pub async fn deletion_turn(&self) -> Result<OwnedMutexGuard<()>, AuthError> {
        timeout(self.users.timeout, self.deletions.clone().lock_owned()).await.map_err(|_| AuthError::Unavailable)
    }

    /// Deletes an account whose user has confirmed the password, unless an order of the user is open. No order of the
    /// user may be admitted meanwhile.
    ///
    /// The deletion is durable when this returns. After [`AuthError::Unavailable`] it may be or not:
    /// [`Auth::is_deleted`] knows.
    pub async fn delete_account(&self, account: &Account) -> Result<(), AuthError> {
        self.change(account.standing, AccountChange::Delete).await?;
        tracing::info!(user_id = %account.user.id, "an account was deleted");
        Ok(())
    }

    /// Whether the account of a user is deleted, after every change that was begun before.
    pub async fn is_deleted(&self, user: UserId) -> Result<bool, AuthError> {
        Ok(!self.users.ask(move |store| async move { Ok(store.remains(user).await?) }).await?)
    }

    /// Reads the changes of accounts since the last call, most of which are of another process. Returns whether there
    /// were any: then sockets may have to end.
    pub async fn learn_changes(&self) -> bool {
        let after = self.learnt.load(Ordering::Relaxed);
        let changed = self.users.try_ask(move |store| async move { Ok(store.standings(after).await?) }).await;
        let changed = match changed {
            Ok(changed) => changed,
            // The outage is reported where it matters; this is tried again soon.
            Err(StoreFailure::NoAnswer(reason)) => {
                tracing::debug!(reason, "changes of accounts cannot be read");
                return false;
            }
            Err(StoreFailure::Refused(_)) => return false,
        };
        let Some(latest) = changed.last() else { return false };
        self.learnt.store(latest.revision, Ordering::Relaxed);
        let mut cache = self.cache_mut();
        for standing in changed {
            if cache.learn(standing) {
                let Standing { user, scopes, is_active, .. } = standing;
                tracing::info!(user_id = %user, is_active, %scopes, "an account was changed by another process");
            }
        }
        true
    }

    async fn account_of(&self, id: UserId) -> Result<Account, AuthError> {
        let account = self.users.ask(move |store| async move { Ok(store.account_of(id).await?) }).await?;
        // It can be missing: it was deleted meanwhile, or the database was restored.
        account.ok_or(AuthError::InvalidCredential)
    }

    /// Changes an account unless it was changed since it was read. The change is durable when this returns.
    async fn change(&self, read: Standing, change: AccountChange) -> Result<Standing, AuthError> {
        let (now, version) = (self.clock.now(), Some(read.token_version));
        let standing = self
            .users
            .ask(move |store| async move { Ok(store.change_account(read.user, change, version, now).await?) })
            .await?;
        self.cache_mut().learn(standing);
        Ok(standing)
    }
}
