//! Tests of the daily figures in a real store.

use nova::app::Setup;
use nova::clock::Clock;
use nova::state::{DAY_MS, UserNo};

use super::super::support;
use super::{start, status, stop, until};

const NOW_MS: i64 = 1_795_500_000_000;

#[test]
fn what_was_saved_survives_a_crash_and_what_came_since_a_stop() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |dir: &tempfile::TempDir| {
        let mut setup = support::setup("events");
        (setup.data_dir, setup.clock) = (dir.path().to_owned(), Clock::manual(NOW_MS));
        setup
    };
    let pages = |setup: &Setup| {
        let node = start(setup);
        let counts = node.edge.serving.feeds.served.day(NOW_MS / DAY_MS).unwrap_or_default();
        let suggested = node.edge.serving.shown.day(NOW_MS / DAY_MS).suggested;
        stop(node);
        (counts.feeds, counts.feed_hits, counts.visible_ms.count(), suggested)
    };
    let node = start(&at(&first));
    until("the first save", || (status(&node, "figures_save").ended[0] > 0).then_some(()));
    let served = &node.edge.serving.feeds.served;
    (0..10).for_each(|n| served.feed(NOW_MS, n > 2, false, 5));
    served.visible(NOW_MS, 40);
    node.edge.serving.shown.note(UserNo::of(1), [2, 3].map(UserNo::of).into_iter(), NOW_MS);
    node.edge.watch.jobs.runner.wake("figures_save");
    until("the second", || (status(&node, "figures_save").ended[0] > 1).then_some(()));
    served.feed(NOW_MS, true, false, 5);
    // The copied store is like a store after a crash: it lacks what a node writes when it ends.
    node.running.store.copy_to(&second.path().join(nova::app::STORE_FILE), |_, _| Ok(Vec::new())).unwrap();
    stop(node);
    assert_eq!(pages(&at(&second)), (10, 7, 1, 2));
    assert_eq!(pages(&at(&first)), (11, 8, 1, 2));
}
