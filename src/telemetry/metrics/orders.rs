//! The counts of a [`Tally`] as metrics.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::domain::tally::{Stage, Tally};

/// Publishes the tally at each scrape.
#[derive(Debug)]
pub(super) struct OrderMetrics(pub(super) Arc<Mutex<Tally>>);

impl Collector for OrderMetrics {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        // A copy, so that orders do not wait for the scrape.
        let tally = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = ConstCounter::new(tally.accepted());
        let help = "Orders that were made durable";
        accepted.encode(to.encode_descriptor("orders_accepted", help, None, accepted.metric_type())?)?;

        let help = "Orders that ended, by status and failure code";
        let mut ended = to.encode_descriptor("orders_ended", help, None, MetricType::Counter)?;
        for (&(status, code), &orders) in tally.ended() {
            let labels = [("status", status), ("code", code)];
            ConstCounter::new(orders).encode(ended.encode_family(&labels)?)?;
        }

        let help = "Failures that ended an attempt, the last attempt of an order included, by code";
        let mut failures = to.encode_descriptor("attempts_failed", help, None, MetricType::Counter)?;
        for (&code, &count) in tally.failures() {
            ConstCounter::new(count).encode(failures.encode_family(&[("code", code)])?)?;
        }

        let help = "Time orders spent in a status before they reached the next one";
        let mut stages = to.encode_descriptor("stage_seconds", help, None, MetricType::Histogram)?;
        // The whole life of an order is not a status.
        for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Whole) {
            let times = tally.times(stage);
            let buckets: Vec<_> = times.buckets().collect();
            stages.encode_family(&[("status", stage.name())])?.encode_histogram::<NoLabelSet>(
                times.sum().as_secs_f64(),
                times.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}
