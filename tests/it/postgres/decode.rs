//! Tests that decode the bytes of the replication stream and of COPY to changes. Every written message can be read,
//! broken bytes are refused, and nothing private is kept.

use std::sync::Arc;

use nova::decode::pgoutput::{Message, Tuple, Value, message};
use nova::decode::{Decoder, KeepUnknown, NoSchemas, Topics, changes_key, origin};
use nova::event::{
    Cell, Change, ChangeBody, Decoded, Id, Ignored, Op, Origin, OriginKind, Record, Relation, Renamed, Row,
    SnapshotMark, Table, Tables, WireColumn,
};
use nova_storage::testing::mutate::check_bytes;
use proptest::prelude::*;

use super::node::record;
use super::pgoutput::{self, Wire, relation};
use super::rows::{key, row};
use super::walsender::text;

const COMMIT_US: i64 = 1_795_500_000_123_456;

fn decoder() -> Decoder {
    Decoder::new(Topics::default(), Arc::new(NoSchemas))
}

fn of(kind: OriginKind, bytes: Vec<u8>) -> Record {
    record(&Arc::new(Origin { kind, commit_us: COMMIT_US, base_lsn: 77 }), 5, bytes)
}

fn decode(kind: OriginKind, bytes: Vec<u8>) -> Decoded {
    decoder().decode(&of(kind, bytes))
}

fn change(decoded: Decoded) -> Change {
    match decoded {
        Decoded::Change(change) => change,
        other => panic!("{other:?}"),
    }
}

fn upsert(decoded: Decoded) -> (Change, Row) {
    let change = change(decoded);
    match change.body.clone() {
        ChangeBody::Upsert(row) => (change, row),
        other => panic!("{other:?}"),
    }
}

fn reason(decoded: Decoded) -> (&'static str, String) {
    match decoded {
        Decoded::Dead(dead) => (dead.reason, dead.detail),
        other => panic!("{other:?}"),
    }
}

/// Returns a relation of the table with the given columns in place of the table's own columns.
fn with_columns(table: Table, columns: &[(&str, u32)]) -> Arc<Relation> {
    let columns = columns.iter().map(|(name, type_oid)| WireColumn { name: (*name).into(), type_oid: *type_oid });
    Arc::new(Relation { columns: columns.collect(), ..relation(table) })
}

fn wires() -> impl Strategy<Value = Vec<Wire>> {
    let one = prop_oneof![Just(Wire::Null), Just(Wire::Unchanged), any::<String>().prop_map(Wire::Text)];
    prop::collection::vec(one, 0..12)
}

fn values(tuple: Tuple<'_>) -> Vec<Wire> {
    let one = |value| match value {
        Value::Null => Wire::Null,
        Value::Unchanged => Wire::Unchanged,
        Value::Text(bytes) => Wire::Text(String::from_utf8(bytes.to_vec()).unwrap()),
        Value::Binary => panic!("binary"),
    };
    tuple.values().map(one).collect()
}

/// Draws a message of any kind.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let numbers = any::<(u64, u64, i32, u32)>();
    (0usize..9, wires(), wires(), numbers, any::<bool>()).prop_map(|(kind, new, old, (a, b, time, oid), whole)| {
        let (letter, time_us) = (if whole { b'O' } else { b'K' }, i64::from(time));
        match kind {
            0 => pgoutput::insert(oid, &new),
            1 => pgoutput::update(oid, None, &new),
            2 => pgoutput::update(oid, Some((letter, &old)), &new),
            3 => pgoutput::delete(oid, (letter, &old)),
            4 => pgoutput::truncate(&[oid, 7]),
            5 => pgoutput::begin(a, time_us, oid),
            6 => pgoutput::commit(a, b, time_us),
            7 => pgoutput::logical(whole, a, "prefix", b"content"),
            _ => pgoutput::describe(&relation(Table::ALL[(a % 5) as usize])),
        }
    })
}

