//! The venue port: a DEX that quotes and builds swaps, without a wallet. Its adapters are in [`crate::simulation::venue`].
//!
//! [`pool`] is the seam of the pool kinds, which price the pools of a program exactly.

pub mod meteora_damm_v2;
pub mod pool;
pub mod raydium_cpmm;

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::id::{OrderId, VenueId};
use crate::domain::quote::Quote;
use crate::domain::request::OrderRequest;
use crate::domain::retry::Failure;
use crate::domain::swap::UnsignedSwap;

/// A request for a quote.
#[derive(Clone, Debug)]
pub struct QuoteRequest {
    /// The id of the order; a new id for a quote without an order.
    pub id: Uuid,
    /// The number of the request under that id, from 1: the attempt of the order.
    pub round: u32,
    /// The request of the order.
    pub order: Arc<OrderRequest>,
}

/// A request to build a swap for a quote.
#[derive(Clone, Debug)]
pub struct SwapRequest {
    /// The order.
    pub order_id: OrderId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The request of the order.
    pub order: Arc<OrderRequest>,
    /// The quote.
    pub quote: Quote,
}

/// A venue.
///
/// A venue knows pools and their programs. It knows neither the wallet nor a recent block, and it signs nothing. No call
/// may have an effect on the chain. The caller sets the deadlines.
#[async_trait]
pub trait Venue: Send + Sync + 'static {
    /// The id of the venue.
    fn id(&self) -> VenueId;

    /// The current quote.
    async fn quote(&self, request: QuoteRequest) -> Result<Quote, Failure>;

    /// A swap that never pays less than the floor of the order for that quote.
    async fn build(&self, request: SwapRequest) -> Result<UnsignedSwap, Failure>;
}
