//! The stop sequence. It loses nothing: what a step leaves undone is in the database, and the next start resumes it.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::actors::order_manager::{Drain, OrderManager};
use crate::actors::persistence::{Flush, Persistence};
use crate::engine::database::Database;
use crate::engine::server::Server;
use crate::engine::threads::Threads;
use crate::redis::Cluster;
use crate::runtime::placement::Placement;
use crate::store::OrderStore;

/// The deadline of each step.
const STEP: Duration = Duration::from_secs(5);

/// The parts that the stop sequence needs.
pub(super) struct Running {
    pub(super) server: Option<Server>,
    pub(super) manager: Addr<OrderManager>,
    pub(super) persistence: Addr<Persistence>,
    pub(super) cluster: Option<Cluster>,
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) database: Database,
    pub(super) database_thread: Placement,
    pub(super) threads: Threads,
    /// How long running orders may continue.
    pub(super) drain_timeout: Duration,
}

/// Requests the stop and waits for its end. Dropping the handle requests the stop too.
pub(super) struct StopHandle {
    request: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl StopHandle {
    pub(super) async fn stop(self) {
        drop(self.request);
        let _ = self.stopped.await;
    }
}

impl Running {
    /// A handle, and the future that waits for its request and then stops the engine.
    pub(super) fn stop_on_request(self) -> (StopHandle, impl Future<Output = ()>) {
        let (request, requested) = oneshot::channel();
        let (done, stopped) = oneshot::channel();
        let stop = async move {
            // An error means that the handle was dropped.
            let _ = requested.await;
            self.stop().await;
            let _ = done.send(());
        };
        (StopHandle { request, stopped }, stop)
    }

    async fn stop(self) {
        // Orders drain while the server closes its sockets. From this point no order is accepted.
        let drained = self.manager.send(Drain(self.drain_timeout));
        if let Some(server) = &self.server {
            server.stop(STEP).await;
        }
        if timeout(self.drain_timeout + STEP, drained).await.is_err() {
            tracing::warn!("some orders did not stop before the deadline; the next start resumes them");
        }
        if timeout(STEP, self.persistence.send(Flush)).await.is_err() {
            tracing::warn!("some writes did not finish before the deadline; the next start resumes their orders");
        }
        if let Some(cluster) = &self.cluster {
            let _ = timeout(STEP, cluster.flush()).await;
        }
        if let Some(server) = self.server {
            server.stop_watchdogs();
        }
        let store = self.store;
        let closed = self.database_thread.run(async move { store.close().await });
        if timeout(STEP, closed).await.is_err() {
            tracing::warn!("the database did not close before the deadline; its lock is kept until the process ends");
            // The file may still be open, so its lock must not be released.
            std::mem::forget(self.database.lock().cloned());
        }
        self.threads.stop(STEP).await;
    }
}
