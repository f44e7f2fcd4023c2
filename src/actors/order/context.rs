//! What all orders share.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::dex_router::RouterRecipients;
use crate::actors::order::messages::ReportRecipients;
use crate::actors::persistence::PersistenceRecipients;
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::venue::Venues;
use crate::chain::Chain;
use crate::config::Settings;
use crate::domain::order::{Order, RecordedEvent};
use crate::runtime::environment::Environment;
use crate::signer::Signer;
use crate::telemetry::metrics::Metrics;

/// Publishes an order's status beyond its subscribers, with the events that are new; an empty slice repeats the status.
///
/// Called on the order's own thread, so it must neither block nor fail.
pub type Announce = Arc<dyn Fn(&Order, &[Arc<RecordedEvent>]) + Send + Sync>;

/// How often an open order is announced again, because an announced status expires.
pub const ANNOUNCED_EVERY: Duration = Duration::from_secs(20);

/// What every order's actor uses; one value for all orders.
pub struct OrderContext {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The database was restored from a backup, and the operator has not decided yet whether its orders go on. They may
    /// have been swapped after the backup: nothing is sent, and nothing is decided but the outcome of recorded swaps.
    pub suspended: bool,
    /// Time, random numbers and identities.
    pub environment: Environment,
    /// The order manager.
    pub manager: ReportRecipients,
    /// Persistence.
    pub persistence: PersistenceRecipients,
    /// The router.
    pub router: RestartableAddr<RouterRecipients>,
    /// The venues.
    pub venues: Venues,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// The wallet.
    pub signer: Arc<dyn Signer>,
    /// Publishes beyond the subscribers, if Redis is configured.
    pub announce: Option<Announce>,
    /// Counts for `/api/stats` and `/metrics`.
    pub metrics: Metrics,
}
