//! Tests of the commit log: damage, forged records, the end of the log, failed syncs, and every kind of end of a store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::commit_log::{PLACE_AT, PLACE_BYTES};
use crate::schema::EDGE;

/// Returns the file of a process that was killed after commits that are in the commit log alone, and the position of the
/// log.
fn killed_with_a_log(commits: u64) -> (Vec<u8>, std::ops::Range<usize>) {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    small(&store, 0..commits);
    let bytes = recorder.bytes();
    let place = store.disk.log().unwrap().range();
    (bytes, place.start as usize..place.end as usize)
}

/// Makes commits of one entry.
fn small(store: &Store, commits: std::ops::Range<u64>) {
    for key in commits {
        let write = store.write().unwrap();
        write.put(JOURNAL, key, &[key as u8; 30]).unwrap();
        write.commit().unwrap();
    }
}

#[test]
fn a_damaged_record_of_a_durable_commit_is_damage() {
    let (bytes, log) = killed_with_a_log(12);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    std::fs::write(&path, &bytes).unwrap();
    let expected = seen(&path, &Options::default()).unwrap();
    assert_eq!(expected.len(), 12);
    let used = log.start + bytes[log.clone()].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(used - log.start > 10 * 30, "the commits are not in the log");
    let (mut same, mut refused) = (0, 0);
    for at in log.start..used {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, damaged).unwrap();
        match seen(&path, &Options::default()) {
            Ok(rows) => {
                assert!(rows == expected, "byte {at} flipped gives other data");
                same += 1;
            }
            Err(error) => {
                assert!(error.contains("is damaged") && error.contains("was durable"), "byte {at}: {error}");
                assert!(verify(&path).is_err(), "byte {at}");
                refused += 1;
            }
        }
    }
    // Only the acknowledgements may be damaged without harm.
    assert!(same > 0 && refused > 2 * same, "{same} the same, {refused} refused");
}

#[test]
fn a_damaged_place_of_the_log_is_damage() {
    let (bytes, _) = killed_with_a_log(12);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    for at in PLACE_AT..PLACE_AT + PLACE_BYTES {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert!(seen(&path, &Options::default()).unwrap_err().contains("is damaged"), "byte {at}");
        assert!(verify(&path).is_err(), "byte {at}");
    }
}

#[test]
fn a_record_that_somebody_sent_as_data_is_not_a_commit() {
    let (bytes, log) = killed_with_a_log(12);
    let records = bytes[log.clone()].to_vec();
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    // The data has whole records and acknowledgements of another store, with numbers that come later.
    for round in 0..20u64 {
        let write = store.write().unwrap();
        write.put(JOURNAL, round, &records[..400 + round as usize]).unwrap();
        write.commit().unwrap();
        let again = Store::open_backend(recorder.image(recorder.syncs(), 0), &Options::default()).unwrap();
        assert_eq!(again.read().unwrap().len(JOURNAL).unwrap(), round + 1);
    }
}

/// The log ends at every distance from its end, because each length of a key fills the log in another way.
#[test]
fn a_record_never_passes_the_end_of_the_log() {
    for length in 1..=259usize {
        let recorder = Recorder::new();
        let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
        let mut longest = 0;
        for number in 0..260u64 {
            let write = store.write().unwrap();
            write.put(EDGE, ("kind", &vec![7; length]), &number.to_le_bytes()).unwrap();
            write.commit().unwrap();
            let LogState::Active(log) = &*store.shared.log() else { continue };
            longest = longest.max(log.position());
            assert!(log.position() <= store.disk.log().unwrap().range().end, "key of {length} bytes, commit {number}");
        }
        assert!(longest > 0);
        let again = Store::open_backend(recorder.image(recorder.syncs(), 0), &Options::default()).unwrap();
        let value = again.read().unwrap().get(EDGE, ("kind", &vec![7; length][..])).unwrap();
        assert_eq!(value, Some(259u64.to_le_bytes().to_vec()), "key of {length} bytes");
        assert_eq!(store.check(|_| false).unwrap(), Checked::Whole, "key of {length} bytes");
    }
}

/// After a failed sync, a later sync may succeed although bytes are lost, so nothing is written any more.
#[test]
fn after_a_failed_sync_no_commit_is_durable_and_the_next_start_recovers() {
    for (writes, commits) in (0..5).flat_map(|writes| (0..12).map(move |commits| (writes, commits))) {
        let recorder = Recorder::new();
        let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
        small(&store, 0..commits);
        recorder.fail_writes_after(writes);
        let put = |key: u64, size: usize| {
            let write = store.write()?;
            write.put(JOURNAL, key, &vec![1; size])?;
            write.commit()
        };
        let tried = (commits..commits + 8).take_while(|key| put(*key, 9).is_ok()).count() as u64;
        recorder.fail_writes_after(u32::MAX);
        let failed = commits + tried;
        assert!(tried == 8 || put(99, 90_000).is_err(), "{writes} writes, {commits} commits");
        drop(store);
        for image in [recorder.copy(), recorder.image(recorder.syncs(), 1)] {
            let store = Store::open_backend(image, &Options::default()).unwrap();
            let found = store.read().unwrap().last(JOURNAL, |key, _| key).unwrap();
            // The commit that failed is there or not.
            assert!(found == failed.checked_sub(1) || found == Some(failed), "{writes} {commits} {tried}: {found:?}");
        }
    }
}

