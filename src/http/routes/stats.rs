//! Figures of the engine over the orders of all clients: counts by status, durations by stage, failures by code.

use std::collections::BTreeMap;

use actix_web::web;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::problem::ProblemCode;
use crate::domain::lifecycle::Status;
use crate::domain::tally::{DurationSummary, Stage, Tally};
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::caller::Caller;
use crate::http::operation::{Operation, READ, get};
use crate::http::problem::Problem;

/// Figures since the start of the engine.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    uptime_seconds: u64,
    open: usize,
    running: usize,
    queue_depth: usize,
    stuck: usize,
    /// Unfinished orders by status, and orders that ended since the start by final status.
    orders: BTreeMap<&'static str, u64>,
    /// Confirmed orders as a fraction of confirmed and failed orders; null if there are none.
    success_rate: Option<Decimal>,
    /// Failed attempts since the start, by code. The last attempt of a failed order is included.
    errors: BTreeMap<&'static str, u64>,
    /// Durations of completed stages.
    stages: BTreeMap<&'static str, StageView>,
}

/// Durations of a stage, in milliseconds.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Stage")]
struct StageView {
    count: u64,
    p50_ms: u128,
    p95_ms: u128,
    p99_ms: u128,
}

impl From<DurationSummary> for StageView {
    fn from(summary: DurationSummary) -> Self {
        Self {
            count: summary.count,
            p50_ms: summary.p50.as_millis(),
            p95_ms: summary.p95.as_millis(),
            p99_ms: summary.p99.as_millis(),
        }
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        get("/api/stats", READ, stats)
            .named("getStats", "Get figures since the start")
            .answers::<Stats>(200, "the figures", "stats")
            .problems([ProblemCode::Unavailable]),
    ]
}

async fn stats(app: web::Data<AppState>, caller: Caller) -> Result<web::Json<Stats>, Problem> {
    caller.may(Scope::Read)?;
    let queue_stats = app.service.queue_stats().await?;
    let tally = app.metrics.tally();
    Ok(web::Json(Stats {
        uptime_seconds: app.started.elapsed().as_secs(),
        open: queue_stats.open,
        running: queue_stats.running,
        queue_depth: queue_stats.queued,
        stuck: queue_stats.stuck,
        orders: Status::ALL.into_iter().map(|status| (status.name(), tally.orders(status))).collect(),
        success_rate: success_rate(&tally),
        errors: tally.failures().clone(),
        stages: Stage::ALL.into_iter().map(|stage| (stage.name(), tally.times(stage).summary().into())).collect(),
    }))
}

/// Cancelled orders are not counted: they are neither a success nor a failure.
fn success_rate(tally: &Tally) -> Option<Decimal> {
    let confirmed = Decimal::from(tally.orders(Status::Confirmed));
    let ended = confirmed + Decimal::from(tally.orders(Status::Failed));
    Some(confirmed.checked_div(ended)?.round_dp(4).normalize())
}
