//! The state shared by the outbox, the sender and everyone who watches them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::breaker::BreakerState;
use crate::clock::monotonic_now;

use super::breaker::Breaker;
use super::finding::Finding;
use super::mark::Mark;
use super::target::Target;
use super::verdict::Failure;

/// The state of one table as of the last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// The number of rows since the store was made: emitted = acknowledged + dead + waiting (N3).
    pub emitted: u64,
    pub acknowledged: u64,
    pub dead: u64,
    pub waiting_rows: u64,
    pub waiting_bytes: u64,
    /// When the oldest waiting batch was begun, epoch milliseconds.
    pub oldest_ms: Option<i64>,
    /// Why the table takes no rows, in words for a person.
    pub stalled: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Inner {
    targets: [TargetStatus; Target::COUNT],
    /// Why nothing at all is delivered: the server is not reachable or not migrated.
    unprepared: Option<Arc<str>>,
    /// The findings of the last check of the tables.
    findings: Vec<Finding>,
    /// The batches that `post_events` must have.
    marks: Vec<Mark>,
}

/// The state of the delivery.
#[derive(Debug)]
pub struct Status {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Wakes waiters in the order of their waiting, so that a simulation is repeatable.
    commits: Notify,
    breaker: Mutex<Breaker>,
    /// Since when the breaker allows only trials, by its clock. There is one log line for each such time.
    away_ms: Mutex<Option<i64>>,
    /// The origin of the breaker's clock. Wall time could stand still or be set back.
    born: tokio::time::Instant,
    /// Whether the server was migrated and checked, so that rows are sent.
    pub prepared: AtomicBool,
    pub query_seconds: Histogram,
    pub query_errors: Counter,
    /// The last check of the materialised views: how long it took, and how far they are behind.
    pub views_seconds: Gauge<f64, AtomicU64>,
    pub views_staleness: Gauge<f64, AtomicU64>,
    /// The number of batches that were found in the base table without an acknowledgement, so that it is unknown
    /// whether the views have them.
    pub uncertain_batches: AtomicU64,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            inner: Mutex::default(),
            changed: Condvar::new(),
            commits: Notify::new(),
            breaker: Mutex::default(),
            away_ms: Mutex::default(),
            born: tokio::time::Instant::now(),
            prepared: AtomicBool::new(false),
            query_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            query_errors: Counter::default(),
            views_seconds: Gauge::default(),
            views_staleness: Gauge::default(),
            uncertain_batches: AtomicU64::new(0),
        }
    }
}

impl Status {
    /// All tables, in the order of [`Target::ALL`].
    pub fn targets(&self) -> [TargetStatus; Target::COUNT] {
        self.inner.lock().targets.clone()
    }

    pub fn unprepared(&self) -> Option<Arc<str>> {
        self.inner.lock().unprepared.clone()
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.inner.lock().findings.clone()
    }

    /// The batches that `post_events` must have.
    pub fn marks(&self) -> Vec<Mark> {
        self.inner.lock().marks.clone()
    }

    /// The problems for a person, for anyone to read. The server's own texts, which may contain rows, are only in the
    /// log.
    pub fn complaints(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let unprepared =
            inner.unprepared.iter().map(|_| "nothing is delivered yet, and the log tells why; nova check".to_owned());
        let away_ms = *self.away_ms.lock();
        let away = away_ms.map(|since_ms| {
            let seconds = (self.age_ms() - since_ms) / 1_000;
            format!("it does not answer since {seconds} s: rows wait in the outbox, and the log tells why; nova check")
        });
        let findings = inner.findings.iter().map(Finding::to_string);
        let mut complaints: Vec<_> = away.into_iter().chain(unprepared).chain(findings).collect();
        for (target, status) in Target::ALL.iter().zip(&inner.targets) {
            let told = inner.findings.iter().any(|finding| finding.stops.stops(*target));
            if status.stalled.is_some() && !told {
                complaints.push(format!("{target} takes no rows, and the log tells why; nova check"));
            }
        }
        complaints
    }

    /// The bytes of rows that wait for ClickHouse.
    pub fn waiting_bytes(&self) -> u64 {
        self.inner.lock().targets.iter().map(|target| target.waiting_bytes).sum()
    }

