//! The experiments, and which of them a name selects.

mod filters;
mod latency;
mod lists;
mod memory;
mod restart;
mod schedule;
mod stored;
mod throughput;

use clap::ValueEnum;

use crate::BenchError;
use crate::plan::{Figures, Plan};

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Experiment {
    /// Durable accepts per second over 128 connections; execution is held back.
    Accept,
    /// Orders per second from POST to `confirmed`, without simulated waits, 1,000 at once.
    Lifecycle,
    /// A single order: its accept, and from submit to confirmed as a client sees it.
    Alone,
    /// From an event's timestamp to the client that receives it, at 1,000 orders per second.
    Fanout,
    /// Memory when idle, per waiting order, and after the orders have ended.
    Memory,
    /// Default waits, 1,000 slots, 5,000 orders, against the ideal schedule of the same waits.
    Schedule,
    /// How long a start takes to resume 100,000 unfinished orders.
    Restart,
    /// Lists and single orders with 1,000,000 orders stored, against 1,000.
    Lists,
    /// Pages of 1,000,000 orders with every combination of filters.
    Filters,
}

/// Runs an experiment once.
pub(crate) async fn run(experiment: Experiment, plan: &Plan) -> Result<Figures, BenchError> {
    match experiment {
        Experiment::Accept => throughput::accept(plan).await,
        Experiment::Lifecycle => throughput::lifecycle(plan).await,
        Experiment::Alone => latency::alone(plan).await,
        Experiment::Fanout => latency::fanout(plan).await,
        Experiment::Memory => memory::memory(plan).await,
        Experiment::Schedule => schedule::schedule(plan).await,
        Experiment::Restart => restart::restart(plan).await,
        Experiment::Lists => lists::lists(plan).await,
        Experiment::Filters => filters::filters(plan).await,
    }
}
