//! Measures how long records take from bytes to their durable commit, through the ingest thread and the writer's
//! thread. The bench also measures a recovery. The records are made before the measurement starts. The store is a file
//! in the temporary directory, and every commit is durable.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails ends")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nova::app::{self, Drain, Setup};
use nova::decode::{NoSchemas, Topics, client};
use nova::event::{Action, ClientEvent, Id, Record, Table, TopicPartition};
use nova::pipeline::dedup::{Dedup, Entry, Times};
use nova::source::postgres::link;
use nova::source::postgres::numbering::Numbering;
use nova::source::postgres::server::Event;
use nova::source::{PollLimits, Polled, Source, SourceError};
use nova::warehouse::clickhouse::ClickHouseSettings;
use nova_storage::{Options, Store};

const EVENTS: usize = 500_000;
const LIKES: usize = 150_000;
const DEDUP_KEYS: u64 = 10_000_000;
const BEGIN_MS: i64 = 1_795_132_800_000;

struct Listed(std::vec::IntoIter<Record>);

impl Source for Listed {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let before = out.len();
        out.extend(self.0.by_ref().take(limits.max_records));
        Ok(if out.len() == before { Polled::End } else { Polled::Records })
    }
    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }
    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A recorded replication stream, whose messages are numbered when they are polled.
struct Stream(std::vec::IntoIter<Event>, Numbering);

impl Source for Stream {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let before = out.len();
        while out.len() - before < limits.max_records {
            let Some(event) = self.0.next() else { break };
            self.1.take(event, out).map_err(|failure| SourceError::Postgres(failure.to_string()))?;
        }
        Ok(if out.len() == before { Polled::End } else { Polled::Records })
    }
    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }
    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Returns likes as messages of pgoutput, in transactions of a hundred likes. Each like is a new row.
fn replicated() -> Vec<Event> {
    const OF_ONE_TRANSACTION: usize = 100;
    let columns: [(&str, u32); 4] = [("id", 2_950), ("user_id", 2_950), ("post_id", 2_950), ("created_at", 1_114)];
    let mut described = [&b"R"[..], &7u32.to_be_bytes(), b"public\0likes\0d", &4u16.to_be_bytes()].concat();
    for (name, type_oid) in columns {
        described.extend([b"\0", name.as_bytes(), b"\0", &type_oid.to_be_bytes(), &(-1i32).to_be_bytes()].concat());
    }
    let mut events = vec![Event::Change { lsn: 0, message: described.into() }];
    for n in 0..LIKES {
        let us = (BEGIN_MS + n as i64 / 10) * 1_000;
        let lsn = 26_947_152 + n as u64 * 56;
        if n % OF_ONE_TRANSACTION == 0 {
            events.push(Event::Begin { commit_lsn: lsn, commit_us: us });
        }
        let id = Id::from_u128(mixed(n as u64 + (1 << 43))).to_string();
        let user = Id::from_u128(mixed(n as u64 % 20_000 + (1 << 40))).to_string();
        let post = Id::from_u128(mixed((n as u64 * 7) % 5_000 + (1 << 41))).to_string();
        let at = format!("2026-11-20 09:{:02}:{:02}.{:06}", n / 60 % 60, n % 60, n);
        let mut message = [&b"I"[..], &7u32.to_be_bytes(), b"N", &4u16.to_be_bytes()].concat();
        for value in [id, user, post, at] {
            message.extend([b"t", &(value.len() as u32).to_be_bytes()[..], value.as_bytes()].concat());
        }
        events.push(Event::Change { lsn, message: message.into() });
        if n % OF_ONE_TRANSACTION == OF_ONE_TRANSACTION - 1 {
            events.push(Event::Commit { lsn: lsn + 40, end_lsn: lsn + 48 });
        }
    }
    events
}

