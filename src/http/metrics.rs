//! `/metrics`: every figure that Prometheus reads, one function per group. Counters and histograms that move with
//! requests live in [`Observed`]; what others know is read at the scrape. The names are those of `docs/operations.md`.

mod port;
mod postgres;
mod process;
mod source;
mod store;
mod text;
mod warehouse;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::cache::Cache as _;
use crate::event::Outcome;
use crate::pipeline::writer::CommitFacts;
use crate::state::STRUCTURES;
use crate::state::histogram::Histogram as Counts;

use super::{Edge, Serving, Watch};

pub use self::port::{PORT_GROUPS, PortCounts, PortWatch};
pub(super) use self::text::{CLASSIC, OPENMETRICS, Scrapes};
pub(super) use self::warehouse::breaker_states;

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
    recovery_seconds: Real,
    commits: AtomicU64,
    commit_seconds: Histogram,
    /// Since somebody last took them, microseconds.
    recent_commits: Mutex<Counts>,
    processing_seconds: Histogram,
    publish_ms: Histogram,
    pub dead_letters: Gauge,
    dedup_keys: Gauge,
    rows_mem_bytes: Gauge,
    dedup_mem_bytes: Gauge,
    rows_bytes: Gauge,
    rows_runs: Gauge,
    toast_unfilled: Gauge,
}

impl Default for Observed {
    fn default() -> Observed {
        Observed {
            events_ingested: Counter::default(),
            events_deduped: Counter::default(),
            events_rejected: Counter::default(),
            recovery_seconds: Real::default(),
            commits: AtomicU64::new(0),
            commit_seconds: Histogram::new(SECONDS),
            recent_commits: Mutex::default(),
            processing_seconds: Histogram::new(SECONDS),
            publish_ms: Histogram::new(SECONDS.map(|bound| bound * 1e3)),
            dead_letters: Gauge::default(),
            dedup_keys: Gauge::default(),
            rows_mem_bytes: Gauge::default(),
            dedup_mem_bytes: Gauge::default(),
            rows_bytes: Gauge::default(),
            rows_runs: Gauge::default(),
            toast_unfilled: Gauge::default(),
        }
    }
}

impl Observed {
    /// The store was opened, and took so long to recover.
    pub fn recovered(&self, took: Duration, dead_letters: u64, dedup_keys: u64) {
        self.recovery_seconds.set(took.as_secs_f64());
        self.dead_letters.set(dead_letters as i64);
        self.dedup_keys.set(dedup_keys as i64);
    }

    /// Commits since the start.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How long the commits took since this was last asked, microseconds.
    pub(super) fn take_recent_commits(&self) -> Counts {
        std::mem::take(&mut *self.recent_commits.lock())
    }

    /// The writer has committed.
    pub fn committed(&self, facts: &CommitFacts) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_seconds.observe(facts.commit_ms / 1e3);
        self.recent_commits.lock().add((facts.commit_ms * 1e3) as u32);
        self.processing_seconds.observe(facts.process_ms / 1e3);
        if facts.records > 0 {
            self.publish_ms.observe(facts.publish_ms);
        }
        self.dead_letters.set(facts.dead_letters as i64);
        self.dedup_keys.set(facts.dedup_keys as i64);
        self.rows_mem_bytes.set(facts.rows_mem_bytes as i64);
        self.dedup_mem_bytes.set(facts.dedup_mem_bytes as i64);
        self.rows_bytes.set(facts.rows_bytes as i64);
        self.rows_runs.set(facts.rows_runs as i64);
        self.toast_unfilled.set(facts.toast_unfilled as i64);
    }
}

