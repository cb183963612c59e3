//! The test writes through Debezium and through nova's own slot, and compares the changes record by record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nova::decode::{Decoder, NoSchemas, Topics};
use nova::event::{Change, ChangeBody, Decoded, Id, Op, Record, Table, TopicPartition};
use nova::source::postgres::follower::FollowSettings;
use nova::source::postgres::net::{ConnectSettings, SslMode};
use nova::source::postgres::session::{PostgresSettings, Session};
use nova::source::{PollLimits, Progress, Source as _};
use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::stack::workload::session;
use crate::stack::world::{Form, PATIENCE, Servers, World};
use crate::support::asked;

const TRANSACTIONS: u64 = 400;

/// A double of the store that commits every record at once.
#[derive(Default)]
struct AtOnce(Mutex<Option<Arc<[u8]>>>);

impl Progress for AtOnce {
    fn next_offset(&self, _partition: &TopicPartition) -> Option<i64> {
        None
    }
    fn cookie(&self, _partition: &TopicPartition) -> Option<Arc<[u8]>> {
        self.0.lock().clone()
    }
    fn knows_last(&self, _partition: &TopicPartition) -> bool {
        false
    }
    fn drain(&self, _timeout: Duration) -> bool {
        true
    }
    fn handed_over(&self) -> u64 {
        0
    }
    fn is_settled(&self, _handed_over: u64) -> bool {
        true
    }
}

/// The changes of each row in their order, and whether the very last change has come.
#[derive(Default)]
struct Told {
    rows: BTreeMap<(Table, Id), Vec<Change>>,
    ended: bool,
}

impl Told {
    fn take(&mut self, decoder: &mut Decoder, record: &Record, last: &str) {
        match decoder.decode(record) {
            // After a delete, Debezium sends a record with a null value.
            Decoded::Change(Change { body: ChangeBody::Tombstone, .. }) => {}
            Decoded::Change(change) => {
                self.ended |= change.table == Table::Users && change.key.to_string() == last;
                self.rows.entry((change.table, change.key)).or_default().push(change);
            }
            Decoded::Dead(dead) => panic!("{dead:?}"),
            Decoded::Wait(wait) => panic!("{wait:?}"),
            Decoded::Ignore(_) | Decoded::Snapshot(_) | Decoded::Event(_) => {}
        }
    }
}

/// Reads everything that Debezium has produced, up to the change of the last user.
fn through_debezium(world: &World, placeholder: &str, last: &str) -> Told {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.servers.kafka)
        .set("group.id", &world.name)
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let (mut assigned, mut begun) = (0, nova::clock::monotonic_now());
    let names = Topics { prefix: world.name.clone(), ..Topics::default() };
    let mut decoder = Decoder::new(names, Arc::new(NoSchemas)).with_placeholder(placeholder);
    let mut told = Told::default();
    while !told.ended || begun.elapsed() < Duration::from_secs(3) {
        assert!(begun.elapsed() < PATIENCE, "Debezium never brought the last user");
        let mut list = TopicPartitionList::new();
        for table in Table::ALL {
            let topic = format!("{}.{table}", world.name);
            let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(5)).unwrap();
            for partition in metadata.topics()[0].partitions() {
                list.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
            }
        }
        if list.count() > assigned {
            (assigned, told) = (list.count(), Told::default());
            consumer.assign(&list).unwrap();
        }
        while let Some(message) = consumer.poll(Duration::from_millis(500)) {
            let message = message.unwrap();
            let headers = message.headers().map_or_else(Vec::new, |headers| {
                let one = |header: rdkafka::message::Header<'_, &[u8]>| {
                    (header.key.into(), bytes::Bytes::copy_from_slice(header.value.unwrap_or_default()))
                };
                headers.iter().map(one).collect()
            });
            let record = Record {
                topic: message.topic().into(),
                partition: message.partition(),
                offset: message.offset(),
                timestamp_ms: 0,
                key: message.key().map(bytes::Bytes::copy_from_slice),
                value: message.payload().map(bytes::Bytes::copy_from_slice),
                headers,
                defect: None,
                origin: None,
                lsn_delta: 0,
            };
            let before = told.ended;
            told.take(&mut decoder, &record, last);
            if told.ended && !before {
                // Partitions of tables other than `users` may still be behind.
                begun = nova::clock::monotonic_now();
            }
        }
    }
    told
}

/// A function that reads changes until the user with the given id has come.
type ReadOn = Box<dyn FnMut(&str) -> Told>;

