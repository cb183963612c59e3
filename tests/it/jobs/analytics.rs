//! Tests the jobs for ClickHouse (warm-up and drift) with the real engine that `NOVA_TEST_CLICKHOUSE` names.

use std::time::Duration;

use nova::app::{self, Setup};
use nova::clock::Clock;
use nova::event::{Action, Effect, Facts, Id, Record};
use nova::feed::trending::Window;
use nova::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};

use super::super::support::events::{BEGIN_MS, mix};
use super::super::support::{self, Listed};
use super::{start, status, stop, until};

/// Returns the posts of the events that [`mix`] makes.
fn posts() -> impl Iterator<Item = Id> {
    (0..100).map(|n| Id::from_u128(2 << 100 | n))
}

fn setup(dir: &tempfile::TempDir, clickhouse: &ClickHouseSettings) -> Setup {
    let mut setup = support::setup("events");
    setup.data_dir = dir.path().to_owned();
    setup.clock = Clock::manual(BEGIN_MS + 30 * 60_000);
    setup.clickhouse = Some(clickhouse.clone());
    setup
}

fn feed(setup: &Setup, records: Vec<Record>) {
    let running = app::open(setup).unwrap().start(Box::new(Listed::new(records, 700)), setup).unwrap();
    running.finish(|_| {}).unwrap();
}

fn settings(url: String, database: String, timeout: Duration) -> ClickHouseSettings {
    let (user, password, ca_file, layout) = (None, None, None, Default::default());
    ClickHouseSettings { url, database, user, password, ca_file, layout, timeout }
}

#[test]
fn a_new_store_begins_with_the_lists_of_the_views_and_counts_agree_until_rows_are_lost() {
    let Some(url) = crate::support::environment("NOVA_TEST_CLICKHOUSE") else {
        eprintln!("skipped: NOVA_TEST_CLICKHOUSE is not set");
        return;
    };
    let database = format!("nova_test_jobs_{:08x}", uuid::Uuid::new_v4().as_fields().0);
    let settings = settings(url, database, Duration::from_secs(60));
    let clickhouse = ClickHouse::new(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (records, expected) = mix(6_000, 77);
    feed(&setup(&first, &settings), records.clone());

    // A node with this store has counted every event that the views of ClickHouse contain.
    let node = start(&setup(&first, &settings));
    until("a comparison", || (status(&node, "views_drift").ended[0] > 0).then_some(()));
    assert_eq!(node.edge.watch.drift.as_ref().unwrap().lock().events, [0; 5]);
    assert!(node.edge.serving.trending.warming().is_empty(), "a store that has counted begins with its own");
    stop(node);

    // A new store has the rows of the posts, and has counted no views.
    let node = start(&setup(&second, &settings));
    for post in posts() {
        let row = Facts::Post { author: Id::from_u128(9), created_at_us: BEGIN_MS * 1_000, published: true };
        node.edge.serving.state.write().apply(&Effect::Row { key: post, old: None, new: Some(row) });
    }
    let list =
        until("a warmed list", || Some(node.edge.serving.trending.last(Window::Day)).filter(|last| last.list.warmed));
    let count = |post: Id, action: Action| expected.accepted.get(&(post, action as u8)).map_or(0, |n| *n as i64);
    assert_eq!(list.list.entries.len(), 100);
    for entry in &list.list.entries {
        let (views, shares) = (count(entry.post, Action::View), count(entry.post, Action::Share));
        assert_eq!((entry.score, entry.counts[Action::View as usize]), (views + 50 * shares, views));
    }
    until("a comparison", || (status(&node, "views_drift").ended[0] > 0).then_some(()));
    let drift = node.edge.watch.drift.as_ref().unwrap().lock().events;
    let all = Action::ALL.map(|action| -posts().map(|post| count(post, action)).sum::<i64>());
    assert_eq!(drift, all, "the views have what this store has not counted yet");
    stop(node);

    // The test sends the events again, as a replay does. nova counts no event twice.
    let setup_again = setup(&second, &settings);
    let without = Setup { clickhouse: None, ..setup(&second, &settings) };
    feed(&without, records);
    runtime.block_on(clickhouse.run("TRUNCATE TABLE post_metrics_1h")).unwrap();
    let node = start(&setup_again);
    until("a comparison", || (status(&node, "views_drift").ended[0] > 0).then_some(()));
    assert_eq!(node.edge.watch.drift.as_ref().unwrap().lock().events, all.map(|count| -count), "lost rows are told");
    stop(node);
    runtime.block_on(clickhouse.run_bare(&format!("DROP DATABASE {}", clickhouse.database()))).unwrap();
}

#[test]
fn a_server_that_is_away_fails_its_jobs_visibly_and_parks_none() {
    // The port was free a moment ago, so no program listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = settings(format!("http://127.0.0.1:{port}"), "nova".to_owned(), Duration::from_secs(1));
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup(&dir, &settings);
    setup.drain = app::Drain { idle: Duration::ZERO, most: Duration::ZERO };
    let node = start(&setup);
    for job in ["views_drift", "trending_warmup"] {
        until(job, || (status(&node, job).results()[4].1 > 0).then_some(()));
        assert_eq!(status(&node, job).parked, None);
    }
    assert!(!node.edge.serving.trending.last(Window::Day).list.warmed);
    stop(node);
}
