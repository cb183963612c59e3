use super::*;
use crate::testing::mutate::{check_bytes, check_values};
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

fn batches() -> impl Strategy<Value = OutboxBatch> {
    any::<(u32, u64, u128, u32, u32, i64)>().prop_map(|(rows, bytes, hash, chunks, partition, sealed_at_ms)| {
        OutboxBatch { rows, bytes, hash, chunks, partition, sealed_at_ms }
    })
}

proptest! {
    #[test]
    fn offset_rows_round_trip(row in offset_rows(), cookie in prop::collection::vec(any::<u8>(), 0..COOKIE_MAX_BYTES)) {
        let bytes = row.encode(&cookie);
        prop_assert_eq!(OffsetRow::decode(&bytes), Ok((row, &cookie[..])));
    }

    #[test]
    fn dead_letters_round_trip(letter in letters()) {
        prop_assert_eq!(DeadLetter::decode(&letter.encode()), Ok(letter));
    }

    #[test]
    fn outbox_batches_round_trip(batch in batches()) {
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
    fn mutated_values_are_errors_or_values_with_these_bytes(
        row in offset_rows(), cookie: Vec<u8>, letter in letters(), batch in batches(), seed: u64,
    ) {
        // A mutant may be a valid row that lacks outcomes of a later version, or a row of a version without a cookie.
        let decode = |bytes: &[u8]| OffsetRow::decode(bytes).map(|(row, cookie)| (row, cookie.to_vec()));
        check_values(&row.encode(&cookie), seed, decode, |(row, cookie)| row.encode(cookie));
        check_bytes(&letter.encode(), seed, DeadLetter::decode, DeadLetter::encode);
        check_bytes(&batch.encode(), seed, OutboxBatch::decode, OutboxBatch::encode);
    }

    #[test]
    fn a_cut_value_is_an_error(letter in letters(), cut: prop::sample::Index) {
        let bytes = letter.encode();
        prop_assert!(DeadLetter::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

#[test]
fn an_offset_row_of_earlier_versions_reads_and_one_with_an_unknown_outcome_names_the_way_out() {
    let row = OffsetRow { next: 7, consumed: 3, outcomes: [1, 0, 2, 0, 0, 0], ..OffsetRow::default() };
    let bytes = row.encode(&[]);
    let without_cookie = &bytes[..bytes.len() - 1];
    let second = [&[2], &without_cookie[1..]].concat();
    assert_eq!(OffsetRow::decode(&second), Ok((row, &[][..])));
    let first = [&[1], &without_cookie[1..3], &without_cookie[4..]].concat();
    assert_eq!(OffsetRow::decode(&first), Ok((row, &[][..])));
    let more = [&bytes[..3], &[7], &bytes[4..10], &[9], &bytes[10..]].concat();
    let error = OffsetRow::decode(&more).unwrap_err();
    assert_eq!(error, CodecError::Unknown { what: "record outcome", number: 6 });
    assert!(error.to_string().contains("newer nova"));
}

/// The bytes in this test are those that version 2 wrote.
#[test]
fn a_stored_offset_row_of_version_2_reads() {
    let stored = [2, 14, 3, 6, 1, 0, 2, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 18, 1];
    let row = OffsetRow {
        next: 7,
        consumed: 3,
        outcomes: [1, 0, 2, 0, 0, 0],
        conflicts: 0,
        digest: 0x0102_0304_0506_0708,
        arrival_ms: 9,
        carries_events: true,
    };
    assert_eq!(OffsetRow::decode(&stored), Ok((row, &[][..])));
}

#[test]
fn a_cookie_beyond_its_bound_is_an_error() {
    let row = OffsetRow::default();
    assert!(OffsetRow::decode(&row.encode(&[7; COOKIE_MAX_BYTES])).is_ok());
    assert!(OffsetRow::decode(&row.encode(&[7; COOKIE_MAX_BYTES + 1])).is_err());
}

#[test]
fn a_newer_version_names_the_way_out() {
    let error = OffsetRow::decode(&[9]).unwrap_err();
    assert!(error.to_string().contains("newer nova"), "{error}");
}
