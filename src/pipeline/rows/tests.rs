use super::*;
use nova_storage::Store;
use nova_storage::testing::Recorder;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::runs::SEGMENT_BYTES;

/// What happens to rows.
#[derive(Clone, Debug)]
enum Step {
    /// Rows of consecutive keys change; their length in bytes.
    Put {
        first: u8,
        count: u8,
        bytes: usize,
    },
    Flush,
    /// One segment of each merge.
    Merge,
    /// The process ends after a flush, and starts.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    // Some rows are larger than a block.
    let bytes = prop_oneof![3 => 0usize..200, 2 => 4_000usize..9_000, 1 => 16_000usize..70_000];
    prop_oneof![
        6 => (any::<u8>(), 1u8..60, bytes).prop_map(|(first, count, bytes)| Step::Put { first, count, bytes }),
        8 => Just(Step::Flush),
        4 => Just(Step::Merge),
        1 => Just(Step::Restart),
    ]
}

fn flush(rows: &mut Rows, store: &Store) {
    let write = store.write().unwrap();
    rows.flush(&write).unwrap();
    write.commit().unwrap();
    rows.flushed();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]
    #[test]
    fn rows_read_as_one_map_however_they_are_flushed_merged_and_opened_again(
        steps in proptest::collection::vec(step(), 0..160),
    ) {
        let store = Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap();
        let (mut rows, mut model) = (Rows::default(), BTreeMap::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put { first, count, bytes } => {
                    for key in (0..count).map(|more| first.wrapping_add(more)) {
                        let row = vec![number as u8; bytes];
                        rows.put(Table::Posts, Id([key; 16]), row.clone().into());
                        rows.put(Table::Likes, Id([key; 16]), Box::new([1]));
                        model.insert(Id([key; 16]), row);
                    }
                }
                Step::Flush => flush(&mut rows, &store),
                Step::Merge => {
                    let (read, write) = (store.read().unwrap(), store.write().unwrap());
                    rows.runs.merging();
                    rows.runs.merge(&read, &write, SEGMENT_BYTES).unwrap();
                    write.commit().unwrap();
                }
                Step::Restart => {
                    flush(&mut rows, &store);
                    rows = Rows::load(&store.read().unwrap()).unwrap();
                }
            }
            let read = store.read().unwrap();
            for (key, row) in model.iter().step_by(7) {
                let found = rows.with(Table::Posts, *key, &read, |bytes| bytes.map(<[u8]>::to_vec)).unwrap();
                prop_assert_eq!(found.as_ref(), Some(row));
            }
            prop_assert_eq!(rows.any(Table::Posts), !model.is_empty());
            prop_assert!(!rows.any(Table::Users));
        }
        let read = store.read().unwrap();
        let mut seen = Vec::new();
        rows.scan(Table::Posts, &read, |id, bytes| seen.push((id, bytes.to_vec()))).unwrap();
        prop_assert_eq!(&seen, &model.clone().into_iter().collect::<Vec<_>>());
        flush(&mut rows, &store);
        let (read, mut all) = (store.read().unwrap(), Vec::new());
        scan_all(&read, |table, id, bytes| {
            all.extend((table == Table::Posts.number()).then(|| (id, bytes.to_vec())));
            Ok(())
        }).unwrap();
        prop_assert_eq!(all, seen);
        prop_assert!(rows.stored().1 < 3 * super::runs::MERGE_RUNS + 160);
    }
}

#[test]
fn a_merge_is_paid_for_by_changes_and_ends() {
    let store = Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap();
    let mut rows = Rows::default();
    let mut number = 0u128;
    let mut most_runs = 0;
    for _ in 0..100 {
        for _ in 0..40 {
            number += 1;
            rows.put(Table::Likes, Id::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), vec![1; 5_000].into());
        }
        let (read, write) = (store.read().unwrap(), store.write().unwrap());
        rows.merge(&read, &write).unwrap();
        rows.flush(&write).unwrap();
        write.commit().unwrap();
        rows.flushed();
        most_runs = most_runs.max(rows.stored().1);
    }
    assert!(most_runs <= 3 * super::runs::MERGE_RUNS, "{most_runs} runs");
    // 20 MB changed; each byte is in the store once.
    assert!((20_000_000..21_500_000).contains(&rows.stored().0), "{} bytes", rows.stored().0);
    // An idle node merges nothing.
    let runs = rows.stored().1;
    for _ in 0..100 {
        let (read, write) = (store.read().unwrap(), store.write().unwrap());
        rows.merge(&read, &write).unwrap();
        write.commit().unwrap();
    }
    assert_eq!(rows.stored().1, runs);
}
