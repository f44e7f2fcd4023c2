//! What the engine reads from the database before it accepts orders.

use actix::prelude::*;

use crate::actors::order_manager::{OrderManager, Recover};
use crate::actors::persistence::{LoadDispatches, LoadUnfinished, Persistence};
use crate::engine::error::StartError;
use crate::runtime::crash_points::crash_point;
use crate::store::{DispatchRecord, ReadError, Unfinished, UnfinishedFrom};

/// The latest dispatches, the latest first: enough to restore the rate window.
pub(super) async fn latest_dispatches(
    persistence: &Addr<Persistence>,
    rate_limit_per_minute: u32,
) -> Result<Vec<DispatchRecord>, StartError> {
    // A dispatch gets its number before it is recorded, so a dispatch that was recorded earlier may have a higher
    // number. Twice the limit covers that.
    let wanted = u64::from(rate_limit_per_minute).saturating_mul(2).max(1);
    ask(persistence, LoadDispatches(wanted)).await
}

/// Passes every unfinished order to the manager, the oldest first.
pub(super) async fn recover(persistence: &Addr<Persistence>, manager: &Addr<OrderManager>) -> Result<(), StartError> {
    const PAGE: u64 = 1_000;
    let (mut next, mut recovered) = (Some(UnfinishedFrom::default()), 0);
    while let Some(from) = next {
        let unfinished = ask(persistence, LoadUnfinished { from, limit: PAGE }).await?;
        crash_point("engine.recovering");
        next = unfinished.next;
        let Unfinished { orders, unreadable, .. } = unfinished;
        recovered += orders.len();
        manager.send(Recover { orders, unreadable }).await.map_err(|_| StartError::Broken)?;
    }
    if recovered > 0 {
        tracing::info!(orders = recovered, "unfinished orders are resumed");
    }
    Ok(())
}

async fn ask<M, T>(persistence: &Addr<Persistence>, message: M) -> Result<T, StartError>
where
    M: Message<Result = Result<T, ReadError>> + Send + 'static,
    T: Send + 'static,
    Persistence: Handler<M>,
{
    match persistence.send(message).await {
        Ok(answer) => answer.map_err(|error| StartError::Database(error.to_string())),
        Err(_) => Err(StartError::Broken),
    }
}
