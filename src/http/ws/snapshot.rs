//! The state of an order at the moment when a client begins to follow it.

use std::sync::Arc;

use crate::api::update::SnapshotView;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::order::RecordedEvent;
use crate::domain::request::OrderRequest;
use crate::service::orders::{OrderSubscription, Watched};

/// The snapshot, with the part of the history that the client does not have.
pub(super) struct Snapshot {
    request: Arc<OrderRequest>,
    pub(super) seq: u32,
    pub(super) status: Status,
    history: Vec<Arc<RecordedEvent>>,
}

impl Snapshot {
    /// The snapshot for a client that has the history up to `after_seq`, and the subscription to an order that goes on.
    pub(super) fn of(watched: Watched, after_seq: u32) -> (Self, Option<OrderSubscription>) {
        match watched {
            Watched::Live(subscribed, subscription) => {
                let (seq, status) = (subscribed.seq, subscribed.status);
                (Self { request: subscribed.request, seq, status, history: subscribed.history }, Some(subscription))
            }
            Watched::Ended(order) => {
                let (last, history) = (order.last(), order.history_after(after_seq).to_vec());
                (Self { request: order.request.clone(), seq: last.seq, status: last.status, history }, None)
            }
        }
    }

    /// The snapshot as it is sent.
    pub(super) fn view(&self, id: OrderId) -> SnapshotView {
        SnapshotView::of(id, &self.request, self.seq, self.status, &self.history)
    }
}
