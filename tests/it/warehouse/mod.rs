//! The delivery of rows to ClickHouse, against a scripted stand-in, and against the real engine if there is one.

mod engine;
mod faults;
mod reconcile;

use std::collections::BTreeMap;
use std::time::Duration;

use nova::app::{Drain, Setup};
use nova::event::{Id, Record};
use nova::warehouse::clickhouse::ClickHouseSettings;
use nova::warehouse::sender::Pace;

use super::support;

/// A setup whose rows go to `url`, with short pauses between attempts.
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
    setup.pace = Pace { backoff_first_ms: 1, backoff_last_ms: 20, stall_ms: 20, held_max_ms: 100, ..Pace::default() };
    setup.drain = Drain { idle: Duration::from_secs(60), most: Duration::from_secs(120) };
    setup
}

/// Client events, and the number of ids that must be in `post_events` once each.
fn events(count: u64, seed: u64) -> (Vec<Record>, u64) {
    let (records, expected) = support::events::mix(count, seed);
    (records, expected.applied)
}

/// The number of times that each id occurs.
fn times(ids: impl IntoIterator<Item = Id>) -> BTreeMap<Id, usize> {
    let mut times = BTreeMap::new();
    ids.into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    times
}
