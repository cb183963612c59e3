//! Tests of the store's transactions, and of crashes and damage.

mod log;

use super::*;
use crate::schema::{JOURNAL, ROWS};
use crate::testing::Recorder;

fn memory() -> Store {
    Store::open_backend(redb::backends::InMemoryBackend::new(), &Options::default()).unwrap()
}

#[test]
fn a_dropped_transaction_leaves_no_trace() {
    let store = memory();
    store.write().unwrap().put(JOURNAL, 1, b"x").unwrap();
    assert_eq!(store.read().unwrap().get(JOURNAL, 1).unwrap(), None);
}

#[test]
fn ranges_are_scanned_in_key_order_and_removed() {
    let store = memory();
    let write = store.write().unwrap();
    for key in [3u64, 1, 2, 9] {
        write.put(JOURNAL, key, &[key as u8]).unwrap();
    }
    write.commit().unwrap();
    let write = store.write().unwrap();
    write.remove_range(JOURNAL, ..=2u64).unwrap();
    write.commit().unwrap();
    let mut seen = Vec::new();
    let read = store.read().unwrap();
    read.scan(JOURNAL, 0u64.., |key, value| {
        seen.push((key, value.to_vec()));
        true
    })
    .unwrap();
    assert_eq!(seen, [(3, vec![3]), (9, vec![9])]);
    assert_eq!(read.last(JOURNAL, |key, _| key).unwrap(), Some(9));
    assert_eq!(read.len(JOURNAL).unwrap(), 2);
}

#[test]
fn the_first_entries_of_a_range_are_removed_by_their_bytes() {
    let store = memory();
    let write = store.write().unwrap();
    (1..=10u64).for_each(|key| write.put(JOURNAL, key, &[0; 100]).unwrap());
    write.commit().unwrap();
    let mut left = Vec::new();
    for more in [true, true, false, false] {
        let write = store.write().unwrap();
        assert_eq!(write.remove_first(JOURNAL, ..=8u64, 250).unwrap(), more);
        write.commit().unwrap();
        left.push(store.read().unwrap().len(JOURNAL).unwrap());
    }
    assert_eq!(left, [7, 4, 2, 2]);
    assert_eq!(store.read().unwrap().last(JOURNAL, |key, _| key).unwrap(), Some(10));
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    let _first = Store::open(&path, &Options::default(), |_| {}).unwrap();
    let second = Store::open(&path, &Options::default(), |_| {});
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
    let write = store.write().unwrap();
    write.put(META, FORMAT_KEY, &[FORMAT + 1]).unwrap();
    write.commit().unwrap();
    drop(store);
    assert!(matches!(Store::open(&path, &Options::default(), |_| {}), Err(OpenError::Format { .. })));
}

#[test]
fn every_sync_is_a_state_that_opens_with_whole_commits_only() {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    let created = recorder.syncs();
    for round in 0u64..12 {
        let write = store.write().unwrap();
        for key in 0..4u64 {
            write.put(JOURNAL, round * 4 + key, &[round as u8; 500]).unwrap();
            write.put(ROWS, (0, &[key as u8; 16]), &[round as u8]).unwrap();
        }
        write.commit().unwrap();
    }
    drop(store);
    for sync in created..recorder.syncs() {
        for seed in 0..3 {
            let image = recorder.image(sync, seed);
            let store = Store::open_backend(image, &Options::default()).unwrap();
            let read = store.read().unwrap();
            let entries = read.len(JOURNAL).unwrap();
            assert_eq!(entries % 4, 0, "half a commit survived at sync {sync}");
            if entries > 0 {
                let round = (entries / 4 - 1) as u8;
                assert_eq!(read.get(ROWS, (0, &[1; 16])).unwrap(), Some(vec![round]));
            }
        }
    }
}

#[test]
fn a_full_disk_fails_the_commit_and_keeps_what_was() {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    let write = store.write().unwrap();
    write.put(JOURNAL, 1, b"kept").unwrap();
    write.commit().unwrap();
    recorder.fail_writes_after(0);
    let failed = store.write().and_then(|write| {
        write.put(JOURNAL, 2, &[0; 1 << 20])?;
        write.commit()
    });
    assert!(failed.is_err());
    drop(store);
    let store = Store::open_backend(recorder.image(recorder.syncs(), 0), &Options::default()).unwrap();
    let read = store.read().unwrap();
    assert_eq!(read.get(JOURNAL, 1).unwrap().as_deref(), Some(&b"kept"[..]));
    assert_eq!(read.get(JOURNAL, 2).unwrap(), None);
}

/// Returns all rows that a reader of the store can see, or the error that a reader gets.
fn seen(path: &std::path::Path, options: &Options) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let store = Store::open(path, options, |_| {}).map_err(|error| error.to_string())?;
    let read = store.read().map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    read.scan(JOURNAL, 0u64.., |key, value| {
        rows.push((key, value.to_vec()));
        true
    })
    .map_err(|error| error.to_string())?;
    Ok(rows)
}

/// Commits rows of different sizes, and removes some of them again.
fn fill(store: &Store, rounds: std::ops::Range<u64>) {
    for round in rounds {
        let write = store.write().unwrap();
        for key in 0..40u64 {
            let size = [10, 300, 5_000][(key % 3) as usize];
            write.put(JOURNAL, round * 40 + key, &vec![(round * 7 + key) as u8; size]).unwrap();
        }
        if round > 2 {
            write.remove_range(JOURNAL, (round - 2) * 40..(round - 2) * 40 + 15).unwrap();
        }
        write.commit().unwrap();
    }
}

/// Returns the file of a process that was killed: the file has all writes, and was not closed.
fn killed(rounds: u64) -> Vec<u8> {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    fill(&store, 0..rounds);
    recorder.bytes()
}

