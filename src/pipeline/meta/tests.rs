use super::*;
use crate::event::{Id, TopicPartition};
use crate::pipeline::apply::Regression;
use crate::pipeline::decided::{Restarts, Seek, Truncation};
use nova_storage::testing::mutate::check_values;
use proptest::prelude::*;

fn partition() -> impl Strategy<Value = TopicPartition> {
    ("[a-z.]{0,9}", any::<i32>()).prop_map(|(topic, partition)| TopicPartition::new(topic, partition))
}

fn truncation() -> impl Strategy<Value = Truncation> {
    (partition(), any::<(i64, Option<u64>, Option<i64>)>())
        .prop_map(|(partition, (offset, lsn, source_ts_us))| Truncation { partition, offset, lsn, source_ts_us })
}

fn halt(table: Table) -> impl Strategy<Value = Halt> {
    prop_oneof![
        proptest::option::of(truncation()).prop_map(move |at| Halt::Truncate { table, at }),
        any::<(u128, u64, u64)>().prop_map(move |(key, lsn, stored_lsn)| {
            Halt::LsnRegression(Regression { table, key: Id::from_u128(key), lsn, stored_lsn })
        }),
        any::<(u32, u32, bool)>().prop_map(move |(read, found, ordered)| Halt::Partitions(Repartitioned {
            table,
            read,
            found,
            ordered
        })),
        any::<String>().prop_map(move |actor| Halt::Paused { table, actor: actor.into() }),
        any::<String>().prop_map(|words| Halt::Other(words.into())),
    ]
}

fn table_meta(table: Table) -> impl Strategy<Value = TableMeta> {
    let decided = proptest::collection::vec((proptest::option::of(truncation()), any::<bool>()), 0..4);
    let truncated = any::<Option<(u16, u64, Option<i64>, Option<i32>)>>();
    (proptest::option::of(halt(table)), decided, truncated, any::<(u16, u32, u32, bool)>()).prop_map(
        |(halt, list, truncated, (epoch, partitions, partitions_found, without_lsn))| {
            let truncated = truncated.map(|(epoch, lsn, source_ts_us, partition)| Truncated {
                epoch,
                lsn,
                source_ts_us,
                partition,
            });
            let mut decided = Truncates::default();
            for (at, apply) in list {
                decided.decide(at, if apply { Decision::Apply } else { Decision::Ignore });
            }
            TableMeta {
                epoch,
                first_epoch: epoch / 2,
                truncated,
                halt,
                decided,
                partitions,
                partitions_found,
                without_lsn,
                first: first(partitions_found),
                restarts: restarts(partitions),
            }
        },
    )
}

/// First reads that are different for each `number`.
fn first(number: u32) -> FirstReads {
    let mut first = FirstReads::default();
    (0..number % 5).for_each(|partition| first.read(partition as i32, u64::from(number)));
    (0..number % 3).for_each(|partition| first.streamed(partition as i32));
    first
}

/// Decisions of people about a source's log that began again. The decisions are different for each `number`.
fn restarts(number: u32) -> Restarts {
    let mut restarts = Restarts::default();
    (0..number % 4).for_each(|each| restarts.decide(Id::from_u128(each.into()), number.into()));
    restarts
}

fn seeks() -> impl Strategy<Value = Seeks> {
    let seek = (partition(), any::<(i64, i64, u64)>());
    let seek = seek.prop_map(|(partition, (from, to, digest))| Seek { partition, from, to, digest });
    proptest::collection::vec(seek, 0..6).prop_map(|list| {
        let mut seeks = Seeks::default();
        list.into_iter().for_each(|seek| seeks.decide(seek));
        seeks
    })
}

fn metas() -> impl Strategy<Value = Meta> {
    let generation = proptest::option::of(0..u64::MAX);
    let numbers = (any::<(u64, u64, u64, u64, i64, u64)>(), generation);
    let tables = Table::ALL.map(table_meta);
    (numbers, any::<Option<(bool, bool)>>(), seeks(), tables).prop_map(|(numbers, counted, seeks, tables)| {
        let ((store_id, dead_next, covered, checkpoint_bytes, dedup_floor_ms, audit_next), generation) = numbers;
        let from = |events| if events { CountedFrom::Events } else { CountedFrom::Cdc };
        let counted = counted.map(|(likes, comments)| [from(likes), from(comments)]);
        Meta {
            store_id,
            dead_next,
            covered,
            checkpoint_bytes,
            generation,
            dedup_floor_ms,
            audit_next,
            counted,
            seeks,
            tables,
        }
    })
}

