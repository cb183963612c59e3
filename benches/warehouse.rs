//! Measures how the writer encodes rows as RowBinary for a batch, and how a batch is cut into rows for the search for
//! bad rows. The benchmark `pipeline` measures the whole path of a row to the outbox's commit.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails ends")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nova::event::{Action, Cell, ClientEvent, Id, Op, Row, Table};
use nova::warehouse::rows::{EventRow, RowChange, put_change, put_event, split};
use nova::warehouse::{Target, outbox};

const ROWS: u64 = 50_000;
const NOW_MS: i64 = 1_795_132_800_000;

fn event(out: &mut Vec<u8>, n: u64) {
    let id = |kind: u128| Id::from_u128(kind << 64 | u128::from(n));
    let event = ClientEvent {
        event_id: id(1),
        user_id: id(2),
        post_id: id(3),
        author_id: None,
        action: Action::View,
        event_time_ms: NOW_MS,
        dwell_ms: 800,
        device: "android".into(),
        app_ver: "5.4.0".into(),
    };
    put_event(out, &EventRow { event: &event, author: id(4), at_ms: NOW_MS, arrival_ms: NOW_MS, store: 1, batch: 2 });
}

fn change(out: &mut Vec<u8>, n: u64, row: &Row) {
    let key = Id::from_u128(u128::from(n));
    let change = RowChange {
        table: Table::Likes,
        key,
        row: Some(row),
        deleted: false,
        op: Op::Create,
        version: u128::from(n),
        lsn: n,
        source_ts_us: NOW_MS * 1_000,
    };
    put_change(out, &change);
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("warehouse");
    group.sample_size(20).throughput(Throughput::Elements(ROWS));
    let mut batch = Vec::with_capacity(outbox::BATCH_MAX_BYTES as usize);
    group.bench_function("events_to_rowbinary", |b| {
        b.iter(|| {
            batch.clear();
            (0..ROWS).for_each(|n| event(&mut batch, n));
            black_box(batch.len())
        });
    });
    group.bench_function("a_batch_of_events_into_rows", |b| {
        b.iter(|| black_box(split(Target::Events.columns(), &batch).unwrap().len()));
    });
    let cells = [Cell::Uuid(Id::from_u128(1)), Cell::Uuid(Id::from_u128(2)), Cell::Uuid(Id::from_u128(3))];
    let cells = cells.into_iter().chain([Cell::Micros(NOW_MS * 1_000)]).collect();
    let row = Row { cells, extra: None, extra_unavailable: Box::default() };
    group.bench_function("likes_to_rowbinary", |b| {
        b.iter(|| {
            batch.clear();
            (0..ROWS).for_each(|n| change(&mut batch, n, &row));
            black_box(batch.len())
        });
    });
    group.finish();
}

criterion_group!(benches, encoding);
criterion_main!(benches);
