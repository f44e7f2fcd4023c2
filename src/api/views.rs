//! The former place of the views.

use crate::domain::request::OrderRequest;
use crate::domain::routing::RoutingDecision;

pub use crate::api::order::{OrderView, TimelineView};
pub use crate::api::publication::{price_text, status_text, update_text};
pub use crate::api::quote::{FailureView as ErrorView, QuoteView, UnavailableView};
pub use crate::api::update::{SnapshotView, UpdateView};

/// The quotes of a decision, the winner first.
pub fn quotes(request: &OrderRequest, decision: &RoutingDecision) -> Vec<QuoteView> {
    QuoteView::of_decision(request, decision)
}
