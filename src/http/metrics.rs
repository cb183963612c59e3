//! `/metrics`: what Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Outcome;
use crate::pipeline::progress::PartitionStatus;

use super::limit::Decisions;

/// Counters that the threads and routes move.
#[derive(Debug, Default)]
pub struct Observed {
    pub commits: AtomicU64,
    pub commit_micros: AtomicU64,
    pub dead_letters: AtomicU64,
    pub events_ingested: AtomicU64,
    pub events_deduped: AtomicU64,
    pub events_rejected: AtomicU64,
    pub recovery_micros: AtomicU64,
}

/// What is read at the moment of the scrape.
pub struct Figures<'a> {
    pub partitions: &'a [PartitionStatus],
    pub mem_bytes: &'a [(&'static str, usize)],
    pub limits: &'a Decisions,
}

impl Observed {
    /// The text exposition format, version 0.0.4.
    pub fn render(&self, figures: &Figures<'_>) -> String {
        let mut out = String::new();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |micros: &AtomicU64| load(micros) as f64 / 1e6;
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        head(&mut out, "nova_records_total", "counter", "Records consumed, by topic and outcome.");
        let mut topics: std::collections::BTreeMap<&str, [u64; 6]> = std::collections::BTreeMap::new();
        for status in figures.partitions {
            let sums = topics.entry(&status.name.topic).or_default();
            sums.iter_mut().zip(status.row.outcomes).for_each(|(sum, count)| *sum += count);
        }
        for (topic, sums) in &topics {
            for outcome in Outcome::ALL {
                let (name, count) = (outcome.name(), sums[outcome as usize]);
                let topic = topic.replace('\\', "\\\\").replace('"', "\\\"");
                let _ = writeln!(out, "nova_records_total{{topic=\"{topic}\",outcome=\"{name}\"}} {count}");
            }
        }
        head(&mut out, "nova_accounting_imbalance", "gauge", "Partitions whose outcomes do not add up; always 0.");
        let imbalance = figures.partitions.iter().filter(|status| !status.row.balanced()).count();
        let _ = writeln!(out, "nova_accounting_imbalance {imbalance}");
        head(&mut out, "nova_partitions_held", "gauge", "Partitions that wait for a person.");
        let held = figures.partitions.iter().filter(|status| status.hold.is_some()).count();
        let _ = writeln!(out, "nova_partitions_held {held}");
        head(&mut out, "nova_commit_seconds", "summary", "Time of durable commits.");
        let _ = writeln!(out, "nova_commit_seconds_sum {}", seconds(&self.commit_micros));
        let _ = writeln!(out, "nova_commit_seconds_count {}", load(&self.commits));
        head(&mut out, "nova_dlq_depth", "gauge", "Dead letters that wait.");
        let _ = writeln!(out, "nova_dlq_depth {}", load(&self.dead_letters));
        head(&mut out, "nova_recovery_seconds", "gauge", "Time that the last start took to recover.");
        let _ = writeln!(out, "nova_recovery_seconds {}", seconds(&self.recovery_micros));
        for (name, help, counter) in [
            ("events_ingested_total", "Client events accepted over HTTP.", &self.events_ingested),
            ("events_deduped_total", "Client events over HTTP whose id was known.", &self.events_deduped),
            ("nova_events_rejected_total", "Client events over HTTP that were refused.", &self.events_rejected),
        ] {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "{name} {}", load(counter));
        }
        head(&mut out, "rate_limit_total", "counter", "Requests by class: granted, over the caller's quota, or shed.");
        for (class, decision, count) in figures.limits.all() {
            let _ = writeln!(out, "rate_limit_total{{class=\"{class}\",decision=\"{decision}\"}} {count}");
        }
        head(&mut out, "nova_mem_bytes", "gauge", "Memory of each structure.");
        for (structure, bytes) in figures.mem_bytes {
            let _ = writeln!(out, "nova_mem_bytes{{structure=\"{structure}\"}} {bytes}");
        }
        out
    }
}
