//! Which connections of a pool must be tested or replaced before they are used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The suspicions about the connections of one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct SuspectConnections(Arc<Mutex<Suspicions>>);

#[derive(Debug, Default)]
struct Suspicions {
    // When a statement was last abandoned. Its connection is back in the pool while the answer is still outstanding, so
    // for some time every connection is tested before it is used.
    abandoned: Option<Instant>,
    // When the database last failed. An older connection may be wrong permanently, for example if the server became
    // read-only or the file was replaced, so every older connection is replaced.
    failed: Option<Instant>,
}

impl SuspectConnections {
    /// How long connections are tested after an abandoned statement.
    const TEST_FOR: Duration = Duration::from_secs(10);

    /// Records that a statement was abandoned before its answer arrived.
    pub(super) fn statement_abandoned(&self) {
        self.suspicions().abandoned = Some(Instant::now());
    }

    /// Records that the database failed.
    pub(super) fn database_failed(&self) {
        self.suspicions().failed = Some(Instant::now());
    }

    /// Whether a connection must be tested before it is used.
    pub(super) fn must_test(&self) -> bool {
        self.suspicions().abandoned.is_some_and(|abandoned| abandoned.elapsed() < Self::TEST_FOR)
    }

    /// Whether a connection of this age may be used at all.
    pub(super) fn allow(&self, age: Duration) -> bool {
        self.suspicions().failed.is_none_or(|failed| age <= failed.elapsed())
    }

    fn suspicions(&self) -> MutexGuard<'_, Suspicions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_that_are_older_than_the_failure_are_replaced() {
        let suspects = SuspectConnections::default();
        assert!(suspects.allow(Duration::from_secs(3600)));
        suspects.database_failed();
        assert!(!suspects.allow(Duration::from_secs(3600)));
        assert!(suspects.allow(Duration::ZERO));
        assert!(!suspects.must_test(), "a connection that is newer than the failure needs no test");
    }

    #[test]
    fn after_an_abandoned_statement_connections_are_tested() {
        let suspects = SuspectConnections::default();
        assert!(!suspects.must_test());
        suspects.statement_abandoned();
        assert!(suspects.must_test());
    }
}