/// The OpenMetrics text of everything.
fn render(edge: &Edge) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let to = &mut registry;
    pipeline(edge, to);
    source::source(&edge.watch, &edge.intake.log, to);
    postgres::postgres(&edge.watch, to);
    store::store(&edge.control, to);
    edge_counts(edge, to);
    feeds(&edge.serving, to);
    jobs(&edge.watch, to);
    shared_cache(&edge.serving, to);
    port::port(&edge.watch, to);
    warehouse::warehouse(&edge.watch, to);
    warehouse::breakers(edge, to);
    process::process(to);
    ranking(&edge.serving, to);
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Nodes with the same fingerprint make the same lists of the same state.
fn ranking(serving: &Serving, to: &mut Registry) {
    let fingerprint = format!("{:016x}", serving.state.read().ranking().fingerprint());
    let value = (labels([("fingerprint", &fingerprint)]), 1.0);
    gauges(to, "nova_ranking_info", "1, with the fingerprint of the numbers that lists are made by", [value]);
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

fn real(to: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Real::default();
    gauge.set(value);
    to.register(name, help, gauge);
}

/// The same, of what only grows.
fn total(to: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    to.register(name, help, counter);
}

/// The same, of seconds.
fn real_total(to: &mut Registry, name: &str, help: &str, value: f64) {
    let counter = Counter::<f64, AtomicU64>::default();
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

/// The same of several things with labels.
#[derive(Debug)]
struct SecondsOf(Vec<(Labels, Seconds)>);

impl EncodeMetric for SecondsOf {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|(labels, seconds)| seconds.put(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn pipeline(edge: &Edge, to: &mut Registry) {
    let (observed, partitions) = (&edge.watch.observed, edge.watch.shared.partitions());
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
    let help = "Partitions whose next record waits for the registry, or for a schema that fits";
    whole(to, "nova_partitions_waiting", help, edge.watch.shared.waits().len());
    one(to, "nova_commit_seconds", "Time of durable commits", observed.commit_seconds.clone());
    let help = "Time from a batch's begin in the writer until readers see it";
    one(to, "event_processing_duration_seconds", help, observed.processing_seconds.clone());
    let help = "Time from a commit of records until no reader sees what was before it, milliseconds";
    one(to, "cache_invalidation_lag_ms", help, observed.publish_ms.clone());
    one(to, "nova_dlq_depth", "Dead letters that wait", observed.dead_letters.clone());
    one(to, "nova_dedup_keys", "Event ids that are remembered", observed.dedup_keys.clone());
    one(to, "nova_rows_bytes", "Stored rows, without what the store adds", observed.rows_bytes.clone());
    one(to, "nova_rows_runs", "Sorted runs in which stored rows stand", observed.rows_runs.clone());
    let help = "Unchanged values that no stored row could fill, since the start";
    one(to, "nova_toast_unfilled", help, observed.toast_unfilled.clone());
    one(to, "nova_recovery_seconds", "Time that the last start took to recover", observed.recovery_seconds.clone());
    let mem = memory(edge).map(|(name, bytes)| (labels([("structure", name)]), bytes as f64));
    gauges(to, "nova_mem_bytes", "Memory of each structure", mem);
    let free = edge.control.reads.disk_free_bytes().unwrap_or(0);
    whole(to, "nova_disk_free_bytes", "Room on the store's disk", usize::try_from(free).unwrap_or(usize::MAX));
}

/// Bytes of each structure.
pub(super) fn memory(edge: &Edge) -> impl Iterator<Item = (&'static str, usize)> {
    let observed = &edge.watch.observed;
    let mem = STRUCTURES.iter().map(|(name, bytes)| (*name, bytes(&edge.serving.state.read())));
    let mem = mem.chain([("snapshots", edge.serving.feeds.mem_bytes())]);
    let mem = mem.chain(edge.watch.port.iter().map(|port| ("cache", port.cache.stats().bytes as usize)));
    let of_writer = [("rows", &observed.rows_mem_bytes), ("dedup", &observed.dedup_mem_bytes)];
    mem.chain(of_writer.map(|(name, gauge)| (name, gauge.get().max(0) as usize)))
}

fn edge_counts(edge: &Edge, to: &mut Registry) {
    let observed = &edge.watch.observed;
    one(to, "events_ingested", "Client events accepted over HTTP", observed.events_ingested.clone());
    one(to, "events_deduped", "Client events over HTTP whose id was known", observed.events_deduped.clone());
    let decisions = edge.gate.limiter.decisions.all();
    let decisions =
        decisions.map(|(class, decision, count)| (labels([("class", class), ("decision", decision)]), count));
    counters(to, "rate_limit", "Requests by class: granted, over the caller's quota, or shed", decisions);
    if let Some(tracer) = &edge.tracer {
        let results = [("sent", &tracer.counts.sent), ("dropped", &tracer.counts.dropped)];
        let spans = results.map(|(result, count)| (labels([("result", result)]), count.load(Ordering::Relaxed)));
        counters(to, "nova_otlp_spans", "Spans for the collector, by what became of them", spans);
    }
    let refused = edge.auth.refused.all().map(|(reason, count)| (labels([("reason", reason.name())]), count));
    counters(to, "nova_auth_refused", "Requests whose token was refused, by reason", refused);
    one(to, "nova_events_rejected", "Client events over HTTP that were refused", observed.events_rejected.clone());
}

fn feeds(serving: &Serving, to: &mut Registry) {
    let counts = serving.feeds.served.total();
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

fn jobs(watch: &Watch, to: &mut Registry) {
    let statuses = watch.jobs.runner.statuses();
    let results = statuses.iter().flat_map(|(job, status)| {
        status.results().map(|(result, count)| (labels([("job", job), ("result", result)]), count))
    });
    counters(to, "job_refresh", "Refreshes of jobs, by how they ended", results.collect::<Vec<_>>());
    let seconds = |counts: &Counts| Seconds { counts: counts.clone(), unit: 1e-6 };
    let took = statuses.iter().map(|(job, status)| (labels([("job", job)]), seconds(&status.took_us)));
    one(to, "job_refresh_duration_seconds", "Time of refreshes of jobs", SecondsOf(took.collect()));
    let parked =
        statuses.iter().map(|(job, status)| (labels([("job", job)]), f64::from(u8::from(status.parked.is_some()))));
    gauges(to, "nova_job_parked", "1 while a job keeps failing and is tried rarely", parked);
    let retries = &watch.retries;
    let results = [("healed", &retries.healed), ("kept", &retries.kept), ("waiting", &retries.waiting)];
    let results = results.map(|(result, count)| (labels([("result", result)]), count.load(Ordering::Relaxed)));
    let help = "Dead letters tried again by themselves: applied, dead as before, or not told yet";
    counters(to, "nova_dlq_retries", help, results);
}

fn shared_cache(serving: &Serving, to: &mut Registry) {
    let Some(shared) = &serving.shared_cache else { return };
    let (counts, stats) = (shared.copies.counts(), shared.cache.stats());
    whole(to, "nova_shared_copies", "Copies that the shared cache may hold, or that wait", counts.entries);
    whole(to, "nova_shared_copies_waiting", "Copies to be made or deleted in the shared cache", counts.waiting);
    let help = "Copies not made or deleted because too many are watched";
    total(to, "nova_shared_copies_dropped", help, counts.dropped);
    total(to, "nova_shared_cache_failures", "Times that the shared cache gave no answer", stats.server_failures);
}