fn mixed(value: u64) -> u128 {
    u128::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn record(topic: &Arc<str>, offset: usize, key: Option<String>, value: Vec<u8>) -> Record {
    Record {
        topic: Arc::clone(topic),
        partition: 0,
        offset: offset as i64,
        timestamp_ms: BEGIN_MS + offset as i64 / 10,
        key: key.map(Into::into),
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

/// Returns events of 298 bytes each, by 20 000 users on 5 000 posts.
fn events() -> Vec<Record> {
    let topic = "events".into();
    let event = |n: usize| ClientEvent {
        event_id: Id::from_u128(mixed(n as u64 + 1)),
        user_id: Id::from_u128(mixed(n as u64 % 20_000 + (1 << 40))),
        post_id: Id::from_u128(mixed((n as u64 * 7) % 5_000 + (1 << 41))),
        author_id: Some(Id::from_u128(mixed(n as u64 % 900 + (1 << 42)))),
        action: Action::ALL[n % 2],
        event_time_ms: BEGIN_MS + n as i64 / 10,
        dwell_ms: 800,
        device: "android".into(),
        app_ver: "5.4.0".into(),
    };
    (0..EVENTS).map(|n| record(&topic, n, None, client::encode(&event(n)))).collect()
}

/// Returns likes in Debezium's envelope. Each like is a new row.
fn likes() -> Vec<Record> {
    let topic = "cdc.likes".into();
    let like = |n: usize| {
        let id = Id::from_u128(mixed(n as u64 + (1 << 43)));
        let (user, post) = (mixed(n as u64 % 20_000 + (1 << 40)), mixed((n as u64 * 7) % 5_000 + (1 << 41)));
        let (user, post, lsn) = (Id::from_u128(user), Id::from_u128(post), 26_947_152 + n * 56);
        let us = (BEGIN_MS + n as i64 / 10) * 1_000;
        let value = format!(
            r#"{{"before":null,"after":{{"id":"{id}","user_id":"{user}","post_id":"{post}","created_at":{us}}},"source":{{"version":"3.6.0.Final","connector":"postgresql","name":"env","ts_ms":{0},"snapshot":"false","db":"nova","sequence":"[\"{lsn}\",\"{lsn}\"]","ts_us":{us},"ts_ns":{us}000,"schema":"public","table":"likes","txId":761,"lsn":{lsn},"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"c","ts_ms":{0},"ts_us":{us},"ts_ns":{us}000}}"#,
            us / 1_000
        );
        record(&topic, n, Some(format!(r#"{{"id":"{id}"}}"#)), value.into_bytes())
    };
    (0..LIKES).map(like).collect()
}

/// With `outbox`, the run also collects rows for a ClickHouse that does not answer.
fn run(source: Box<dyn Source>, outbox: bool) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas));
    setup.clickhouse = outbox.then(|| ClickHouseSettings {
        url: "http://127.0.0.1:1".to_owned(),
        database: "nova".to_owned(),
        user: None,
        password: None,
        ca_file: None,
        layout: Default::default(),
        timeout: Duration::from_secs(1),
    });
    setup.drain = Drain { idle: Duration::ZERO, most: Duration::ZERO };
    let opened = app::open(&setup).unwrap();
    let started = nova::clock::monotonic_now();
    let running = opened.start(source, &setup).unwrap();
    let statuses = running.finish(|_| {}).unwrap();
    let elapsed = started.elapsed();
    // nova applies every record except the ends of transactions.
    assert!(statuses.iter().all(|status| status.row.outcomes[0] + status.row.outcomes[3] == status.row.consumed));
    assert!(statuses.iter().all(|status| status.row.outcomes[0] >= LIKES as u64));
    elapsed
}

fn ingestion(c: &mut Criterion) {
    let mut group = c.benchmark_group("bytes_to_commit");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let (events, likes) = (events(), likes());
    for (name, records, outbox) in [
        ("client_events", &events, false),
        ("cdc_envelope_likes", &likes, false),
        ("client_events_and_outbox", &events, true),
        ("cdc_envelope_likes_and_outbox", &likes, true),
    ] {
        group.throughput(Throughput::Elements(records.len() as u64));
        let source = || Box::new(Listed(records.clone().into_iter()));
        group.bench_function(name, |b| b.iter_custom(|times| (0..times).map(|_| run(source(), outbox)).sum()));
    }
    let stream = replicated();
    group.throughput(Throughput::Elements(LIKES as u64));
    let source = || {
        let followed = Table::ALL.map(|_| Some("public".to_owned()));
        Box::new(Stream(stream.clone().into_iter(), Numbering::new(link::partition("nova"), 0, followed)))
    };
    for (name, outbox) in [("pgoutput_likes", false), ("pgoutput_likes_and_outbox", true)] {
        group.bench_function(name, |b| b.iter_custom(|times| (0..times).map(|_| run(source(), outbox)).sum()));
    }
    group.finish();
}

/// Measures how long it takes to open a store with ten million remembered event ids.
fn recovery(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(app::STORE_FILE);
    let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
    let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
    for batch in 0..DEDUP_KEYS / 10_000 {
        let write = store.write().unwrap();
        let arrival_ms = BEGIN_MS + batch as i64 * 60_000;
        (0..10_000).for_each(|n| dedup.insert(Entry::new(mixed(batch * 10_000 + n + 1), n), arrival_ms));
        let times = Times { watermark_ms: arrival_ms, now_ms: arrival_ms, latest_ms: i64::MAX, horizon_ms: 86_400_000 };
        dedup.commit(&write, times).unwrap();
        write.commit().unwrap();
    }
    let (keys, bytes) = (dedup.keys(), dedup.mem_bytes());
    assert_eq!(keys, DEDUP_KEYS);
    eprintln!("{keys} dedup keys: {} MiB in memory", bytes >> 20);
    drop((dedup, store));
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    group.bench_function("ten_million_dedup_keys", |b| {
        b.iter(|| {
            let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
            black_box(Dedup::load(&store.read().unwrap(), i64::MIN).unwrap().keys())
        });
    });
    group.finish();
}

criterion_group!(benches, ingestion, recovery);
criterion_main!(benches);
