//! The metrics of the direct connection to PostgreSQL: the replication slot, the store's lag behind the slot, and the
//! findings. nova has no such metrics if changes come from Kafka.

use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use crate::http::edge::Watch;
use crate::http::lag;
use crate::source::postgres::status::State;

use super::family::{Real, gauges, labels, one, total, whole};

/// The values of `pg_replication_slots.wal_status`, and `none` if the slot does not exist.
const WAL_STATUSES: [&str; 5] = ["reserved", "extended", "unreserved", "lost", "none"];

pub(super) fn postgres(watch: &Watch, to: &mut Registry) {
    let Some(status) = &watch.postgres else { return };
    let (view, partition) = (status.view(), status.partition());
    let reads = matches!(view.state, State::Streaming | State::Snapshot(_));
    whole(to, "nova_pg_up", "1 while the slot or a snapshot is read", usize::from(reads));
    let help = "Bytes of the server's log that the store does not have";
    real(to, "nova_pg_lag_bytes", help, Some(view.lag_bytes() as f64));
    let age = lag::of(watch).into_iter().find(|(name, _)| name == partition).and_then(|(_, lag)| lag);
    let help = "Age of the oldest change that the store does not have, at most";
    real(to, "nova_pg_lag_seconds", help, age.map(|lag| lag.age_ms as f64 / 1e3));
    let slot = view.seen.slot.as_ref();
    let held = slot.map(|slot| slot.held_bytes(view.seen.flush_lsn) as f64);
    real(to, "nova_pg_retained_wal_bytes", "Bytes of its log that the server keeps for the slot", held);
    let help = "Bytes of log until the server gives the slot up; not there without a limit";
    real(to, "nova_pg_safe_wal_bytes", help, slot.and_then(|slot| slot.safe_wal_bytes).map(|bytes| bytes as f64));
    let now = slot.map_or("none", |slot| slot.wal_status.as_str());
    let states = WAL_STATUSES.map(|status| (labels([("status", status)]), f64::from(u8::from(status == now))));
    gauges(to, "nova_pg_wal_status", "1 for the state of the slot's log at the server", states);
    let spilled = slot.map_or(0, |slot| u64::try_from(slot.spilled_bytes).unwrap_or(0));
    let help = "Bytes of transactions that went through the server's disk for the slot";
    total(to, "nova_pg_spill_bytes", help, spilled);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    total(to, "nova_pg_reconnects", "Sessions that failed and were begun again", count(&status.reconnects));
    total(to, "nova_pg_stalls", "Sessions that were ended because nothing came", count(&status.stalls));
    total(to, "nova_pg_snapshot_rows", "Rows that snapshots read", count(&status.snapshot_rows));
    total(to, "nova_pg_snapshots", "Snapshots that were begun", count(&status.snapshots));
    let done = matches!(view.state, State::Streaming) && !watch.shared.sweeping();
    whole(to, "nova_pg_snapshot_done", "0 while a snapshot is still to be read or swept", usize::from(done));
    real(to, "nova_pg_feedback_lsn", "The place of the log that was acknowledged last", Some(view.told_lsn as f64));
    let found = view.findings().map(|finding| (labels([("code", finding.code.name())]), 1.0));
    gauges(to, "nova_pg_findings", "1 for each finding that stands; docs/postgres.md has them", found);
}

/// Registers a gauge without labels, if the value is known.
fn real(to: &mut Registry, name: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        let gauge = Real::default();
        gauge.set(value);
        one(to, name, help, gauge);
    }
}
