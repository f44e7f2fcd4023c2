//! The handle of a running engine.

use std::net::SocketAddr;

use tokio::sync::watch;

use crate::actors::order_manager::{Submission, SubmitError};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::request::OrderRequest;
use crate::domain::user::Owner;
use crate::engine::shutdown::StopHandle;
use crate::engine::subscription::Subscription;
use crate::runtime::placement::Placement;
use crate::service::new_order::NewOrder;
use crate::service::orders::{OrderService, ServiceError};

/// A running engine. Dropping it stops the engine without waiting for the end.
pub struct Engine {
    pub(super) service: OrderService,
    // Where subscriptions forward updates.
    pub(super) thread: Placement,
    pub(super) address: Option<SocketAddr>,
    pub(super) fatal: watch::Receiver<Option<String>>,
    pub(super) stop: StopHandle,
}

impl Engine {
    /// The address that serves HTTP and WebSocket; `None` without HTTP.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Submits an order that belongs to no user. The order is durable when this returns `Ok`.
    ///
    /// With a key, a repeat of the same order returns the first order instead of submitting it twice. The
    /// `client_order_id` of the request is such a key too.
    pub async fn submit(&self, request: OrderRequest, key: Option<ClientKey>) -> Result<Submission, SubmitError> {
        self.service.submit(Owner::Shared, NewOrder::new(request, key)?).await
    }

    /// Subscribes to an order that belongs to no user: first its history, then each event until its end.
    pub async fn subscribe(&self, id: OrderId) -> Result<Subscription, ServiceError> {
        Subscription::start(&self.service, &self.thread, Owner::Shared, id).await
    }

    /// All use cases, for any owner: orders, lists, cancels, quotes.
    pub fn service(&self) -> &OrderService {
        &self.service
    }

    /// Resolves with the cause when the engine cannot continue; until then it is pending.
    pub async fn finished(&self) -> String {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops the engine and waits until it has stopped.
    ///
    /// Running orders may finish within `server.shutdown_timeout_ms`; the next start resumes all others.
    pub async fn shutdown(self) {
        self.stop.stop().await;
    }
}
