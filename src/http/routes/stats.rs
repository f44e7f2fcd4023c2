//! Figures: where orders stand, how long each stage takes, what fails. They belong to the engine, not to one client.

use std::collections::BTreeMap;

use actix_web::web;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::lifecycle::Status;
use crate::domain::tally::{DurationSummary, Stage, Tally};
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::caller::Caller;
use crate::http::problem::Problem;

/// The figures.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Stats {
    uptime_seconds: u64,
    open: usize,
    running: usize,
    queue_depth: usize,
    stuck: usize,
    /// Unfinished orders by where they stand, and those that ended since the start by how.
    orders: BTreeMap<&'static str, u64>,
    /// The share that was confirmed among those that ended by themselves; nothing while none has.
    success_rate: Option<Decimal>,
    /// Failed attempts since the start, by their code.
    errors: BTreeMap<&'static str, u64>,
    stages: BTreeMap<&'static str, StageView>,
}

/// How long a stage takes, in milliseconds.
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
    fn from(spread: DurationSummary) -> Self {
        Self {
            count: spread.count,
            p50_ms: spread.p50.as_millis(),
            p95_ms: spread.p95.as_millis(),
            p99_ms: spread.p99.as_millis(),
        }
    }
}

pub(in crate::http) async fn stats(app: web::Data<AppState>, caller: Caller) -> Result<web::Json<Stats>, Problem> {
    caller.may(Scope::Read)?;
    let queue_stats = app.service.queue_stats().await?;
    let tally = app.service.tally();
    Ok(web::Json(Stats {
        uptime_seconds: app.started.elapsed().as_secs(),
        open: queue_stats.open,
        running: queue_stats.running,
        queue_depth: queue_stats.queued,
        stuck: queue_stats.stuck,
        orders: Status::ALL.into_iter().map(|status| (status.name(), tally.standing(status))).collect(),
        success_rate: success_rate(&tally),
        errors: tally.failures().clone(),
        stages: Stage::ALL.into_iter().map(|stage| (stage.name(), tally.spread(stage).into())).collect(),
    }))
}

/// A cancelled order is neither a success nor a failure.
fn success_rate(tally: &Tally) -> Option<Decimal> {
    let confirmed = Decimal::from(tally.standing(Status::Confirmed));
    let ended = confirmed + Decimal::from(tally.standing(Status::Failed));
    Some(confirmed.checked_div(ended)?.round_dp(4).normalize())
}
