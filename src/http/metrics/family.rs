//! Turns nova's figures into metrics of Prometheus.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::state::histogram::Histogram as Counts;

pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Real = Gauge<f64, AtomicU64>;

/// The bounds of a histogram's buckets in seconds, from a fraction of a millisecond to a delay that a person notices.
pub(super) const SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

pub(super) fn gauges(to: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Family::<Labels, Real>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    to.register(name, help, family);
}

/// Registers counters with labels. `name` has no suffix `_total`, because the encoder adds the suffix.
pub(super) fn counters(to: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    to.register(name, help, family);
}

/// Registers a gauge without labels.
pub(super) fn whole(to: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value as i64);
    to.register(name, help, gauge);
}

pub(super) fn real(to: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Real::default();
    gauge.set(value);
    to.register(name, help, gauge);
}

/// Registers a counter without labels.
pub(super) fn total(to: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    to.register(name, help, counter);
}

/// Registers a counter of seconds without labels.
pub(super) fn real_total(to: &mut Registry, name: &str, help: &str, value: f64) {
    let counter = Counter::<f64, AtomicU64>::default();
    counter.inc_by(value);
    to.register(name, help, counter);
}

pub(super) fn one(to: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    to.register(name, help, metric);
}

pub(super) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// One of nova's histograms as a Prometheus histogram of seconds.
#[derive(Debug)]
pub(super) struct Seconds {
    pub counts: Counts,
    /// The seconds in one unit of the counts.
    pub unit: f64,
}

impl Seconds {
    fn put(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let mut below = 0;
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(SECONDS.len() + 1);
        for bound in SECONDS {
            let until = self.counts.up_to((bound / self.unit) as u32);
            buckets.push((bound, until - below));
            below = until;
        }
        buckets.push((f64::INFINITY, self.counts.count() - below));
        encoder.encode_histogram::<NoLabelSet>(
            self.counts.sum() as f64 * self.unit,
            self.counts.count(),
            &buckets,
            None,
        )
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.put(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Several of nova's histograms with labels, as Prometheus histograms of seconds.
#[derive(Debug)]
pub(super) struct SecondsOf(pub Vec<(Labels, Seconds)>);

impl EncodeMetric for SecondsOf {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|(labels, seconds)| seconds.put(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
