//! ClickHouse is ahead of the store, because the store was restored from a backup or reads everything again.

use std::collections::BTreeSet;

use nova::app::{self, Setup};
use nova::clock::Clock;
use nova::event::{Decoded, Record};
use nova::pipeline::meta::Meta;
use nova::pipeline::progress::PartitionStatus;
use nova::pipeline::rebuild::rebuild;
use nova::pipeline::reconcile::{Report, reconcile};
use nova::pipeline::writer::Message;
use nova::warehouse::Target;
use nova::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use nova::warehouse::lint::missing_batches;
use nova_storage::testing::Recorder;

use super::super::support::{self, Listed, run, state_bytes, store_over};
use super::{events, setup, times};
use crate::support::clickhouse::{Fake, Fault};

fn asked(setup: &Setup, store: &nova_storage::Store, everything: bool) -> Report {
    let clickhouse = ClickHouse::new(setup.clickhouse.as_ref().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(reconcile(store, &clickhouse, everything, setup.clock.now_ms())).unwrap()
}

/// Runs records with small batches that are sealed all the time, so that commits, inserts and acknowledgements
/// alternate.
fn run_in_small_batches(setup: &Setup, backend: Recorder, records: Vec<Record>) -> Vec<PartitionStatus> {
    let opened = app::open_store(setup, store_over(backend)).unwrap();
    let running = opened.start(Box::new(Listed::new(records, 60)), setup).unwrap();
    let inbox = running.inbox.clone();
    let sealer = std::thread::spawn(move || while inbox.send(Message::Seal).is_ok() {});
    let statuses = running.finish(|_| {}).unwrap();
    sealer.join().unwrap();
    statuses
}

/// Case 13 of `docs/testing.md`: the store is restored from a backup of an arbitrary moment. ClickHouse has everything
/// that came after the backup, and has forgotten every token.
#[test]
fn n3_n5_after_a_restore_of_any_moment_what_clickhouse_has_is_counted_and_not_sent_again() {
    let (records, applied) = events(900, 31);
    let fake = Fake::start();
    fake.inner.lock().window_max = 0;
    let setup = setup("events", &fake.url, "nova");
    let backend = Recorder::new();
    run_in_small_batches(&setup, backend.clone(), records.clone());
    let whole = fake.inner.lock().stored.clone();
    let memory = |backend: &Recorder| {
        state_bytes(&app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap())
    };
    let (expected, syncs) = (memory(&backend), backend.syncs());
    let (mut doubled_without, mut dropped) = (0, 0);
    let committed = |sync: &usize| Meta::load(&store_over(backend.image(*sync, 1)).read().unwrap()).unwrap().is_some();
    let first = (4..syncs).find(committed).unwrap();
    for sync in (first..syncs).step_by((syncs / 20).max(1)) {
        // In the loop nova does not search for stored rows, so some rows are stored twice.
        fake.inner.lock().stored.clone_from(&whole);
        run(&setup, store_over(backend.image(sync, 1)), records.clone());
        doubled_without += times(fake.ids("post_events")).values().filter(|times| **times > 1).count();

        fake.inner.lock().stored.clone_from(&whole);
        let restored = backend.image(sync, 1);
        let report = asked(&setup, &store_over(restored.clone()), false);
        dropped += report.dropped;
        let restored = restored.image(restored.syncs(), 0);
        run(&setup, store_over(restored.clone()), records.clone());
        let times = times(fake.ids("post_events"));
        assert_eq!(times.len() as u64, applied, "sync {sync}");
        assert!(times.values().all(|times| *times == 1), "sync {sync}: a row was sent again");
        assert_eq!(memory(&restored), expected, "sync {sync}: an event was not counted, or twice");
        let opened = app::open_store(&setup, store_over(restored.image(restored.syncs(), 0))).unwrap();
        let events = &opened.warehouse.unwrap().targets()[Target::Events.index()];
        assert_eq!((events.emitted, events.acknowledged), (applied, applied), "sync {sync}: N3");
    }
    assert!(doubled_without > 0, "the test would not see doubled rows");
    assert!(dropped > 0, "no backup had rows in its outbox that were delivered later");
}

/// Batches that the lost process had sealed but not delivered are sent.
#[test]
fn n5_after_a_restore_what_clickhouse_lacks_is_sent() {
    let (records, applied) = events(900, 32);
    let fake = Fake::start();
    let setup = setup("events", &fake.url, "nova");
    let backend = Recorder::new();
    let mut half = 0;
    for (part, number) in records.chunks(100).zip(0..) {
        if number == 4 {
            half = backend.syncs();
        }
        run(&setup, store_over(backend.clone()), part.to_vec());
    }
    let mut number = 0;
    fake.inner.lock().stored.retain(|_| {
        number += 1;
        number <= 4 || number % 2 == 0
    });
    let restored = backend.image(half, 1);
    let report = asked(&setup, &store_over(restored.clone()), false);
    assert!(report.delivered > 0 && (fake.ids("post_events").len() as u64) < applied);
    run(&setup, store_over(restored.image(restored.syncs(), 0)), records);
    let times = times(fake.ids("post_events"));
    assert!(times.len() as u64 == applied && times.values().all(|times| *times == 1));
}

/// Case 36 of `docs/testing.md`: nova notices that ClickHouse was restored from a backup, even if ClickHouse has taken
/// new rows since then. A rebuild that searches for stored rows sends again only what the server has lost.
#[test]
fn batches_that_a_restored_clickhouse_lacks_are_found_and_a_rebuild_sends_them_again() {
    let (records, applied) = events(4_000, 33);
    let fake = Fake::start();
    let mut setup = setup("events", &fake.url, "nova");
    setup.clock = Clock::manual(1_795_500_000_000);
    let backend = Recorder::new();
    for (part, hours) in records.chunks(1_000).zip(1..) {
        run(&setup, store_over(backend.clone()), part.to_vec());
        setup.clock.set(1_795_500_000_000 + hours * 3_600_000);
    }
    let finding = || {
        let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
        let clickhouse = ClickHouse::new(setup.clickhouse.as_ref().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let marks = opened.warehouse.as_ref().unwrap().marks();
        assert_eq!(marks.len(), 4);
        runtime.block_on(missing_batches(&clickhouse, opened.writer.store_id(), &marks)).unwrap()
    };
    assert_eq!(finding(), None);
    let store = store_over(backend.image(backend.syncs(), 0));
    assert_eq!(asked(&setup, &store, true).delivered, applied);
    // The rows of the third hour are lost, and the rows of the fourth hour were stored after the loss.
    let lost = fake.inner.lock().stored.remove(2).rows.len();
    let found = finding().expect("a lost batch was not missed");
    assert!(found.code == "batches-missing" && found.detail.contains("1 of 4"), "{found}");
    // A running node reports the loss without a command, and continues.
    let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    let status = opened.warehouse.clone().unwrap();
    let running = opened.start(Box::new(Listed::new(Vec::new(), 1)), &setup).unwrap();
    while status.findings().is_empty() {
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    assert_eq!(status.complaints(), [found.to_string()]);
    running.finish(|_| {}).unwrap();
    // The query makes the store forget what it learned before the loss about delivered rows.
    let report = asked(&setup, &store, true);
    assert_eq!(report.delivered, applied - lost as u64);
    rebuild(&store, Some(&Default::default())).unwrap();
    let opened = app::open_store(&setup, store).unwrap();
    let running = opened.start(Box::new(Listed::new(records, 700)), &setup).unwrap();
    running.finish(|_| {}).unwrap();
    let times = times(fake.ids("post_events"));
    assert!(times.len() as u64 == applied && times.values().all(|times| *times == 1));
}

#[test]
fn a_store_is_not_reconciled_with_a_server_that_does_not_answer() {
    let (records, _) = events(300, 34);
    let fake = Fake::start();
    fake.inner.lock().always = Some(Fault::Reject);
    let mut setup = setup("events", &fake.url, "nova");
    setup.drain.idle = std::time::Duration::ZERO;
    let backend = Recorder::new();
    run(&setup, store_over(backend.clone()), records);
    setup.clickhouse.as_mut().unwrap().url = "http://127.0.0.1:1".to_owned();
    let store = store_over(backend.image(backend.syncs(), 0));
    let clickhouse = ClickHouse::new(setup.clickhouse.as_ref().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failed = runtime.block_on(reconcile(&store, &clickhouse, false, 0)).unwrap_err();
    assert!(failed.to_string().starts_with("ClickHouse: not reached"), "{failed}");
}

/// Makes dead letters of events that were never sent, and of all events among `records`. Returns two lists of ids: the
/// ids of all letters and one id without a letter, and the ids of the letters whose events were sent to ClickHouse.
pub fn letters(setup: &Setup, store: &nova_storage::Store, records: Vec<Record>) -> (Vec<u64>, BTreeSet<u64>) {
    let mut decoder = setup.decoder();
    let mut letters = support::events::mix(40, 977).0;
    let begin = letters.len() as u64;
    letters.extend(records.into_iter().filter(|record| matches!(decoder.decode(record), Decoded::Event(_))));
    let end = letters.len() as u64;
    support::bury(store, &letters);
    ((0..end + 1).collect(), (begin..end).collect())
}

#[test]
fn a_replay_by_force_leaves_alone_what_clickhouse_has_and_everything_when_it_cannot_be_asked() {
    let (records, _) = events(2_400, 31);
    let fake = Fake::start();
    let (setup, backend) = (setup("events", &fake.url, "nova"), Recorder::new());
    run(&setup, store_over(backend.clone()), records.clone());
    let store = store_over(backend.image(backend.syncs(), 0));
    let (ids, expected) = letters(&setup, &store, records);
    let asked = |settings| app::sent(&store, &mut setup.decoder(), settings, &ids);
    assert_eq!(asked(setup.clickhouse.as_ref()).unwrap(), expected);
    assert_eq!(asked(None).unwrap(), BTreeSet::new());
    let away = ClickHouseSettings { url: "http://127.0.0.1:1".to_owned(), ..setup.clickhouse.clone().unwrap() };
    assert!(asked(Some(&away)).unwrap_err().to_string().contains("none is replayed by force"));
}