/// Returns the file of a process that ended cleanly.
fn closed(rounds: u64) -> Vec<u8> {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    fill(&store, 0..rounds);
    drop(store);
    recorder.bytes()
}

/// Flips single bits of a file. Returns how many flipped bits left the data unchanged, and how many made nova refuse
/// the file.
fn flip(bytes: &[u8], flips: u64, seed: u64) -> (u32, u32) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    std::fs::write(&path, bytes).unwrap();
    let whole = Options { check: None, ..Options::default() };
    let expected = seen(&path, &whole).unwrap();
    let used: Vec<usize> =
        bytes.chunks(4_096).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0)).map(|(at, _)| at).collect();
    let mut random = seed;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let (mut same, mut refused) = (0, 0);
    for number in 0..flips {
        let mut damaged = bytes.to_vec();
        // A tenth of the flips are in the file's header, because the whole file depends on a few bytes of the header.
        let at = if number % 10 == 0 { next(400) } else { used[next(used.len())] * 4_096 + next(4_096) };
        damaged[at.min(bytes.len() - 1)] ^= 1 << next(8);
        std::fs::write(&path, damaged).unwrap();
        match seen(&path, &whole) {
            Ok(rows) => {
                assert!(rows == expected, "byte {at} flipped gives other data");
                same += 1;
            }
            Err(error) => {
                assert!(error.contains("is damaged"), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    (same, refused)
}

#[test]
fn a_flipped_bit_in_a_closed_store_gives_no_other_data() {
    let (same, refused) = flip(&closed(5), 200, 1);
    assert!(refused > 60 && same > 0, "{same} the same, {refused} refused");
}

#[test]
fn a_flipped_bit_in_a_store_after_kill_9_gives_no_other_data() {
    let (same, refused) = flip(&killed(5), 200, 2);
    assert!(refused > 60 && same > 0, "{same} the same, {refused} refused");
}

/// If redb went back to the commit before the damaged one, nova would lose the last commit silently, although the commit
/// was acknowledged.
#[test]
fn a_damaged_last_commit_is_damage_and_not_the_commit_before() {
    let (before, after) = (killed(4), killed(5));
    let changed: Vec<usize> = (1..after.len() / 4_096)
        .filter(|page| before.get(page * 4_096..(page + 1) * 4_096) != Some(&after[page * 4_096..(page + 1) * 4_096]))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    std::fs::write(&path, &after).unwrap();
    let expected = seen(&path, &Options::default()).unwrap();
    let mut refused = 0;
    for page in changed {
        let mut damaged = after.clone();
        damaged[page * 4_096 + 5] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        match seen(&path, &Options::default()) {
            Ok(rows) => assert!(rows == expected, "page {page}"),
            Err(error) => refused += u32::from(error.contains("is damaged")),
        }
    }
    assert!(refused > 0, "no page was the last commit's alone");
}

#[test]
fn a_commit_that_a_power_loss_tore_is_no_damage() {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    fill(&store, 0..6);
    drop(store);
    for sync in 4..recorder.syncs() {
        for seed in 0..6 {
            drop(Store::open_backend(recorder.image(sync, seed), &Options::default()).unwrap());
        }
    }
}

#[test]
fn a_store_is_checked_while_it_is_written() {
    let recorder = Recorder::new();
    let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
    fill(&store, 0..8);
    std::thread::scope(|threads| {
        let writing = threads.spawn(|| fill(&store, 8..60));
        let mut checks = 0;
        while !writing.is_finished() || checks == 0 {
            assert_eq!(store.check(|_| false).unwrap(), Checked::Whole);
            checks += 1;
        }
    });
    assert_eq!(store.check(|_| true).unwrap(), Checked::Stopped);
    // A check also finds damage that occurs while the store is open.
    let bytes = recorder.bytes();

    let mut found = false;
    for page in 1..bytes.len() / 4_096 {
        recorder.flip(page * 4_096 + 2, 1);
        found |= matches!(store.check(|_| false), Err(OpenError::Damaged { .. }));
        recorder.flip(page * 4_096 + 2, 1);
    }
    assert!(found);
    assert_eq!(store.check(|_| false).unwrap(), Checked::Whole);
}

#[test]
fn a_check_before_the_first_read_has_limits_of_time_and_of_the_size_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    drop(Store::open(&path, &Options::default(), |_| {}).unwrap());
    let open = |check| Store::open(&path, &Options { check, ..Options::default() }, |_| {}).unwrap();
    let limits = CheckLimits { time: Duration::from_secs(600), ..CheckLimits::default() };
    let file_bytes = std::fs::metadata(&path).unwrap().len();
    assert!(open(Some(CheckLimits { file_bytes, ..limits })).checked());
    assert!(!open(Some(CheckLimits { file_bytes: file_bytes - 1, ..limits })).checked());
    assert!(!open(Some(CheckLimits { time: Duration::ZERO, ..limits })).checked());
    assert!(open(None).checked());
}

#[test]
fn files_that_are_no_store_are_refused_and_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nova.redb");
    let store = closed(3);
    let shapes =
        [Vec::new(), b"r".to_vec(), b"hello\n".repeat(1_000), store[..9].to_vec(), store[..store.len() / 2].to_vec()];
    for shape in shapes {
        std::fs::write(&path, &shape).unwrap();
        let error = seen(&path, &Options::default()).unwrap_err();
        assert!(error.contains("is damaged"), "{} bytes: {error}", shape.len());
        assert!(std::fs::read(&path).unwrap() == shape);
        assert!(matches!(verify(&path), Err(OpenError::Damaged { .. })));
    }
}