proptest! {
    #[test]
    fn messages_read_back(new in wires(), old in wires(), oid: u32, lsn: u64, end: u64, time: i32, whole: bool) {
        let (letter, time_us) = (if whole { b'O' } else { b'K' }, i64::from(time));
        let bytes = pgoutput::insert(oid, &new);
        match message(&bytes).unwrap() {
            Message::Insert { oid: found, new: tuple } => prop_assert_eq!((found, values(tuple)), (oid, new.clone())),
            other => panic!("{other:?}"),
        }
        let bytes = pgoutput::update(oid, Some((letter, &old)), &new);
        match message(&bytes).unwrap() {
            Message::Update { oid: found, old: Some(before), new: tuple } => {
                prop_assert_eq!((found, before.whole), (oid, whole));
                prop_assert_eq!((values(before.tuple), values(tuple)), (old.clone(), new));
            }
            other => panic!("{other:?}"),
        }
        let bytes = pgoutput::delete(oid, (letter, &old));
        match message(&bytes).unwrap() {
            Message::Delete { oid: found, old: before } => prop_assert_eq!((found, values(before.tuple)), (oid, old)),
            other => panic!("{other:?}"),
        }
        let bytes = pgoutput::commit(lsn, end, time_us);
        prop_assert_eq!(message(&bytes).unwrap(), Message::Commit { lsn, end_lsn: end, commit_us: time_us });
        let bytes = pgoutput::begin(lsn, time_us, oid);
        prop_assert_eq!(message(&bytes).unwrap(), Message::Begin { final_lsn: lsn, commit_us: time_us, xid: oid });
        let bytes = pgoutput::truncate(&[oid, 9]);
        prop_assert_eq!(message(&bytes).unwrap(), Message::Truncate { oids: vec![oid, 9] });
        let bytes = pgoutput::logical(whole, lsn, "p", b"c");
        let expected = Message::Logical { transactional: whole, lsn, prefix: b"p", content: b"c" };
        prop_assert_eq!(message(&bytes).unwrap(), expected);
        for table in Table::ALL {
            let bytes = pgoutput::describe(&relation(table));
            prop_assert_eq!(message(&bytes).unwrap(), Message::Relation(relation(table)));
        }
    }

    /// A message that is cut at any place is refused. Changed messages and arbitrary bytes are accepted or refused, and
    /// no decoder panics.
    #[test]
    fn broken_messages_are_refused_and_nothing_panics(
        bytes in messages(), cut: prop::sample::Index, at: prop::sample::Index, byte: u8, any in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let cut = bytes[..cut.index(bytes.len())].to_vec();
        prop_assert!(message(&cut).is_err(), "{cut:?}");
        let mut mutant = bytes.clone();
        let at = at.index(mutant.len());
        mutant[at] = byte;
        let mut decoder = decoder();
        for bytes in [bytes, mutant, any, cut] {
            let _ = message(&bytes);
            for table in Table::ALL {
                let relation = Arc::new(relation(table));
                let _ = changes_key(&relation, &bytes);
                for kind in [OriginKind::Change, OriginKind::OldKey, OriginKind::NewKey, OriginKind::Truncate, OriginKind::Copied] {
                    let record = of(kind(Arc::clone(&relation)), bytes.clone());
                    let _ = decoder.decode(&record);
                    let masked = decoder.mask_replicated(record.origin.as_ref().unwrap(), &bytes).len();
                    prop_assert_eq!(masked, bytes.len());
                }
            }
        }
    }

    /// A row that comes in the stream is equal to the row that comes by COPY, in whatever order its columns are.
    #[test]
    fn a_row_is_the_same_by_insert_update_and_copy_in_any_order(id in 1u64..50, version in 0u64..2_000, turn in 0usize..9) {
        for table in Table::ALL {
            let (mut shape, mut values) = (relation(table), row(table, id, version));
            let kind = |kind: fn(Arc<Relation>) -> OriginKind, shape: &Relation| kind(Arc::new(shape.clone()));
            let (inserted, expected) = upsert(decode(kind(OriginKind::Change, &shape), pgoutput::insert(shape.oid, &values)));
            let by = turn % values.len();
            values.rotate_left(by);
            shape.columns.rotate_left(by);
            let (_, turned) = upsert(decode(kind(OriginKind::Change, &shape), pgoutput::insert(shape.oid, &values)));
            let (updated, same) = upsert(decode(kind(OriginKind::Change, &shape), pgoutput::update(shape.oid, None, &values)));
            let (read, copied) = upsert(decode(kind(OriginKind::Copied, &shape), pgoutput::line(&values)));
            prop_assert_eq!((&turned, &same, &copied), (&expected, &expected, &expected));
            let ops = [inserted.op, updated.op, read.op];
            prop_assert_eq!(ops, [Op::Create, Op::Update, Op::Read]);
            prop_assert_eq!((inserted.lsn, inserted.source_ts_us), (Some(77), Some(COMMIT_US)));
            prop_assert_eq!(inserted.key.to_string(), key(id));
        }
    }

    #[test]
    fn origins_read_back_and_mutants_are_errors_or_origins(
        which in 0usize..9, table in 0usize..5, commit_us: i64, lsn: u64, delta in 0u32..9, bits in 0u8..32, seed: u64,
    ) {
        let relation = Arc::new(relation(Table::ALL[table]));
        let tables = Tables::from_bits(bits).unwrap();
        let kind = match which {
            0 => OriginKind::Change(relation),
            1 => OriginKind::OldKey(relation),
            2 => OriginKind::NewKey(relation),
            3 => OriginKind::Truncate(relation),
            4 => OriginKind::Copied(relation),
            5 => OriginKind::Commit,
            6 => OriginKind::Message,
            7 => OriginKind::Snapshot(SnapshotMark::Begin(tables)),
            _ => OriginKind::Snapshot(SnapshotMark::End(tables)),
        };
        let origin = Arc::new(Origin { kind, commit_us, base_lsn: lsn });
        let record = Record { lsn_delta: delta, ..record(&origin, 0, Vec::new()) };
        let bytes = origin::encode(&record).unwrap();
        let back = origin::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &Origin { base_lsn: lsn.saturating_add(delta.into()), ..(*origin).clone() });
        let encode = |origin: &Origin| origin::encode(&super::node::record(&Arc::new(origin.clone()), 0, Vec::new())).unwrap();
        check_bytes(&bytes, seed, origin::decode, encode);
    }

    /// A dead letter is as long as the message. A dead letter contains no value of a private column, wherever the
    /// column is in the row.
    #[test]
    fn dead_letters_have_no_private_values(secret in "[a-z]{6,40}", public in "[A-Z]{6,20}", at in 0usize..4, copied: bool, more: bool) {
        let mut columns = vec![("id", 2_950), ("username", 25), ("email", 25), ("password_hash", 25), ("phone", 25), ("bio", 25)];
        let mut values = vec![text(key(1)), text(public.clone()), text(secret.clone()), text(secret.clone()), text(secret.clone()),
            text(format!("{{\"passwordHash\": \"{secret}\"}}"))];
        columns.rotate_left(at);
        values.rotate_left(at);
        let relation = with_columns(Table::Users, &columns);
        // The drawn message may have more values than the relation has columns.
        values.extend(more.then(|| text(secret.clone())));
        let (kind, bytes) = match copied {
            true => (OriginKind::Copied(Arc::clone(&relation)), pgoutput::line(&values)),
            false => (OriginKind::Change(Arc::clone(&relation)), pgoutput::update(relation.oid, Some((b'O', &values)), &values)),
        };
        let origin = Origin { kind, commit_us: 0, base_lsn: 0 };
        let masked = decoder().mask_replicated(&origin, &bytes).into_owned();
        prop_assert_eq!(masked.len(), bytes.len());
        let shown = String::from_utf8_lossy(&masked).into_owned();
        prop_assert!(!shown.contains(&secret), "{shown}");
        prop_assert!(shown.contains(&public), "{shown}");
        // A dead letter keeps nothing of a message that was cut.
        if !copied {
            let cut = decoder().mask_replicated(&origin, &bytes[..bytes.len() - 1]).into_owned();
            prop_assert!(!String::from_utf8_lossy(&cut).contains(&secret));
        }
    }
}

