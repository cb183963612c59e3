//! Tests of the order of changes: a newer change replaces the row, an older change is stale, and an equal change is a
//! duplicate.

use super::{at, change, judged, row, stored, write};
use crate::event::{Change, ChangeBody, Op, Outcome};
use crate::pipeline::apply::{Judgement, judge};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::Place;

#[test]
fn an_older_lsn_is_stale_and_an_equal_one_goes_by_content_then_offset() {
    let stored = stored("a");
    let upsert = |lsn, text| change(Some(lsn), 50, ChangeBody::Upsert(row(text)));
    let older = change(Some(99), 49, ChangeBody::Upsert(row("b")));
    assert_eq!(judged(older, 8, Some(&stored)), Judgement::Skip(Outcome::Stale));
    assert_eq!(judged(upsert(100, "a"), 8, Some(&stored)), Judgement::Skip(Outcome::Duplicate));
    assert_eq!(judged(upsert(100, "b"), 6, Some(&stored)), Judgement::Skip(Outcome::Stale));
    assert_eq!(write(judged(upsert(100, "b"), 8, Some(&stored))).old, Some(row("a")));
}

#[test]
fn a_lower_lsn_with_a_later_commit_halts_and_a_read_with_one_is_the_newer_row() {
    let stored = stored("a");
    let mut low = change(Some(5), 51, ChangeBody::Upsert(row("b")));
    assert!(
        matches!(judged(low.clone(), 8, Some(&stored)), Judgement::Halt(halt) if halt.to_string().contains("epoch bump"))
    );
    low.op = Op::Read;
    assert_eq!(write(judged(low.clone(), 8, Some(&stored))).new, Some(row("b")));
    low.source_ts_us = Some(50);
    assert_eq!(judged(low.clone(), 8, Some(&stored)), Judgement::Skip(Outcome::Stale));
    let bumped = TableMeta { epoch: 1, ..TableMeta::default() };
    assert!(matches!(judge(low, at(8), &bumped, Some(&stored), None).unwrap(), Judgement::Write(_)));
}

#[test]
fn a_redelivery_is_stale_whatever_the_servers_clock_did() {
    let upsert = |lsn, ts, text| change(Some(lsn), ts, ChangeBody::Upsert(row(text)));
    let first = write(judged(upsert(100, 50, "a"), 7, None));
    let second = write(judged(upsert(200, 40, "b"), 8, Some(&first.stored)));
    assert_eq!(judged(upsert(100, 50, "a"), 9, Some(&second.stored)), Judgement::Skip(Outcome::Stale));
    assert_eq!(judged(upsert(200, 40, "b"), 10, Some(&second.stored)), Judgement::Skip(Outcome::Duplicate));
}

#[test]
fn of_a_delete_and_an_insert_of_one_lsn_in_two_partitions_the_insert_is_later() {
    let (delete, insert) = (
        change(Some(100), 50, ChangeBody::Delete),
        Change { op: Op::Create, ..change(Some(100), 50, ChangeBody::Upsert(row("new"))) },
    );
    let there = |offset| Place { partition: Some(1), offset };
    let table = TableMeta::default();
    let gone = write(judged(delete.clone(), 900, None)).stored;
    assert!(write(judge(insert.clone(), there(3), &table, Some(&gone), None).unwrap()).new.is_some());
    let live = write(judged(insert, 3, None)).stored;
    let later = judge(delete, there(900), &table, Some(&live), None).unwrap();
    assert_eq!(later, Judgement::Skip(Outcome::Stale));
}
