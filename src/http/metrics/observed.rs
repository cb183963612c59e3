//! Figures that threads and routes count for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::pipeline::writer::CommitFacts;
use crate::state::histogram::Histogram as Counts;

use super::family::{Real, SECONDS};

/// The figures that threads and routes count for the metrics.
#[derive(Debug)]
pub struct Observed {
    pub events_ingested: Counter,
    pub events_deduped: Counter,
    pub events_rejected: Counter,
    pub(super) recovery_seconds: Real,
    commits: AtomicU64,
    pub(super) commit_seconds: Histogram,
    /// The durations of the commits since the last call of `take_recent_commits`, in microseconds.
    recent_commits: Mutex<Counts>,
    pub(super) processing_seconds: Histogram,
    pub(super) publish_ms: Histogram,
    pub dead_letters: Gauge,
    pub(super) dedup_keys: Gauge,
    pub(super) rows_mem_bytes: Gauge,
    pub(super) dedup_mem_bytes: Gauge,
    pub(super) rows_bytes: Gauge,
    pub(super) rows_runs: Gauge,
    pub(super) toast_unfilled: Gauge,
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
    /// Notes that nova has recovered the store, and how long the recovery took.
    pub fn recovered(&self, took: Duration, dead_letters: u64, dedup_keys: u64) {
        self.recovery_seconds.set(took.as_secs_f64());
        self.dead_letters.set(dead_letters as i64);
        self.dedup_keys.set(dedup_keys as i64);
    }

    /// The number of commits since the start.
    pub(in crate::http) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The durations of the commits since the last call of this function, in microseconds.
    pub(in crate::http) fn take_recent_commits(&self) -> Counts {
        std::mem::take(&mut *self.recent_commits.lock())
    }

    /// Notes a commit of the writer.
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