#[test]
fn values_that_are_not_repeated_are_unavailable_and_those_of_a_key_tuple_are_not_null() {
    let posts = Arc::new(relation(Table::Posts));
    let mut values = row(Table::Posts, 1, 8);
    values[2] = Wire::Unchanged;
    values[4] = Wire::Unchanged;
    let (_, changed) =
        upsert(decode(OriginKind::Change(Arc::clone(&posts)), pgoutput::update(posts.oid, None, &values)));
    assert_eq!((&changed.cells[2], &changed.cells[4]), (&Cell::Unavailable, &Cell::Unavailable));
    // P9: nova reads only the key of the old tuple.
    let mut old = vec![Wire::Null; values.len()];
    old[0] = text(key(1));
    let deleted = change(decode(OriginKind::Change(Arc::clone(&posts)), pgoutput::delete(posts.oid, (b'K', &old))));
    assert_eq!((deleted.op, deleted.body, deleted.key.to_string()), (Op::Delete, ChangeBody::Delete, key(1)));
    // A text from PostgreSQL that equals Debezium's placeholder is an ordinary text.
    values[2] = text(nova::decode::DEFAULT_PLACEHOLDER);
    let (_, row) = upsert(decode(OriginKind::Change(Arc::clone(&posts)), pgoutput::insert(posts.oid, &values)));
    assert_eq!(row.cells[2], Cell::Text(nova::decode::DEFAULT_PLACEHOLDER.into()));
}

