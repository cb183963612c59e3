//! The test freezes the disk at each sync of a run. From each frozen disk, nova must recover a whole prefix of the log,
//! and must then reach the same end as a run without a crash.

use std::collections::{BTreeMap, BTreeSet};

use nova::app::{self, Setup};
use nova::event::Record;
use nova::pipeline::progress::PartitionStatus;
use nova_storage::schema::STATE_CHUNK;
use nova_storage::testing::Recorder;
use nova_storage::{Options, Store};

use serde_json::Value;

use crate::support::events::mix;
use crate::support::{capture, dump, run, setup, state_bytes, store_over};

/// A run with changes and events, and with checkpoints in the middle.
pub fn world() -> (Setup, Vec<Record>) {
    let mut setup = setup("envelope.jsonl");
    setup.settings.checkpoint_min_bytes = 60_000;
    setup.settings.checkpoint_max_bytes = 1 << 20;
    setup.settings.checkpoint_slice_bytes = 10_000;
    setup.settings.truncate = nova::pipeline::TruncatePolicy::Apply;
    let changes = capture("random-envelope.jsonl.gz");
    let (events, _) = mix(6_000, 3);
    let mut records = Vec::new();
    let (mut changes, mut events) = (changes.into_iter(), events.into_iter());
    loop {
        let before = records.len();
        records.extend(changes.by_ref().take(300));
        records.extend(events.by_ref().take(250));
        if records.len() == before {
            return (setup, records);
        }
    }
}

fn totals(statuses: &[PartitionStatus]) -> Vec<(String, i64, u64, [u64; 6])> {
    let mut totals: Vec<_> = statuses
        .iter()
        .map(|status| (status.name.to_string(), status.row.next, status.row.consumed, status.row.outcomes))
        .collect();
    totals.sort();
    totals
}

#[test]
fn n1_n2_n13_every_frozen_sync_recovers_a_whole_commit_and_goes_on_to_the_same_end() {
    let (setup, records) = world();
    let backend = Recorder::new();
    let statuses = run(&setup, store_over(backend.clone()), records.clone());
    let whole = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    let (end_rows, end_totals) = (dump(&whole), totals(&statuses));
    let end_state = state_bytes(&whole);
    drop(whole);

    let syncs = backend.syncs();
    assert!(syncs > 20, "the run had only {syncs} syncs");
    // The test recovers at every sync, and runs on to the end from some of the syncs.
    for sync in 4..=syncs {
        let image = backend.image(sync, sync as u64);
        // Recovery itself checks invariant N2: it refuses counters that do not add up.
        let opened = app::open_store(&setup, store_over(image.clone())).unwrap();
        let first = state_bytes(&opened);
        drop(opened);
        // N13: the bytes of the state are the same after a second recovery, and after a recovery from a new checkpoint.
        let again = image.image(image.syncs(), 0);
        let mut opened = app::open_store(&setup, store_over(again.clone())).unwrap();
        assert_eq!(state_bytes(&opened), first, "recovery at sync {sync} is not repeatable");
        opened.writer.checkpoint().unwrap();
        drop(opened);
        let opened = app::open_store(&setup, store_over(again.image(again.syncs(), 0))).unwrap();
        assert_eq!(opened.recovery.journal_batches, 0);
        assert_eq!(state_bytes(&opened), first, "a checkpoint of what sync {sync} left is something else");
        drop(opened);
        if sync % 9 == 0 {
            let image = backend.image(sync, sync as u64);
            let statuses = run(&setup, store_over(image.clone()), records.clone());
            assert_eq!(totals(&statuses), end_totals, "after a crash at sync {sync}");
            let opened = app::open_store(&setup, store_over(image.image(image.syncs(), 0))).unwrap();
            assert_eq!(dump(&opened), end_rows, "after a crash at sync {sync}");
            assert_eq!(state_bytes(&opened), end_state, "after a crash at sync {sync}");
        }
    }
}

/// Returns the chunks of the checkpoint, by structure and number.
fn chunks(backend: &Recorder) -> BTreeMap<(String, u32), Vec<u8>> {
    let store = store_over(backend.image(backend.syncs(), 0));
    let mut chunks = BTreeMap::new();
    let all = store.read().unwrap();
    all.scan(STATE_CHUNK, ("", 0u32, 0u64).., |(structure, number, _), bytes| {
        chunks.insert((structure.to_owned(), number), bytes.to_vec());
        true
    })
    .unwrap();
    chunks
}

