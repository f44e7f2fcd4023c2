//! How much of one order's history a client has been sent: the snapshot first, then each event once and in order.

use crate::actors::order::OrderUpdate;

/// The progress with one order.
#[derive(Debug)]
pub(super) struct Progress {
    sent: u32,
    // Updates that came before the snapshot; an order sends only its few next events meanwhile. `None` after the snapshot.
    early: Option<Vec<OrderUpdate>>,
}

impl Progress {
    /// For a client that has the history up to `seq` and waits for the snapshot.
    pub(super) fn after(seq: u32) -> Self {
        Self { sent: seq, early: Some(Vec::new()) }
    }

    /// The last sequence number that the client has.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Whether the snapshot is still to be sent.
    pub(super) fn awaits_snapshot(&self) -> bool {
        self.early.is_some()
    }

    /// Notes that the snapshot up to `seq` is sent. Returns the early updates, each to be passed again.
    pub(super) fn snapshot_sent(&mut self, seq: u32) -> Vec<OrderUpdate> {
        self.sent = seq;
        self.early.take().unwrap_or_default()
    }

    /// The early updates of an order whose snapshot cannot be had.
    pub(super) fn into_early(self) -> Vec<OrderUpdate> {
        self.early.unwrap_or_default()
    }

    /// Returns the update if it is to be sent now. It is kept before the snapshot, and dropped if it was sent before: after
    /// a restart an order may repeat its last events.
    pub(super) fn pass(&mut self, update: OrderUpdate) -> Option<OrderUpdate> {
        if let Some(early) = &mut self.early {
            early.push(update);
            return None;
        }
        if let OrderUpdate::Step { step, .. } = &update {
            if step.seq <= self.sent {
                return None;
            }
            self.sent = step.seq;
        }
        Some(update)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::domain::id::OrderId;
    use crate::domain::lifecycle::{OrderEvent, Status};
    use crate::domain::order::RecordedEvent;
    use crate::domain::request::tests::request;

    fn step(seq: u32) -> OrderUpdate {
        let step = RecordedEvent {
            seq,
            at: DateTime::UNIX_EPOCH,
            moment: None,
            status: Status::Routing,
            attempt: 1,
            retry_count: 0,
            event: OrderEvent::Dispatched,
        };
        OrderUpdate::Step {
            id: OrderId(uuid::Uuid::nil()),
            request: Arc::new(request()),
            step: Arc::new(step),
            rendered: Arc::default(),
        }
    }

    fn passed(progress: &mut Progress, updates: Vec<OrderUpdate>) -> Vec<Option<u32>> {
        let due = updates.into_iter().filter_map(|update| progress.pass(update));
        due.map(|update| if let OrderUpdate::Step { step, .. } = update { Some(step.seq) } else { None }).collect()
    }

    #[test]
    fn updates_before_the_snapshot_are_kept_and_those_in_it_are_dropped() {
        let mut progress = Progress::after(0);
        assert!(passed(&mut progress, vec![step(2), step(3), OrderUpdate::Behind]).is_empty());
        assert!(progress.awaits_snapshot());
        let early = progress.snapshot_sent(2);
        assert_eq!(passed(&mut progress, early), [Some(3), None]);
        assert_eq!((progress.sent(), progress.awaits_snapshot()), (3, false));
    }

    #[test]
    fn a_repeated_event_is_sent_once() {
        let mut progress = Progress::after(4);
        progress.snapshot_sent(4);
        let updates = [4, 5, 5, 3, 6].map(step).into();
        assert_eq!(passed(&mut progress, updates), [Some(5), Some(6)]);
    }
}
