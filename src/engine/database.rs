//! Opens the database: the lock first, the store later.
//!
//! All of this runs on the database thread: connections belong to the runtime that opened them.

use std::sync::Arc;

use crate::config::{LedgerPlace, SecretPlace, Settings};
use crate::engine::error::StartError;
use crate::runtime::placement::Placement;
use crate::store::lock::{EngineLock, LockError};
use crate::store::users::UserStore;
use crate::store::{OrderStore, SeaStore};

/// Where the engine records orders.
pub(super) enum Database {
    /// A store of the caller, which also decides who else may use it.
    OfCaller(Arc<dyn OrderStore>),
    /// The database of the settings, locked for this engine.
    Locked(Arc<EngineLock>),
}

/// An open store.
pub(super) struct OpenStore {
    pub(super) orders: Arc<dyn OrderStore>,
    /// `None` if the store keeps no accounts.
    pub(super) users: Option<Arc<dyn UserStore>>,
    /// When the backup was made from which the database was restored, until the operator has decided.
    pub(super) restored_from: Option<String>,
}

impl Database {
    /// Uses the caller's store, or locks the database of the settings.
    pub(super) async fn claim(
        store: Option<Arc<dyn OrderStore>>,
        settings: &Arc<Settings>,
        thread: &Placement,
    ) -> Result<Self, StartError> {
        if let Some(store) = store {
            return Ok(Self::OfCaller(store));
        }
        let lock = {
            let settings = settings.clone();
            thread.run(async move { EngineLock::acquire(&settings.database).await }).await
        };
        let lock = lock.ok_or(StartError::Broken)?.map_err(|error| match error {
            LockError::Database(error) => StartError::Database(error),
            error => error.into(),
        })?;
        refuse_second_use(settings, &lock)?;
        Ok(Self::Locked(Arc::new(lock)))
    }

    /// Opens the store and brings the schema up to date.
    pub(super) async fn open(&self, settings: &Arc<Settings>, thread: &Placement) -> Result<OpenStore, StartError> {
        let lock = match self {
            Self::OfCaller(store) => return Ok(OpenStore { orders: store.clone(), users: None, restored_from: None }),
            Self::Locked(lock) => lock.clone(),
        };
        let settings = settings.clone();
        let opened = thread.run(async move {
            let store = SeaStore::open_locked(&settings.database, &lock).await.map_err(|error| error.to_string())?;
            let restored_from = store.restored_from().await.map_err(|error| error.to_string())?;
            Ok((Arc::new(store), restored_from))
        });
        let (store, restored_from) = opened.await.ok_or(StartError::Broken)?.map_err(StartError::Database)?;
        Ok(OpenStore { orders: store.clone(), users: Some(store), restored_from })
    }

    /// The lock, if the database is that of the settings.
    pub(super) fn lock(&self) -> Option<&Arc<EngineLock>> {
        match self {
            Self::OfCaller(_) => None,
            Self::Locked(lock) => Some(lock),
        }
    }
}

/// Refuses settings that would write something else into the database file.
fn refuse_second_use(settings: &Settings, lock: &EngineLock) -> Result<(), StartError> {
    let ledger = match &settings.simulation.ledger {
        LedgerPlace::File(path) => Some(("simulation.ledger", path)),
        LedgerPlace::Memory => None,
    };
    let secret = match &settings.auth.secret {
        SecretPlace::File(path) => Some(("auth.secret_file", path)),
        SecretPlace::Given(_) | SecretPlace::Memory => None,
    };
    match ledger.into_iter().chain(secret).find(|(_, path)| lock.covers(path)) {
        Some((key, path)) => Err(StartError::SameFile { key, path: path.clone() }),
        None => Ok(()),
    }
}