#[test]
fn a_checkpoint_rewrites_only_chunks_that_changed() {
    let (setup, mut records) = world();
    let last = records.iter().rposition(|record| &*record.topic == "events").unwrap();
    let mut event = records.remove(last);
    // The last event is replaced by an event with a new id.
    let of_events = records.iter().filter(|record| record.topic == event.topic);
    let valid = of_events.filter_map(|record| serde_json::from_slice::<Value>(record.value.as_ref()?).ok());
    let mut value = valid.filter(|value| value["event_id"].is_string()).last().unwrap();
    value["event_id"] = "01890a5d-ac96-774b-bcce-b302099a8057".into();
    event.value = Some(value.to_string().into());
    let backend = Recorder::new();
    run(&setup, store_over(backend.clone()), records);
    let before = chunks(&backend);
    let backend = backend.image(backend.syncs(), 0);
    run(&setup, store_over(backend.clone()), Vec::new());
    assert_eq!(chunks(&backend), before, "nothing happened");
    run(&setup, store_over(backend.clone()), vec![event]);
    let after = chunks(&backend);
    let changed: BTreeSet<&str> = after
        .iter()
        .filter(|(key, bytes)| before.get(key) != Some(bytes))
        .map(|((structure, _), _)| &**structure)
        .collect();
    assert!(changed.contains("daily"), "{changed:?}");
    for structure in ["users", "follows", "authors", "liked", "dated"] {
        assert!(!changed.contains(structure), "{changed:?}");
    }
}

/// Case 11 of `docs/testing.md`: if the disk cannot read remembered ids, the process ends. An id that cannot be looked
/// up never counts as a new id.
#[test]
fn a_dedup_page_that_cannot_be_read_ends_the_run_and_counts_nothing_twice() {
    const HOUR_MS: i64 = 3_600_000;
    let setup = setup("events");
    // The events cover six hours, so that most ids are in sealed segments, which exist only on disk.
    let (mut records, _) = mix(3_000, 3);
    for (record, number) in records.iter_mut().zip(0..) {
        record.timestamp_ms += number * 6 * HOUR_MS / 3_000;
    }
    let backend = Recorder::new();
    let source = |records| Box::new(crate::support::Listed::live(records, 100, &setup.clock));
    let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let before = totals(&opened.start(source(records.clone()), &setup).unwrap().finish(|_| {}).unwrap());
    // Events that were already read are delivered again at new offsets, while the page cache is very small.
    let again: Vec<_> = records.iter().map(|one| Record { offset: one.offset + 1_000_000, ..one.clone() }).collect();
    let options = Options { cache_bytes: 1 << 12, ..Options::default() };
    for reads in [0, 3, 10, 30] {
        let image = backend.image(backend.syncs(), 0);
        let opened = app::open_store(&setup, Store::open_backend(image.clone(), &options).unwrap()).unwrap();
        let state = state_bytes(&opened);
        image.fail_reads_after(reads);
        let ended = opened.start(source(again.clone()), &setup).unwrap().finish(|_| {});
        assert!(ended.is_err(), "after {reads} reads");
        let opened = app::open_store(&setup, store_over(image.image(image.syncs(), 0))).unwrap();
        assert_eq!(totals(&opened.shared.partitions()), before);
        assert_eq!(state_bytes(&opened), state);
    }
}

#[test]
fn n1_a_full_disk_ends_the_run_and_loses_nothing() {
    let (setup, records) = world();
    let backend = Recorder::new();
    let clean = run(&setup, store_over(backend.clone()), records.clone());
    for writes in [5, 60, 200] {
        let backend = Recorder::new();
        let opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
        backend.fail_writes_after(writes);
        let source = crate::support::Listed::new(records.clone(), 700);
        let running = opened.start(Box::new(source), &setup).unwrap();
        let error = running.finish(|_| {}).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("writing the store failed"), "{error}");
        // The disk has free space again after the fault. After the repair of the disk, the records lead to the same end
        // as without the fault.
        let statuses = run(&setup, store_over(backend.image(backend.syncs(), 1)), records.clone());
        assert_eq!(totals(&statuses), totals(&clean));
    }
}