    pub fn waiting_rows(&self) -> u64 {
        self.inner.lock().targets.iter().map(|target| target.waiting_rows).sum()
    }

    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.lock().state(self.age_ms())
    }

    fn age_ms(&self) -> i64 {
        self.born.elapsed().as_millis() as i64
    }

    /// How long to wait before an attempt, in milliseconds. 0 allows the attempt.
    pub(super) fn admit(&self) -> i64 {
        self.breaker.lock().admit(self.age_ms())
    }

    /// Notes that the server answered, whatever the answer is.
    pub(super) fn answered(&self) {
        self.breaker.lock().answered();
        if let Some(since_ms) = self.away_ms.lock().take() {
            let seconds = (self.age_ms() - since_ms) / 1_000;
            tracing::info!(
                seconds,
                waiting_rows = self.waiting_rows(),
                "ClickHouse answers again: waiting rows are sent"
            );
        }
    }

    /// Notes that there was no reliable answer.
    pub(super) fn failed(&self, failure: &Failure) {
        let now_ms = self.age_ms();
        self.breaker.lock().failed(now_ms);
        if self.breaker_state() == BreakerState::Closed {
            return;
        }
        let mut away_ms = self.away_ms.lock();
        if away_ms.is_none() {
            *away_ms = Some(now_ms);
            tracing::error!(
                "ClickHouse does not answer: {failure}: rows wait in the outbox, nothing is lost, and it is tried again every \
                 second; start it, or correct clickhouse.url"
            );
        }
    }

    /// Sets the counts of every table after a commit. Stalls stay.
    pub(super) fn committed(&self, counts: [TargetStatus; Target::COUNT], marks: &[Mark]) {
        let mut inner = self.inner.lock();
        if inner.marks != marks {
            inner.marks = marks.to_vec();
        }
        for (known, counts) in inner.targets.iter_mut().zip(counts) {
            let stalled = known.stalled.take();
            *known = TargetStatus { stalled, ..counts };
        }
        self.changed.notify_all();
        self.commits.notify_waiters();
    }

    /// Ends with the first commit after the future is enabled.
    pub(super) fn next_commit(&self) -> Notified<'_> {
        self.commits.notified()
    }

    pub(super) fn stall(&self, target: Target, reason: Option<Arc<str>>) {
        let known = &mut self.inner.lock().targets[target.index()].stalled;
        if *known != reason {
            match &reason {
                Some(reason) => tracing::error!(table = target.name(), "ClickHouse table stalls: {reason}"),
                None => tracing::info!(table = target.name(), "ClickHouse table gets rows again"),
            }
            *known = reason;
        }
    }

    pub(super) fn set_unprepared(&self, reason: Option<Arc<str>>) {
        let known = &mut self.inner.lock().unprepared;
        if *known != reason {
            if let Some(reason) = &reason {
                tracing::warn!("ClickHouse cannot be used yet; rows wait in the outbox: {reason}");
            }
            *known = reason;
        }
    }

    pub(super) fn set_findings(&self, findings: Vec<Finding>) {
        self.inner.lock().findings = findings;
    }

    pub(super) fn asked(&self, took: Duration, failed: bool) {
        self.query_seconds.observe(took.as_secs_f64());
        self.query_errors.inc_by(u64::from(failed));
    }

    /// Waits until no row waits, as long as some are acknowledged within `idle` and for no longer than `most`.
    pub fn wait_empty(&self, idle: Duration, most: Duration) -> bool {
        let end = monotonic_now() + most;
        let waiting = |inner: &Inner| inner.targets.iter().map(|target| target.waiting_rows).sum::<u64>();
        let mut inner = self.inner.lock();
        let (mut before, mut progress) = (waiting(&inner), monotonic_now());
        while before > 0 {
            let until = end.min(progress + idle);
            if self.changed.wait_until(&mut inner, until).timed_out() && monotonic_now() >= until {
                return waiting(&inner) == 0;
            }
            let now = waiting(&inner);
            if now < before {
                progress = monotonic_now();
            }
            before = now;
        }
        true
    }
}
