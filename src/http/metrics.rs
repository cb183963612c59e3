//! `/metrics`: every figure that Prometheus reads, one function per group. Counters and histograms that move with
//! requests live in [`Observed`]; what others know is read at the scrape. The names are those of `docs/operations.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::decode::RegistryHealth;
use crate::event::Outcome;
use crate::pipeline::writer::CommitFacts;
use crate::source::kafka::KafkaStatus;
use crate::state::histogram::Histogram as Counts;
use crate::warehouse::Target;
use crate::warehouse::breaker::BreakerState;
use crate::warehouse::status::Status as WarehouseStatus;

use super::Edge;

type Labels = Vec<(&'static str, String)>;
type Real = Gauge<f64, AtomicU64>;

/// Seconds; from a fraction of a millisecond to what a person notices.
const SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// What the threads and routes count.
#[derive(Debug)]
pub struct Observed {
    pub events_ingested: Counter,
    pub events_deduped: Counter,
    pub events_rejected: Counter,
    pub recovery_seconds: Real,
    commit_seconds: Histogram,
    processing_seconds: Histogram,
    publish_ms: Real,
    pub dead_letters: Gauge,
    dedup_keys: Gauge,
    toast_unfilled: Gauge,
}

impl Default for Observed {
    fn default() -> Observed {
        Observed {
            events_ingested: Counter::default(),
            events_deduped: Counter::default(),
            events_rejected: Counter::default(),
            recovery_seconds: Real::default(),
            commit_seconds: Histogram::new(SECONDS),
            processing_seconds: Histogram::new(SECONDS),
            publish_ms: Real::default(),
            dead_letters: Gauge::default(),
            dedup_keys: Gauge::default(),
            toast_unfilled: Gauge::default(),
        }
    }
}

impl Observed {
    /// The writer has committed.
    pub fn committed(&self, facts: &CommitFacts) {
        self.commit_seconds.observe(facts.commit_ms / 1e3);
        self.processing_seconds.observe(facts.process_ms / 1e3);
        self.publish_ms.set(facts.publish_ms);
        self.dead_letters.set(facts.dead_letters as i64);
        self.dedup_keys.set(facts.dedup_keys as i64);
        self.toast_unfilled.set(facts.toast_unfilled as i64);
    }
}

/// The OpenMetrics text of everything.
pub(super) fn render(edge: &Edge) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let to = &mut registry;
    pipeline(edge, to);
    source(edge, to);
    edge_counts(edge, to);
    serving(edge, to);
    jobs(edge, to);
    warehouse(edge, to);
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

fn gauges(to: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Family::<Labels, Real>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    to.register(name, help, family);
}

/// `name` without its `_total`, which the encoder adds.
fn counters(to: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    to.register(name, help, family);
}

/// A number without labels.
fn whole(to: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value as i64);
    to.register(name, help, gauge);
}

/// The same, of what only grows.
fn total(to: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    to.register(name, help, counter);
}

