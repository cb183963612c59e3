use super::*;
use proptest::prelude::*;

fn offset_rows() -> impl Strategy<Value = OffsetRow> {
    let counts = (any::<u64>(), any::<[u64; OUTCOMES]>(), any::<u64>());
    (any::<(i64, u64, i64, bool)>(), counts).prop_map(
        |((next, digest, arrival_ms, carries_events), (consumed, outcomes, conflicts))| OffsetRow {
            next,
            consumed,
            outcomes,
            conflicts,
            digest,
            arrival_ms,
            carries_events,
        },
    )
}

fn letters() -> impl Strategy<Value = DeadLetter> {
    let names = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    let bytes = (any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), any::<Vec<(String, Vec<u8>)>>());
    (names, bytes, any::<(i32, i64, i64, i64, u32, u64, u64)>()).prop_map(|(names, bytes, numbers)| DeadLetter {
        topic: names.0,
        stage: names.1,
        reason: names.2,
        detail: names.3,
        key: bytes.0,
        value: bytes.1,
        headers: bytes.2,
        partition: numbers.0,
        offset: numbers.1,
        timestamp_ms: numbers.2,
        died_at_ms: numbers.3,
        attempts: numbers.4,
        key_bytes: numbers.5,
        value_bytes: numbers.6,
    })
}

proptest! {
    #[test]
    fn offset_rows_round_trip(row in offset_rows()) {
        prop_assert_eq!(OffsetRow::decode(&row.encode()), Ok(row));
    }

    #[test]
    fn dead_letters_round_trip(letter in letters()) {
        prop_assert_eq!(DeadLetter::decode(&letter.encode()), Ok(letter));
    }

    #[test]
    fn outbox_batches_round_trip(rows: u32, bytes: u64, hash: u128, chunks: u32, partition: u32, sealed_at_ms: i64) {
        let batch = OutboxBatch { rows, bytes, hash, chunks, partition, sealed_at_ms };
        prop_assert_eq!(OutboxBatch::decode(&batch.encode()), Ok(batch));
    }

    #[test]
    fn varints_round_trip(value: u64, signed: i64) {
        let mut out = Vec::new();
        out.put_varint(value);
        out.put_zigzag(signed);
        let mut reader = Reader::new("test", &out);
        prop_assert_eq!(reader.varint(), Ok(value));
        prop_assert_eq!(reader.zigzag(), Ok(signed));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn malformed_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = OffsetRow::decode(&bytes);
        let _ = DeadLetter::decode(&bytes);
        let _ = OutboxBatch::decode(&bytes);
    }

    #[test]
    fn a_cut_value_is_an_error(letter in letters(), cut: prop::sample::Index) {
        let bytes = letter.encode();
        prop_assert!(DeadLetter::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

#[test]
fn a_newer_version_names_the_way_out() {
    let error = OffsetRow::decode(&[9]).unwrap_err();
    assert!(error.to_string().contains("newer nova"), "{error}");
}
