//! Starts the venue actors and the router. They keep no state that must survive, so the supervisor restarts them.

use std::sync::Arc;

use actix::prelude::*;

use crate::actors::dex_router::{DexRouter, RouterRecipients};
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::supervisor::{Child, SuperviseChild, Supervisor};
use crate::actors::venue::{VenueActor, Venues};
use crate::config::Settings;
use crate::runtime::placement::Placement;
use crate::venue::Venue;

/// Starts one actor for each venue. The order of the adapters is the venue order.
pub(super) fn start_venues(adapters: Vec<Arc<dyn Venue>>, thread: &Placement, supervisor: &Addr<Supervisor>) -> Venues {
    let started = adapters.into_iter().map(|adapter| {
        let id = adapter.id();
        let (thread, parent) = (thread.clone(), supervisor.clone());
        let start = move || {
            let (adapter, parent) = (adapter.clone(), parent.clone());
            thread.start(move |_| VenueActor::new(adapter, parent.recipient()))
        };
        (id, supervise(Child::Venue(id), supervisor, start))
    });
    started.collect()
}

/// Starts the router, which asks these venues.
pub(super) fn start_router(
    venues: &Venues,
    settings: &Settings,
    thread: &Placement,
    supervisor: &Addr<Supervisor>,
) -> RestartableAddr<RouterRecipients> {
    let (deadline, max_price_impact) = (settings.routing_timeout, settings.orders.max_price_impact);
    let (venues, thread, parent) = (venues.clone(), thread.clone(), supervisor.clone());
    supervise(Child::Router, supervisor, move || {
        let (venues, parent) = (venues.clone(), parent.clone());
        thread.start(move |_| DexRouter::new(venues, deadline, max_price_impact, parent.recipient()))
    })
}

/// Starts an actor and registers with the supervisor how to start it again.
fn supervise<A: Actor, R>(
    child: Child,
    supervisor: &Addr<Supervisor>,
    start: impl Fn() -> Addr<A> + Send + 'static,
) -> RestartableAddr<R>
where
    R: From<Addr<A>> + Send + Sync + 'static,
{
    let address = RestartableAddr::new(start());
    let current = address.clone();
    // `do_send` ignores the mailbox bound. A closed mailbox means that the start has failed already.
    supervisor.do_send(SuperviseChild { child, restart: Box::new(move || current.set(start())) });
    address
}
