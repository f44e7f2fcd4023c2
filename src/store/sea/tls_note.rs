//! Why TLS to PostgreSQL failed last.

use std::sync::{Mutex, PoisonError};

use crate::config::DatabaseSettings;
use crate::runtime::tls_failure::TlsFailure;

/// Why TLS to PostgreSQL failed last. Each new reason is logged once, because the engine tries again every second.
#[derive(Debug, Default)]
pub(super) struct TlsFailureNote {
    server: String,
    last: Mutex<Option<TlsFailure>>,
}

impl TlsFailureNote {
    pub(super) fn of(settings: &DatabaseSettings) -> Self {
        let server = settings.url.postgres().map(|server| server.address()).unwrap_or_default();
        Self { server, last: Mutex::default() }
    }

    /// Notes why the database failed; `None` if it was not TLS.
    pub(super) fn set(&self, failure: Option<TlsFailure>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failure.as_ref().filter(|failure| last.as_ref() != Some(failure)) {
            tracing::error!("{}", failure.at(&self.server, "sslrootcert"));
        }
        *last = failure;
    }

    pub(super) fn get(&self) -> Option<TlsFailure> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