#[test]
fn a_change_of_the_key_is_a_delete_and_an_insert_that_name_each_other() {
    let likes = Arc::new(relation(Table::Likes));
    let (old, new) = (row(Table::Likes, 1, 4), row(Table::Likes, 2, 4));
    for letter in [b'K', b'O'] {
        let bytes = pgoutput::update(likes.oid, Some((letter, &old)), &new);
        assert!(changes_key(&likes, &bytes));
        let gone = change(decode(OriginKind::OldKey(Arc::clone(&likes)), bytes.clone()));
        let come = change(decode(OriginKind::NewKey(Arc::clone(&likes)), bytes));
        assert_eq!((gone.op, come.op, gone.lsn), (Op::Delete, Op::Create, come.lsn));
        assert_eq!(gone.renamed.as_deref(), Some(&Renamed::To(come.key)));
        assert_eq!(come.renamed.as_deref(), Some(&Renamed::From(gone.key)));
    }
    // With REPLICA IDENTITY FULL, every update contains the old row.
    assert!(!changes_key(&likes, &pgoutput::update(likes.oid, Some((b'O', &old)), &old)));
    assert!(!changes_key(&likes, &pgoutput::update(likes.oid, None, &new)));
}

#[test]
fn columns_are_found_by_name_and_unknown_ones_are_kept_by_the_list() {
    let columns = [
        ("id", 2_950),
        ("bio", 25),
        ("username", 1_043),
        ("email", 25),
        ("phone", 25),
        ("is_active", 16),
        ("email_verified", 16),
        ("created_at", 1_184),
        ("updated_at", 1_184),
        ("age", 23),
    ];
    let values = [
        text(key(1)),
        text("a \"bio\""),
        text("u"),
        text("m@x"),
        text("+1"),
        text("t"),
        text("f"),
        text("infinity"),
        text("0044-03-15 00:00:00+00 BC"),
        text("7"),
    ];
    let users = with_columns(Table::Users, &columns);
    let bytes = pgoutput::insert(users.oid, &values);
    let (_, row) = upsert(decode(OriginKind::Change(Arc::clone(&users)), bytes.clone()));
    assert_eq!(row.extra.as_deref(), Some(r#"{"bio":"a \"bio\""}"#));
    assert_eq!(row.cells[4], Cell::Micros(i64::MAX));
    assert_eq!(row.cells[6], Cell::Missing, "deleted_at is not published");
    assert_eq!(row.cells[5], Cell::Micros(-63_517_824_000_000_000), "44 BC");
    let keep = KeepUnknown::parse(&["users.age".to_owned()]).unwrap();
    let mut decoder = decoder().with_kept(keep);
    let (_, row) = upsert(decoder.decode(&of(OriginKind::Change(Arc::clone(&users)), bytes)));
    assert_eq!(row.extra.as_deref(), Some(r#"{"age":7}"#));
    let mut unchanged = values.to_vec();
    unchanged[9] = Wire::Unchanged;
    let (_, row) = upsert(
        decoder.decode(&of(OriginKind::Change(Arc::clone(&users)), pgoutput::update(users.oid, None, &unchanged))),
    );
    assert_eq!((row.extra, row.extra_unavailable.len()), (None, 1));
}

#[test]
fn what_cannot_be_a_row_is_dead_with_its_reason() {
    let likes = Arc::new(relation(Table::Likes));
    let values = row(Table::Likes, 1, 4);
    let inserted = |relation: &Arc<Relation>, values: &[Wire]| {
        reason(decode(OriginKind::Change(Arc::clone(relation)), pgoutput::insert(relation.oid, values)))
    };
    let shorter = with_columns(Table::Likes, &[("id", 2_950), ("user_id", 2_950), ("created_at", 1_114)]);
    let (code, detail) = inserted(&shorter, &[values[0].clone(), values[1].clone(), Wire::Null]);
    assert!(code == "schema-mismatch" && detail.contains("likes.post_id"), "{detail}");
    assert_eq!(inserted(&likes, &values[..3]).0, "malformed-message");
    assert_eq!(inserted(&likes, &[values.clone(), vec![Wire::Null]].concat()).0, "malformed-message");
    let mut null = values.clone();
    null[1] = Wire::Null;
    assert_eq!(inserted(&likes, &null).0, "null-value");
    let mut wrong = values.clone();
    wrong[3] = text("2026-11-20 09:00:00+00");
    assert_eq!(inserted(&likes, &wrong).0, "invalid-value");
    let other =
        with_columns(Table::Likes, &[("id", 2_950), ("user_id", 2_950), ("post_id", 2_950), ("created_at", 20)]);
    let (code, detail) = inserted(&other, &values);
    assert!(code == "wrong-type" && detail.contains("created_at"), "{detail}");
    let mut hidden = values.clone();
    hidden[0] = Wire::Unchanged;
    assert_eq!(inserted(&likes, &hidden).0, "unidentified-row");
    // The replica identity is an index other than the primary key.
    let mut old = vec![Wire::Null; 4];
    old[1] = values[1].clone();
    let deleted = decode(OriginKind::Change(Arc::clone(&likes)), pgoutput::delete(likes.oid, (b'K', &old)));
    assert_eq!(reason(deleted).0, "nil-key");
    let another = pgoutput::insert(likes.oid + 1, &values);
    assert_eq!(reason(decode(OriginKind::Change(Arc::clone(&likes)), another)).0, "malformed-message");
}

#[test]
fn what_is_no_change_of_a_row_is_told_apart() {
    let likes = Arc::new(relation(Table::Likes));
    assert_eq!(decode(OriginKind::Commit, Vec::new()), Decoded::Ignore(Ignored::TransactionMarker));
    assert_eq!(decode(OriginKind::Message, b"x".to_vec()), Decoded::Ignore(Ignored::Message));
    let mark = SnapshotMark::End(Tables::ALL);
    assert_eq!(decode(OriginKind::Snapshot(mark), Vec::new()), Decoded::Snapshot(mark));
    let truncated = change(decode(OriginKind::Truncate(likes), pgoutput::truncate(&[16_004])));
    assert_eq!((truncated.op, truncated.key, truncated.body), (Op::Truncate, Id::NIL, ChangeBody::Truncate));
    let foreign = Arc::new(Relation { name: "orders".into(), ..relation(Table::Likes) });
    assert_eq!(decode(OriginKind::Change(foreign), Vec::new()), Decoded::Ignore(Ignored::UnknownTopic));
}
