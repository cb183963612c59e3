//! The metrics of the store's pages and of its backups.

use prometheus_client::registry::Registry;

use crate::http::edge::Control;
use crate::http::shapes::CheckState;

use super::family::{gauges, labels};

pub(super) fn store(control: &Control, to: &mut Registry) {
    let (reads, now_ms) = (&control.reads, control.clock.now_ms());
    let state = reads.store_check();
    let states = CheckState::ALL.map(|one| (labels([("result", one.name())]), f64::from(u8::from(one == state))));
    gauges(to, "nova_store_check", "1 for how far the check of the store's pages is", states);
    let Some(times) = reads.backup_times() else { return };
    let age = |at_ms: i64| [(Vec::new(), (now_ms - at_ms).max(0) as f64 / 1e3)];
    let help = "Age of the latest backup; not there before the first";
    gauges(to, "nova_backup_age_seconds", help, age(times.made_at_ms));
    let help = "Time since the latest backup was last compared with its manifest";
    gauges(to, "nova_backup_verified_age_seconds", help, age(times.verified_at_ms));
    let help = "1 where the last nova backup --verify found a backup that is not what was made";
    gauges(to, "nova_backup_verify_failed", help, [(Vec::new(), f64::from(u8::from(times.verify_failed)))]);
}