fn one(to: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    to.register(name, help, metric);
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Counts of ours as a Prometheus histogram of seconds.
#[derive(Debug)]
struct Seconds {
    counts: Counts,
    /// Seconds of one unit of the counts.
    unit: f64,
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let mut below = 0;
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(SECONDS.len() + 1);
        for bound in SECONDS {
            let until = self.counts.up_to((bound / self.unit) as u32);
            buckets.push((bound, until - below));
            below = until;
        }
        buckets.push((f64::MAX, self.counts.count() - below));
        encoder.encode_histogram::<NoLabelSet>(
            self.counts.sum() as f64 * self.unit,
            self.counts.count(),
            &buckets,
            None,
        )
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn pipeline(edge: &Edge, to: &mut Registry) {
    let (observed, partitions) = (&edge.observed, edge.shared.partitions());
    let by_outcome = partitions.iter().flat_map(|status| {
        let topic = &*status.name.topic;
        Outcome::ALL.map(|outcome| {
            (labels([("topic", topic), ("outcome", outcome.name())]), status.row.outcomes[outcome as usize])
        })
    });
    counters(to, "nova_records", "Records consumed, by topic and outcome", by_outcome);
    let imbalance = partitions.iter().filter(|status| !status.row.balanced()).count();
    whole(to, "nova_accounting_imbalance", "Partitions whose outcomes do not add up, always 0", imbalance);
    let held = partitions.iter().filter(|status| status.hold.is_some()).count();
    whole(to, "nova_partitions_held", "Partitions that wait for a person", held);
    one(to, "nova_commit_seconds", "Time of durable commits", observed.commit_seconds.clone());
    let help = "Time from a batch's begin in the writer until readers see it";
    one(to, "event_processing_duration_seconds", help, observed.processing_seconds.clone());
    let help = "Time from the last commit until readers saw it";
    one(to, "cache_invalidation_lag_ms", help, observed.publish_ms.clone());
    one(to, "nova_dlq_depth", "Dead letters that wait", observed.dead_letters.clone());
    one(to, "nova_dedup_keys", "Event ids that are remembered", observed.dedup_keys.clone());
    let help = "Unchanged values that no stored row could fill, since the start";
    one(to, "nova_toast_unfilled", help, observed.toast_unfilled.clone());
    one(to, "nova_recovery_seconds", "Time that the last start took to recover", observed.recovery_seconds.clone());
    let mem = edge.state.read().mem_bytes();
    let mem = mem.into_iter().map(|(structure, bytes)| (labels([("structure", structure)]), bytes as f64));
    gauges(to, "nova_mem_bytes", "Memory of each structure", mem);
}

fn source(edge: &Edge, to: &mut Registry) {
    // The local log is never behind: its records are consumed by the commit that makes them durable.
    let (off, now_ms) = (KafkaStatus::default(), edge.clock.now_ms());
    let kafka = edge.kafka.as_deref().unwrap_or(&off);
    let watermarks = kafka.watermarks();
    let (mut lag, mut records, mut headroom) = (Vec::new(), Vec::new(), Vec::new());
    for status in edge.shared.partitions() {
        let name = labels([("topic", &status.name.topic), ("partition", &status.name.partition.to_string())]);
        let Some(marks) = watermarks.get(&status.name) else {
            lag.push((name, 0.0));
            continue;
        };
        let behind = (marks.high - status.row.next).max(0);
        let age_ms = if behind > 0 { (now_ms - status.row.arrival_ms).max(0) } else { 0 };
        lag.push((name.clone(), age_ms as f64 / 1e3));
        records.push((name.clone(), behind as f64));
        headroom.push((name, (status.row.next - marks.low.max(0)) as f64));
    }
    gauges(to, "cdc_lag_seconds", "Age of the last record read, where more are there", lag);
    gauges(to, "nova_lag_records", "Records that were not read yet", records);
    gauges(
        to,
        "nova_retention_headroom_records",
        "Records between what retention deletes next and what is read next",
        headroom,
    );
    let commits = kafka.commits.load(Ordering::Relaxed);
    total(to, "cdc_offset_commits", "Commits of the store's offsets to Kafka", commits);
    whole(to, "nova_partitions_assigned", "Partitions that this node reads", kafka.assigned());
    whole(to, "nova_kafka_up", "1 while a broker is connected", usize::from(kafka.up()));
}

fn edge_counts(edge: &Edge, to: &mut Registry) {
    let observed = &edge.observed;
    one(to, "events_ingested", "Client events accepted over HTTP", observed.events_ingested.clone());
    one(to, "events_deduped", "Client events over HTTP whose id was known", observed.events_deduped.clone());
    let decisions = edge.gate.limiter.decisions.all();
    let decisions =
        decisions.map(|(class, decision, count)| (labels([("class", class), ("decision", decision)]), count));
    counters(to, "rate_limit", "Requests by class: granted, over the caller's quota, or shed", decisions);
    one(to, "nova_events_rejected", "Client events over HTTP that were refused", observed.events_rejected.clone());
}

fn serving(edge: &Edge, to: &mut Registry) {
    let counts = edge.feeds.served.total();
    total(to, "feed_requests", "Feed pages that were answered", counts.feeds);
    let ratio = Real::default();
    ratio.set(counts.hit_rate());
    one(to, "cache_hit_ratio", "Feed pages from a snapshot that was there", ratio);
    total(to, "nova_feed_cut", "Feed pages made in haste", counts.feeds_cut);
    let help = "Places of feeds filled against the rules of spacing";
    total(to, "nova_feed_relaxed", help, counts.relaxed);
    one(to, "feed_latency_seconds", "Time of feed pages", Seconds { counts: counts.feed_us, unit: 1e-6 });
    let help = "From the arrival of an event until readers see it";
    one(to, "nova_event_visible_seconds", help, Seconds { counts: counts.visible_ms, unit: 1e-3 });
}

fn jobs(edge: &Edge, to: &mut Registry) {
    let statuses = edge.jobs.runner.statuses();
    let results = statuses.iter().flat_map(|(job, status)| {
        status.results().map(|(result, count)| (labels([("job", job), ("result", result)]), count))
    });
    counters(to, "job_refresh", "Refreshes of jobs, by how they ended", results.collect::<Vec<_>>());
    let last = statuses.iter().map(|(job, status)| (labels([("job", job)]), status.last.as_secs_f64()));
    gauges(to, "job_refresh_duration_seconds", "Time of the last refresh of a job", last);
    let parked =
        statuses.iter().map(|(job, status)| (labels([("job", job)]), f64::from(u8::from(status.parked.is_some()))));
    gauges(to, "nova_job_parked", "1 while a job keeps failing and is tried rarely", parked);
}

fn warehouse(edge: &Edge, to: &mut Registry) {
    let off = WarehouseStatus::default();
    let status = edge.warehouse.as_deref().unwrap_or(&off);
    let (targets, now_ms) = (status.targets(), edge.clock.now_ms());
    let each = || Target::ALL.iter().zip(&targets).map(|(target, counts)| (labels([("table", target.name())]), counts));
    gauges(
        to,
        "nova_outbox_rows",
        "Rows that wait for ClickHouse",
        each().map(|(name, one)| (name, one.waiting_rows as f64)),
    );
    gauges(
        to,
        "nova_outbox_bytes",
        "Bytes that wait for ClickHouse",
        each().map(|(name, one)| (name, one.waiting_bytes as f64)),
    );
    let age = |oldest: Option<i64>| oldest.map_or(0.0, |oldest_ms| (now_ms - oldest_ms).max(0) as f64 / 1e3);
    let help = "Age of the oldest row that waits for ClickHouse";
    gauges(to, "nova_outbox_oldest_seconds", help, each().map(|(name, one)| (name, age(one.oldest_ms))));
    let stalled = each().map(|(name, one)| (name, f64::from(u8::from(one.stalled.is_some()))));
    gauges(to, "nova_outbox_stalled", "1 while a table takes no rows before a person acts", stalled);
    let mut findings = BTreeMap::<&str, f64>::new();
    status.findings().iter().for_each(|finding| *findings.entry(finding.code).or_default() += 1.0);
    let findings = findings.into_iter().map(|(code, count)| (labels([("code", code)]), count));
    let help = "What is wrong with ClickHouse's tables, as nova check tells it, by the hourly look";
    gauges(to, "nova_clickhouse_findings", help, findings);
    counters(
        to,
        "nova_outbox_acknowledged_rows",
        "Rows that ClickHouse has",
        each().map(|(name, one)| (name, one.acknowledged)),
    );
    one(to, "clickhouse_query_duration_seconds", "Time of inserts into ClickHouse", status.query_seconds.clone());
    one(to, "clickhouse_query_errors", "Inserts that ClickHouse did not acknowledge", status.query_errors.clone());
    let uncertain = status.uncertain_batches.load(Ordering::Relaxed);
    let help = "Batches found in a table without an acknowledgement: the views may lack them";
    total(to, "nova_uncertain_batches", help, uncertain);
    one(to, "mv_refresh_duration_seconds", "Time of the look at the materialised views", status.views_seconds.clone());
    one(
        to,
        "mv_staleness_seconds",
        "How far the views' newest minute is behind their table's",
        status.views_staleness.clone(),
    );
    let mut breakers = vec![("clickhouse", status.breaker_state())];
    breakers.extend(edge.schemas.health().map(|health| {
        let state = match health {
            RegistryHealth::Closed => BreakerState::Closed,
            RegistryHealth::HalfOpen => BreakerState::HalfOpen,
            RegistryHealth::Open => BreakerState::Open,
        };
        ("registry", state)
    }));
    let states = breakers.into_iter().map(|(target, state)| (labels([("target", target)]), f64::from(state as u8)));
    gauges(to, "circuit_breaker_state", "0 closed, 1 half-open, 2 open", states);
}
