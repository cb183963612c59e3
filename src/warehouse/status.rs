//! The state of the delivery, which the outbox, the sender, and the modules that report this state share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::breaker::{Breaker, BreakerState};
use crate::clock::monotonic_now;

use super::finding::Finding;
use super::mark::Mark;
use super::pace::BREAKER;
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
    /// The time at which the oldest waiting batch was begun, in epoch milliseconds.
    pub oldest_ms: Option<i64>,
    /// The number of the table's next batch, and the lowest number of its waiting batches.
    pub next_batch: u64,
    pub first_waiting_batch: Option<u64>,
    /// The reason why the table gets no rows, as a text for a person.
    pub stalled: Option<Arc<str>>,
}

impl TargetStatus {
    /// Whether ClickHouse has every batch with a number below `batch`. Counts of rows cannot say this, because a batch
    /// may be acknowledged before a batch with a lower number.
    pub fn delivered_below(&self, batch: u64) -> bool {
        self.first_waiting_batch.is_none_or(|first| first >= batch)
    }
}

#[derive(Debug, Default)]
struct Inner {
    targets: [TargetStatus; Target::COUNT],
    /// The reason why nova delivers nothing at all: the server is not reachable or not migrated.
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
    /// Wakes waiting tasks in the order in which they began to wait, so that a simulation is repeatable.
    commits: Notify,
    breaker: Mutex<Breaker>,
    /// The time, by the breaker's clock, since which the breaker has allowed only trials. nova logs one line each time
    /// when the breaker opens.
    away_ms: Mutex<Option<i64>>,
    /// The origin of the breaker's clock. The breaker has its own clock, because wall time could stand still or be set
    /// back.
    born: tokio::time::Instant,
    /// Whether the server is migrated and checked, so that nova sends rows.
    pub prepared: AtomicBool,
    pub query_seconds: Histogram,
    pub query_errors: Counter,
    /// The seconds that the last check of the materialised views took; `views_staleness` is how far the views were
    /// behind.
    pub views_seconds: Gauge<f64, AtomicU64>,
    pub views_staleness: Gauge<f64, AtomicU64>,
    /// The number of batches that nova found in the base table without an acknowledgement. It is unknown whether the
    /// views have the rows of the batches that nova found without an acknowledgement.
    pub uncertain_batches: AtomicU64,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            inner: Mutex::default(),
            changed: Condvar::new(),
            commits: Notify::new(),
            breaker: Mutex::new(Breaker::new(BREAKER)),
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
    /// Returns the state of all tables, in the order of [`Target::ALL`].
    pub fn targets(&self) -> [TargetStatus; Target::COUNT] {
        self.inner.lock().targets.clone()
    }

    pub fn unprepared(&self) -> Option<Arc<str>> {
        self.inner.lock().unprepared.clone()
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.inner.lock().findings.clone()
    }

    /// Returns the batches that `post_events` must have.
    pub fn marks(&self) -> Vec<Mark> {
        self.inner.lock().marks.clone()
    }

    /// Returns the problems of the delivery as texts that anybody may read. ClickHouse's own texts, which may contain
    /// rows, are only in the log.
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

    /// Returns the number of bytes of all rows that wait for ClickHouse.
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

    /// Returns how many milliseconds an attempt must wait because of the breaker. 0 allows the attempt.
    pub(super) fn admit(&self) -> i64 {
        self.breaker.lock().admit(self.age_ms())
    }

    /// Notes that the server answered, whatever its answer is.
    pub(super) fn answered(&self) {
        self.breaker.lock().answered();
        // This statement releases the lock of `away_ms` at its end, so that no deadlock is possible. `complaints` takes
        // the lock of `away_ms` while it holds the lock of `inner`, and `waiting_rows` takes the lock of `inner`.
        let away_ms = self.away_ms.lock().take();
        if let Some(since_ms) = away_ms {
            let seconds = (self.age_ms() - since_ms) / 1_000;
            tracing::info!(
                seconds,
                waiting_rows = self.waiting_rows(),
                "ClickHouse answers again: waiting rows are sent"
            );
        }
    }

    /// Notes that the server gave no reliable answer.
    pub(super) fn failed(&self, failure: &Failure) {
        let now_ms = self.age_ms();
        if self.breaker.lock().failed(now_ms) {
            *self.away_ms.lock() = Some(now_ms);
            tracing::error!(
                "ClickHouse does not answer: {failure}: rows wait in the outbox, nothing is lost, and it is tried again every \
                 second; start it, or correct clickhouse.url"
            );
        }
    }

    /// Sets the counts of every table after a commit, and keeps the reasons of stalled tables. Stalls stay.
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

    /// Returns a future that ends at the first commit after it is enabled.
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

    /// Waits until no row waits for ClickHouse. The wait ends early if ClickHouse acknowledges no row within `idle`, or
    /// after `most`.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In an earlier version of nova, `complaints` and an answer of the server at the same moment caused a deadlock of
    /// two threads. The delivery stopped, and then the writer.
    #[test]
    fn a_look_at_complaints_and_an_answer_take_their_locks_in_one_order() {
        let status = Status::default();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|_| drop(status.complaints())));
            for _ in 0..20_000 {
                *status.away_ms.lock() = Some(0);
                status.answered();
            }
        });
        assert!(status.complaints().is_empty());
    }
}
