//! The port: a place that quotes and builds swaps. Its adapters: the simulated Raydium and Meteora.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::id::{OrderId, VenueId};
use crate::domain::order::OrderRequest;
use crate::domain::quote::Quote;
use crate::domain::retry::Failure;
use crate::domain::swap::SignedSwap;

/// A request for a quote.
#[derive(Clone, Debug)]
pub struct QuoteRequest {
    /// What is asked for: an order's id, or a fresh one for a preview.
    pub id: Uuid,
    /// Which time it is asked, from 1: an order's attempt.
    pub round: u32,
    /// What is to be swapped.
    pub order: Arc<OrderRequest>,
}

/// A request to build and sign a swap on a quote.
#[derive(Clone, Debug)]
pub struct SwapRequest {
    /// For whom.
    pub order_id: OrderId,
    /// For which attempt, from 1.
    pub attempt: u32,
    /// What is to be swapped.
    pub order: Arc<OrderRequest>,
    /// The offer to build on.
    pub quote: Quote,
}

/// A place that quotes and builds swaps.
///
/// Neither call may have any effect on the chain. Deadlines are the caller's.
#[async_trait]
pub trait Venue: Send + Sync + 'static {
    /// Which one it is.
    fn id(&self) -> VenueId;

    /// What it offers now.
    async fn quote(&self, request: QuoteRequest) -> Result<Quote, Failure>;

    /// A signed swap that can land at most once and never pays less than the order's floor for that quote.
    async fn build(&self, request: SwapRequest) -> Result<SignedSwap, Failure>;
}
