//! The delivery of rows to ClickHouse, with a scripted double, and with the real ClickHouse if one is named.

mod engine;
mod faults;
mod native;
mod reconcile;
mod sending;

use std::collections::BTreeMap;
use std::time::Duration;

use nova::app::{Drain, Setup};
use nova::backoff::Backoff;
use nova::event::{Id, Record};
use nova::warehouse::clickhouse::ClickHouseSettings;
use nova::warehouse::sender::Pace;

use super::support;

/// Returns a setup whose rows are sent to `url`, with short pauses between attempts.
fn setup(name: &str, url: &str, database: &str) -> Setup {
    let mut setup = support::setup(name);
    setup.settings.truncate = nova::pipeline::TruncatePolicy::Apply;
    setup.clickhouse = Some(ClickHouseSettings {
        url: url.to_owned(),
        database: database.to_owned(),
        user: None,
        password: None,
        ca_file: None,
        layout: Default::default(),
        timeout: Duration::from_secs(20),
    });
    let backoff = Backoff { first: Duration::from_millis(1), last: Duration::from_millis(20) };
    setup.pace = Pace { backoff, stall_ms: 20, held_max_ms: 100, ..Pace::default() };
    setup.drain = Drain { idle: Duration::from_secs(60), most: Duration::from_secs(120) };
    setup
}

/// Returns client events, and the number of ids that `post_events` must have exactly once.
fn events(count: u64, seed: u64) -> (Vec<Record>, u64) {
    let (records, expected) = support::events::mix(count, seed);
    (records, expected.applied)
}

/// Returns the number of times that each id occurs.
fn times(ids: impl IntoIterator<Item = Id>) -> BTreeMap<Id, usize> {
    let mut times = BTreeMap::new();
    ids.into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    times
}