proptest! {
    #[test]
    fn it_round_trips_and_mutants_are_errors_or_records(meta in metas(), seed: u64) {
        prop_assert_eq!(Meta::decode(&meta.encode()), Ok(meta.clone()));
        // The stored state may lack tables that a later version of nova added.
        check_values(&meta.encode(), seed, Meta::decode, Meta::encode);
    }

    /// nova can decode a stored state that lacks known tables, and refuses a stored state with an unknown table.
    #[test]
    fn a_record_with_fewer_tables_reads_and_one_with_more_names_the_way_out(meta in metas(), count in 0usize..5) {
        let with = |entries: &[(u8, Vec<u8>)]| {
            let whole = Meta { tables: Default::default(), ..meta.clone() }.encode();
            let none = Meta::default().tables.map(|table| table.encode());
            let tail = 1 + none.iter().map(|entry| 1 + 1 + entry.len()).sum::<usize>();
            let mut bytes = whole[..whole.len() - tail].to_vec();
            bytes.put_varint(entries.len() as u64);
            for (number, entry) in entries {
                bytes.put_u8(*number);
                bytes.put_bytes(entry);
            }
            bytes
        };
        let entry = |table: Table| (table.number(), meta.tables[table as usize].encode());
        let mut entries: Vec<_> = Table::ALL.into_iter().take(count).map(entry).collect();
        let read = Meta::decode(&with(&entries)).unwrap();
        prop_assert_eq!(&read.tables[..count], &meta.tables[..count]);
        prop_assert!(read.tables[count..].iter().all(|table| *table == TableMeta::default()));
        entries.push((200, b"of another shape".to_vec()));
        let error = Meta::decode(&with(&entries)).unwrap_err();
        prop_assert_eq!(&error, &CodecError::Unknown { what: "source table", number: 200 });
        prop_assert!(error.to_string().contains("newer nova"));
    }
}

/// Version 3 did not note the reads of first snapshots, so the first reads of its stores are unknown.
#[test]
fn a_record_of_version_3_follows_no_first_reads() {
    let mut meta = Meta { store_id: 7, audit_next: 9, ..Meta::default() };
    for (table, epoch) in meta.tables.iter_mut().zip(0..) {
        (table.epoch, table.partitions, table.partitions_found) = (epoch, 3, 3);
    }
    let mut bytes = meta.encode();
    // Version 3 of the format did not have the generation of the last checkpoint. In later versions the generation
    // comes after the version, the store's id and six values of one byte each.
    bytes.remove(1 + 8 + 6);
    let mut older = Vec::new();
    let entries: Vec<_> = meta.tables.iter().map(TableMeta::encode).collect();
    bytes.truncate(bytes.len() - entries.iter().map(|entry| 2 + entry.len()).sum::<usize>());
    FirstReads::default().encode(&mut older);
    Restarts::default().encode(&mut older);
    for (table, entry) in Table::ALL.iter().zip(&entries) {
        bytes.put_u8(table.number());
        bytes.put_bytes(&entry[..entry.len() - older.len()]);
    }
    bytes[0] = 3;
    meta.tables.iter_mut().for_each(|table| table.first = FirstReads::unknown());
    assert_eq!(Meta::decode(&bytes), Ok(meta));
}

/// Version 2 wrote the entry of each table without the table's number, and wrote halts as sentences.
#[test]
fn a_record_of_version_2_keeps_its_halts_and_its_open_decision() {
    let mut bytes = vec![2];
    bytes.put_fixed(&7u64.to_le_bytes());
    (0..3).for_each(|number| bytes.put_varint(number));
    bytes.put_zigzag(-5);
    bytes.put_varint(9);
    bytes.put_u8(0);
    for (number, words) in
        [None, Some("truncate: the source truncated posts."), None, Some("new words"), None].into_iter().enumerate()
    {
        bytes.put_varint(number as u64);
        bytes.put_u8(0);
        bytes.put_optional_bytes(words.map(str::as_bytes));
        bytes.put_u8(if number == 4 { 3 } else { 0 });
        bytes.put_varint(2);
        bytes.put_varint(3);
        bytes.put_u8(1);
    }
    let meta = Meta::decode(&bytes).unwrap();
    assert_eq!((meta.store_id, meta.audit_next, meta.dedup_floor_ms), (7, 9, -5));
    assert_eq!(meta.tables.each_ref().map(|table| table.epoch), [0, 1, 2, 3, 4]);
    let [_, posts, _, comments, likes] = &meta.tables;
    assert_eq!(posts.halt, Some(Halt::Truncate { table: Table::Posts, at: None }));
    assert_eq!(comments.halt, Some(Halt::Other("new words".into())));
    let at = Truncation { partition: TopicPartition::new("cdc.likes", 0), offset: 3, lsn: None, source_ts_us: None };
    assert_eq!(likes.decided.clone().decided(&at), Some(Decision::Ignore), "the next truncate, whichever it is");
}