#[test]
fn a_closed_store_and_its_copy_are_whole_files_of_redb() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("nova.redb"), dir.path().join("copy.redb"));
    let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
    small(&store, 0..40);
    store.copy_to(&copy, |_, _| Ok(Vec::new())).unwrap();
    drop(store);
    for path in [path, copy] {
        assert_eq!(seen(&path, &Options { check: None, ..Options::default() }).unwrap().len(), 40);
        verify(&path).unwrap();
        // The copy makes a log of its own.
        for round in 0..3 {
            let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
            small(&store, 40 + round * 10..50 + round * 10);
        }
        assert_eq!(seen(&path, &Options::default()).unwrap().len(), 70);
    }
}

/// One step of a history: the changes of one commit.
#[derive(Debug, Clone)]
enum Change {
    Put(u64, usize),
    PutAll(u64, u64),
    Remove(u64),
    RemoveRange(u64, u64),
    RemoveFirst(u64, usize),
    Clear,
    PutText(u8, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let key = 0..60u64;
    prop_oneof![
        6 => (key.clone(), prop_oneof![8 => 0..200usize, 1 => 3_000..20_000usize]).prop_map(|(key, size)| Change::Put(key, size)),
        1 => (key.clone(), 1..9u64).prop_map(|(key, count)| Change::PutAll(key, count)),
        2 => key.clone().prop_map(Change::Remove),
        1 => (key.clone(), 0..12u64).prop_map(|(key, count)| Change::RemoveRange(key, count)),
        1 => (key, 1..600usize).prop_map(|(key, bytes)| Change::RemoveFirst(key, bytes)),
        1 => Just(Change::Clear),
        2 => (0..9u8, 1..260usize, 0..90usize).prop_map(|(name, length, size)| Change::PutText(name, length, size)),
    ]
}

/// Makes one change in the store and in the model.
fn make(change: &Change, number: u64, write: &WriteTxn, model: &mut Model) {
    let value = |size: usize| vec![number as u8; size];
    match *change {
        Change::Put(key, size) => {
            write.put(JOURNAL, key, &value(size)).unwrap();
            model.0.insert(key, value(size));
        }
        Change::PutAll(key, count) => {
            let value = value(9);
            write.put_all(JOURNAL, (key..key + count).map(|key| (key, &value[..]))).unwrap();
            model.0.extend((key..key + count).map(|key| (key, value.clone())));
        }
        Change::Remove(key) => {
            let removed = write.remove(JOURNAL, key).unwrap();
            assert_eq!(removed, model.0.remove(&key).is_some());
        }
        Change::RemoveRange(key, count) => {
            write.remove_range(JOURNAL, key..key + count).unwrap();
            model.0.retain(|found, _| !(key..key + count).contains(found));
        }
        Change::RemoveFirst(key, bytes) => {
            write.remove_first(JOURNAL, ..=key, bytes).unwrap();
            let mut removed = 0;
            model.0.retain(|found, value| {
                let kept = *found > key || removed >= bytes;
                removed += if kept { 0 } else { value.len() };
                kept
            });
        }
        Change::Clear => {
            write.clear(JOURNAL).unwrap();
            model.0.clear();
        }
        Change::PutText(name, length, size) => {
            write.put(EDGE, ("kind", &vec![name; length]), &value(size)).unwrap();
            model.1.insert(vec![name; length], value(size));
        }
    }
}

/// The entries of two tables.
type Model = (BTreeMap<u64, Vec<u8>>, BTreeMap<Vec<u8>, Vec<u8>>);

fn entries(store: &Store) -> Model {
    let (read, mut found) = (store.read().unwrap(), Model::default());
    read.scan(JOURNAL, 0u64.., |key, value| found.0.insert(key, value.to_vec()).is_none()).unwrap();
    read.scan(EDGE, ("", &[][..]).., |key, value| found.1.insert(key.1.to_vec(), value.to_vec()).is_none()).unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Each commit is small or large. The store is closed, killed, or loses its power between commits or in the middle of
    /// one. All commits of the model are there, and nothing else; a commit that was not acknowledged is there or not.
    #[test]
    fn every_acknowledged_commit_is_there_after_any_end(
        commits in proptest::collection::vec((proptest::collection::vec(change(), 1..5), 0..12u8), 1..60),
        seed in any::<u64>(),
    ) {
        let mut recorder = Recorder::new();
        let mut store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
        let mut model = Model::default();
        for (number, (changes, end)) in commits.iter().enumerate() {
            let (earlier, syncs) = (model.clone(), recorder.syncs());
            let write = store.write().unwrap();
            for change in changes {
                make(change, number as u64, &write, &mut model);
            }
            write.commit().unwrap();
            prop_assert_eq!(&entries(&store), &model);
            prop_assert_eq!(store.check(|_| false).unwrap(), Checked::Whole);
            let (next, image) = match end {
                0 => (true, recorder.image(recorder.syncs(), seed)),
                1 => (true, recorder.copy()),
                3 => {
                    let sync = syncs + seed as usize % (recorder.syncs() - syncs);
                    let image = recorder.image(sync, seed);
                    let found = entries(&Store::open_backend(image.copy(), &Options::default()).unwrap());
                    prop_assert!(found == model || found == earlier, "in commit {}", number);
                    model = found;
                    (true, image)
                }
                2 => {
                    drop(store);
                    store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
                    (false, recorder.clone())
                }
                _ => (false, recorder.clone()),
            };
            if next {
                store = Store::open_backend(image.clone(), &Options::default()).unwrap();
                recorder = image;
            }
            prop_assert_eq!(&entries(&store), &model, "after commit {}", number);
        }
    }
}
