//! Access to the store of users, on the thread that its connections belong to and with a timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::auth::error::AuthError;
use crate::runtime::placement::Placement;
use crate::store::ReadError;
use crate::store::users::{UserStore, UserWriteError};

/// Access to the store of users.
pub(super) struct UserAccess {
    /// `None` if there are no users.
    pub(super) store: Option<Arc<dyn UserStore>>,
    /// The thread of the store.
    pub(super) home: Placement,
    /// The maximum time of an answer.
    pub(super) timeout: Duration,
}

impl UserAccess {
    /// Asks the store. The question continues after its caller has left, but only until its timeout: on a dead network
    /// connection it would occupy a database connection that commits need.
    pub(super) async fn ask<T, F>(&self, question: impl FnOnce(Arc<dyn UserStore>) -> F) -> Result<T, AuthError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreFailure>> + Send + 'static,
    {
        let store = self.store.clone().ok_or(AuthError::Unavailable)?;
        let answer = timeout(self.timeout, question(store));
        // The second timeout is for a thread that is too busy to start the question.
        let reason = match timeout(self.timeout, self.home.run(answer)).await {
            Ok(Some(Ok(Ok(answer)))) => return Ok(answer),
            Ok(Some(Ok(Err(StoreFailure::NameTaken)))) => return Err(AuthError::NameTaken),
            Ok(Some(Ok(Err(StoreFailure::TooManyKeys)))) => return Err(AuthError::TooManyKeys),
            Ok(Some(Ok(Err(StoreFailure::NoAnswer(reason))))) => reason,
            Ok(Some(Err(_))) | Err(_) => format!("not within {:?}", self.timeout),
            Ok(None) => "its thread has stopped".to_owned(),
        };
        tracing::warn!(reason, "the store of users did not answer");
        Err(AuthError::Unavailable)
    }
}

/// Why the store did not do what was asked.
pub(super) enum StoreFailure {
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
