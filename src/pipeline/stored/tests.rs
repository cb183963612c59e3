use super::*;
use nova_storage::testing::mutate::check_values;
use proptest::prelude::*;

fn time() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(-(1i64 << 61)..1 << 61)
}

proptest! {
    #[test]
    fn stored_rows_round_trip_and_mutants_are_errors_or_rows(
        numbers: (u16, u64, i64),
        place: (Option<i32>, i64),
        seen in proptest::collection::vec((any::<u64>(), time()), 0..6),
        complete: bool,
        read in proptest::option::of((proptest::option::of(0..u64::MAX), time())),
        holes in proptest::collection::vec((any::<u8>(), any::<u64>()), 0..3),
        state in 0u8..3,
        cells in proptest::collection::vec(any::<u8>(), 0..20),
        seed: u64,
    ) {
        let mut history = History { complete, ..History::default() };
        seen.into_iter().for_each(|(lsn, ts_us)| history.push(Seen { lsn, ts_us }));
        let moved = Content::Moved { to: Id::from_u128(7), cells: &cells };
        let content = [Content::Gone, Content::Live(&cells), moved][usize::from(state)];
        let stored = StoredRow {
            version: Version { epoch: numbers.0, lsn: numbers.1, offset: numbers.2 },
            format: Format::FlatRewrite,
            place: Place { partition: place.0, offset: place.1 },
            history,
            read: read.map(|(lsn, ts_us)| ReadMark { lsn, ts_us }),
            holes: holes.into_iter().map(|(column, lsn)| Hole { column, lsn }).collect(),
            content,
        };
        let bytes = stored.encode();
        prop_assert_eq!(StoredRow::decode(&bytes), Ok(stored));
        // The test compares the row in the encoding of this version, because a mutant may encode the same row in more
        // bytes.
        let read = |bytes: &[u8]| Ok(StoredRow::decode(bytes)?.encode().into_vec());
        check_values(&bytes, seed, read, Vec::clone);
    }
}

#[test]
fn rows_of_version_1_are_read_as_streamed() {
    let mut bytes = vec![1, LIVE | 1];
    bytes.put_varint(3);
    bytes.put_varint(100);
    bytes.put_zigzag(7);
    bytes.put_zigzag(50);
    bytes.put_fixed(b"cells");
    let row = StoredRow::decode(&bytes).unwrap();
    assert_eq!((row.version, row.format), (Version { epoch: 3, lsn: 100, offset: 7 }, Format::FlatRewrite));
    assert_eq!(row.history.versions(), [Seen { lsn: 100, ts_us: Some(50) }]);
    assert!(!row.history.covers(100) && row.content == Content::Live(b"cells") && row.read.is_none());
}