fn own_slot(world: &World) -> (Session, ReadOn) {
    let (server, _) = world.servers.postgres.rsplit_once('/').unwrap();
    let (slot, publication) = (format!("{}_own", world.name), format!("{}_own", world.name));
    world
        .sql()
        .batch_execute(&format!(
            "CREATE PUBLICATION {publication} FOR TABLE posts, follows, comments, likes,
             users (id, username, email_verified, is_active, created_at, updated_at, deleted_at)"
        ))
        .unwrap();
    let connect = ConnectSettings {
        url: format!("{server}/{}", world.name),
        ssl_mode: SslMode::Disable,
        slot: slot.clone(),
        publication: publication.clone(),
        ..ConnectSettings::default()
    };
    let follow = FollowSettings { slot, publication, resnapshot: false, max_held_wal_mib: 0 };
    let store = Arc::<AtOnce>::default();
    let (session, mut source) = Session::start(PostgresSettings { connect, follow }, Arc::clone(&store) as _).unwrap();
    let mut decoder = Decoder::new(Topics::default(), Arc::new(NoSchemas));
    let mut told = Told::default();
    let read = move |last: &str| {
        let begun = nova::clock::monotonic_now();
        let mut records = Vec::new();
        while !told.ended {
            assert!(begun.elapsed() < PATIENCE, "the slot never brought the last user");
            source.poll(&PollLimits::default(), &mut records).unwrap();
            records.drain(..).for_each(|record| told.take(&mut decoder, &record, last));
            for cookie in source.take_cookies() {
                *store.0.lock() = Some(cookie.bytes);
            }
            assert_eq!(source.take_faults(), []);
        }
        std::mem::take(&mut told)
    };
    (session, Box::new(read))
}

fn last_user(world: &World, number: u32) -> String {
    let sql = format!(
        "INSERT INTO users (email, username, password_hash) VALUES ('last{number}', 'last{number}', 'x') RETURNING id::text"
    );
    world.sql().query_one(&sql, &[]).unwrap().get(0)
}

#[test]
fn the_same_workload_gives_the_same_changes_record_by_record() {
    let Some(servers) = Servers::find() else { return };
    let world = World::begin(servers, Form::Envelope);
    let (running, mut own) = own_slot(&world);
    // Debezium and nova have finished their snapshots of the empty tables. Both streams contain every change after the
    // first user.
    let first = last_user(&world, 0);
    own(&first);
    let transactions = asked("NOVA_TEST_TRANSACTIONS").unwrap_or(TRANSACTIONS);
    session(&mut world.sql(), 1, transactions / 2);
    world
        .sql()
        .batch_execute(
            "ALTER TABLE posts ADD COLUMN n int DEFAULT 5, ADD COLUMN tags text[], ADD COLUMN day date, ADD COLUMN at timestamptz,
               ADD COLUMN raw bytea, ADD COLUMN num numeric, ADD COLUMN big text, ADD COLUMN ok bool, ADD COLUMN i8 bigint;
             INSERT INTO users (email, username, password_hash, created_at, updated_at) VALUES ('e', 'ends', 'x', 'infinity', '-infinity');
             INSERT INTO posts (user_id, image_key, status, caption, n, tags, day, at, raw, num, big, ok, i8)
               SELECT id, 'k', 'published', E'tab\\t, \"quote\", ü', -5, ARRAY['a', 'b c', NULL], '1999-12-31',
                      '2026-01-02 03:04:05.5+02', '\\x00ff', 12345.678900,
                      (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i), true, 9007199254740993
                 FROM users WHERE username = 'ends';
             INSERT INTO likes (user_id, post_id, created_at) SELECT user_id, id, NULL FROM posts WHERE n = -5;
             UPDATE posts SET status = 'pending' WHERE n = -5;
             UPDATE comments SET id = gen_random_uuid() WHERE id IN (SELECT id FROM comments LIMIT 3)",
        )
        .unwrap();
    session(&mut world.sql(), 2, transactions / 2);
    let last = last_user(&world, 1);
    let ours = own(&last);
    let theirs = through_debezium(&world, "nova-unavailable-6850090be5b7f03428b38213ee145bae", &last);
    running.end();
    let mut compared = 0;
    for (row, theirs) in &theirs.rows {
        // Debezium's own snapshot contains only the first user. nova read the insert of the first user before the
        // comparison began.
        let skipped =
            |change: &&Change| change.op == Op::Read || (row.1.to_string() == first && change.op == Op::Create);
        let theirs: Vec<_> = theirs.iter().filter(|change| !skipped(change)).collect();
        let Some(ours) = ours.rows.get(row) else {
            assert!(
                row.1.to_string() == first || theirs.is_empty(),
                "{row:?} is in Debezium's records alone: {theirs:?}"
            );
            continue;
        };
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, *theirs, "{row:?}");
            compared += 1;
        }
        assert_eq!(ours.len(), theirs.len(), "{row:?}");
    }
    let missing: Vec<_> = ours.rows.keys().filter(|row| !theirs.rows.contains_key(row)).collect();
    assert!(missing.is_empty(), "in nova's own stream alone: {missing:?}");
    eprintln!("{compared} changes are the same");
    assert!(compared > 200);
    world.sql().batch_execute(&format!("SELECT pg_drop_replication_slot('{}_own')", world.name)).unwrap();
}
