//! The store's pages and its backups.

use prometheus_client::registry::Registry;

use crate::http::Edge;

use super::{gauges, labels};

/// States of the check, each a label.
const CHECK_STATES: [&str; 4] = ["ok", "running", "unfinished", "damaged"];

pub(super) fn store(edge: &Edge, to: &mut Registry) {
    let (reads, now_ms) = (&edge.gate.reads, edge.clock.now_ms());
    let state = reads.store_check();
    let states = CHECK_STATES.map(|one| (labels([("state", one)]), f64::from(u8::from(one == state))));
    gauges(to, "nova_store_check", "1 for the state of the check of the store's pages at the start", states);
    let times = reads.backup_times();
    let age = |at_ms: i64| [(Vec::new(), (now_ms - at_ms).max(0) as f64 / 1e3)];
    let made = times.iter().flat_map(|times| age(times.made_at_ms));
    gauges(to, "nova_backup_age_seconds", "Age of the latest backup; none is shown before the first", made);
    let verified = times.iter().flat_map(|times| age(times.verified_at_ms));
    let help = "Time since the latest backup was last compared with its manifest";
    gauges(to, "nova_backup_verified_age_seconds", help, verified);
}
