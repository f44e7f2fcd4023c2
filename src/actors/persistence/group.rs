//! The commit of one group of writes.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actors::persistence::messages::RecordError;
use crate::store::{CommitError, OrderStore, Write, Written};
use crate::telemetry::metrics::Metrics;

/// A write that waits for its commit.
#[derive(Debug)]
pub(super) struct QueuedWrite {
    pub(super) write: Write,
    pub(super) expires: Option<Instant>,
    /// A commit with it ended without an answer, so it may be stored.
    pub(super) maybe_stored: bool,
    pub(super) reply: oneshot::Sender<Result<Written, RecordError>>,
}

/// The result of a group.
pub(super) struct GroupResult {
    /// The writes whose result is certain.
    pub(super) done: Vec<(QueuedWrite, Result<Written, RecordError>)>,
    /// The writes to commit again, in their order.
    pub(super) again: Vec<QueuedWrite>,
    /// Whether the database was unavailable.
    pub(super) unavailable: bool,
}

/// Commits a group. If the database refuses it, the group is split until the refused write is alone.
pub(super) async fn commit_group(store: Arc<dyn OrderStore>, metrics: Metrics, group: Vec<QueuedWrite>) -> GroupResult {
    let mut result = GroupResult { done: Vec::with_capacity(group.len()), again: Vec::new(), unavailable: false };
    let mut groups = vec![group];
    let mut repeated = None;
    while let Some(mut group) = groups.pop() {
        let writes: Vec<_> = group.iter().map(|queued| queued.write.clone()).collect();
        let started = Instant::now();
        let committed = store.commit(&writes).await;
        if !writes.is_empty() {
            metrics.committed(writes.len(), started.elapsed());
        }
        match committed {
            Ok(written) => result.done.extend(group.into_iter().zip(written.into_iter().map(Ok))),
            Err(CommitError::Refused(_)) if group.len() > 1 => {
                let second = group.split_off(group.len() / 2);
                groups.extend([second, group]);
            }
            Err(CommitError::Refused(reason)) => {
                let queued = group.pop().expect("an empty group has no row that could be refused");
                let (order, seq, id) = (queued.write.order_id(), queued.write.seq(), queued.write.write_id());
                match store.writer_of(order, seq).await {
                    // The answer of an earlier commit was lost.
                    Ok(Some(writer)) if writer == id => result.done.push((queued, Ok(Written::Stored))),
                    Ok(Some(_)) => result.done.push((queued, Err(RecordError::LostRace { order, seq }))),
                    // A concurrent commit may have stored the same key; the next try finds its order.
                    Ok(None) if queued.write.key().is_some() && repeated != Some(id) => {
                        repeated = Some(id);
                        groups.push(vec![queued]);
                    }
                    Ok(None) => result.done.push((queued, Err(RecordError::Refused(reason)))),
                    Err(_) => {
                        result.unavailable = true;
                        result.again.push(queued);
                    }
                }
            }
            Err(CommitError::Unavailable { reason, maybe_committed }) => {
                tracing::debug!(reason, "a group was not committed");
                result.unavailable = true;
                group.iter_mut().for_each(|queued| queued.maybe_stored |= maybe_committed);
                result.again.extend(group);
                result.again.extend(groups.drain(..).rev().flatten());
            }
        }
    }
    result
}
