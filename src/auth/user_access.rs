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
    /// Asks the store, and logs it if there is no answer.
    pub(super) async fn ask<T, F>(&self, question: impl FnOnce(Arc<dyn UserStore>) -> F) -> Result<T, AuthError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreFailure>> + Send + 'static,
    {
        self.try_ask(question).await.map_err(|failure| match failure {
            StoreFailure::Refused(error) => error,
            StoreFailure::NoAnswer(reason) => {
                tracing::warn!(reason, "the store of users did not answer");
                AuthError::Unavailable
            }
        })
    }

    /// Asks the store. The question continues after its caller has left, but only until its timeout: on a dead network
    /// connection it would occupy a database connection that commits need.
    pub(super) async fn try_ask<T, F>(&self, question: impl FnOnce(Arc<dyn UserStore>) -> F) -> Result<T, StoreFailure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreFailure>> + Send + 'static,
    {
        let no_answer = |reason: &str| StoreFailure::NoAnswer(reason.to_owned());
        let store = self.store.clone().ok_or_else(|| no_answer("there is no store of users"))?;
        let answer = timeout(self.timeout, question(store));
        // The second timeout is for a thread that is too busy to start the question.
        match timeout(self.timeout, self.home.run(answer)).await {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(_))) | Err(_) => Err(StoreFailure::NoAnswer(format!("not within {:?}", self.timeout))),
            Ok(None) => Err(no_answer("its thread has stopped")),
        }
    }
}

/// Why the store did not do what was asked.
pub(super) enum StoreFailure {
    Refused(AuthError),
    NoAnswer(String),
}

impl From<ReadError> for StoreFailure {
    fn from(error: ReadError) -> Self {
        Self::NoAnswer(error.to_string())
    }
}

impl From<UserWriteError> for StoreFailure {
    fn from(error: UserWriteError) -> Self {
        Self::Refused(match error {
            UserWriteError::NameTaken => AuthError::NameTaken,
            UserWriteError::TooManyKeys => AuthError::TooManyKeys,
            // The token of the request has ended meanwhile.
            UserWriteError::NoSuchAccount | UserWriteError::Changed => AuthError::InvalidCredential,
            UserWriteError::OpenOrders(open) => AuthError::OpenOrders(open),
            UserWriteError::Unavailable(reason) => return Self::NoAnswer(reason),
        })
    }
}
