//! Tests of the judgement about a change and of the effect of a truncate on a row. This file makes the changes and rows
//! that the tests judge.

mod fills;
mod keys;
mod new_logs;
mod order;
mod reads;
mod tombstones;
mod truncates;
mod two_logs;

use super::{Judgement, Written, judge};
use crate::event::{Cell, Change, ChangeBody, Format, Id, Op, Row, Table};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::Place;

fn row(text: &str) -> Row {
    let cells = Box::new([Cell::Uuid(Id::NIL), Cell::Text(text.into())]);
    Row { cells, extra: None, extra_unavailable: Box::default() }
}

fn change(lsn: Option<u64>, ts: i64, body: ChangeBody) -> Change {
    let op = if body == ChangeBody::Delete { Op::Delete } else { Op::Update };
    Change {
        table: Table::Users,
        key: Id::NIL,
        op,
        format: Format::Envelope,
        lsn,
        source_ts_us: Some(ts),
        renamed: None,
        ends_snapshot: false,
        body,
    }
}

fn at(offset: i64) -> Place {
    Place { partition: Some(0), offset }
}

fn judged(change: Change, offset: i64, stored: Option<&[u8]>) -> Judgement {
    judge(change, at(offset), &TableMeta::default(), stored, None).unwrap()
}

fn write(judgement: Judgement) -> Written {
    match judgement {
        Judgement::Write(written) => *written,
        other => panic!("expected a write, got {other:?}"),
    }
}

fn stored(text: &str) -> Box<[u8]> {
    write(judged(change(Some(100), 50, ChangeBody::Upsert(row(text))), 7, None)).stored
}

fn at_epoch(change: Change, offset: i64, stored: &[u8], epoch: u16) -> Judgement {
    let meta = TableMeta { epoch, ..TableMeta::default() };
    judge(change, at(offset), &meta, Some(stored), None).unwrap()
}

fn created(lsn: u64, ts: i64, offset: i64) -> Box<[u8]> {
    let create = Change { op: Op::Create, ..change(Some(lsn), ts, ChangeBody::Upsert(row("a"))) };
    write(judged(create, offset, None)).stored
}
