//! Tests of truncates: which rows a truncate deletes, and which changes are older than an applied truncate.

use super::{at, change, row, stored, write};
use crate::event::{Change, ChangeBody, Id, Op, Outcome, Table};
use crate::pipeline::apply::{Judgement, judge, truncate_row};
use crate::pipeline::meta::{TableMeta, Truncated};
use crate::pipeline::stored::Place;

/// The effect that a truncate has on the row `a`.
fn truncated_row(lsn: u64, offset: i64, ts: i64, epoch: u16) -> Judgement {
    truncated_from(at(offset), lsn, ts, epoch)
}

fn truncated_from(place: Place, lsn: u64, ts: i64, epoch: u16) -> Judgement {
    let truncate = Change { op: Op::Truncate, ..change(Some(lsn), ts, ChangeBody::Truncate) };
    let meta = TableMeta { epoch, ..TableMeta::default() };
    truncate_row((Table::Users, Id::NIL), &stored("a"), &truncate, place, &meta).unwrap()
}

#[test]
fn rows_from_before_an_applied_truncate_are_stale() {
    let truncated = Some(Truncated { epoch: 0, lsn: 100, source_ts_us: Some(40), partition: Some(0) });
    let table = TableMeta { truncated, ..TableMeta::default() };
    let old = change(Some(99), 1, ChangeBody::Upsert(row("a")));
    assert_eq!(judge(old, at(1), &table, None, None).unwrap(), Judgement::Skip(Outcome::Stale));
    let new = change(Some(101), 1, ChangeBody::Upsert(row("a")));
    assert!(matches!(judge(new, at(1), &table, None, None).unwrap(), Judgement::Write(_)));
    assert!(write(truncated_row(101, 8, 60, 0)).new.is_none());
    // A truncate in another partition is older than the row, and so is a truncate that comes before the row.
    assert_eq!(truncated_from(Place { partition: Some(1), offset: 8 }, 99, 49, 0), Judgement::Skip(Outcome::Stale));
    assert_eq!(truncated_row(99, 6, 49, 0), Judgement::Skip(Outcome::Stale));
}

/// The simulation found (seed 33415) that rows stayed after a truncate that was the first change of a new log whose
/// clock was behind, although the truncate came after the rows in their partition.
#[test]
fn a_truncate_of_a_new_log_whose_clock_is_behind_deletes_the_rows_before_it_in_its_partition() {
    let gone = write(truncated_row(8, 8, 20, 0));
    assert!(gone.new.is_none());
    // If the truncate was a redelivery, the row comes again.
    let again = change(Some(100), 50, ChangeBody::Upsert(row("a")));
    let truncated = Some(Truncated { epoch: 0, lsn: 8, source_ts_us: Some(20), partition: Some(0) });
    let table = TableMeta { truncated, ..TableMeta::default() };
    let again = write(judge(again, at(9), &table, Some(&gone.stored), None).unwrap());
    assert!(again.new == Some(row("a")) && again.version > gone.version);
}

/// The simulation found that, after the source's LSNs began again, nova treated new rows as stale, and a truncate
/// deleted rows that were written after it.
#[test]
fn rows_and_truncates_of_a_source_whose_lsns_began_again_are_told_by_their_times() {
    let truncated = Some(Truncated { epoch: 0, lsn: 100, source_ts_us: Some(40), partition: Some(0) });
    let table = TableMeta { truncated, ..TableMeta::default() };
    let new = change(Some(5), 41, ChangeBody::Upsert(row("a")));
    assert!(
        matches!(judge(new, at(1), &table, None, None).unwrap(), Judgement::Halt(halt) if halt.to_string().contains("epoch bump"))
    );
    let bumped = TableMeta { epoch: 1, ..table.clone() };
    let old = change(Some(99), 39, ChangeBody::Upsert(row("a")));
    assert_eq!(judge(old, at(1), &bumped, None, None).unwrap(), Judgement::Skip(Outcome::Stale));
    assert_eq!(truncated_row(5, 8, 49, 1), Judgement::Skip(Outcome::Stale));
    assert!(write(truncated_row(5, 8, 51, 1)).new.is_none());
}

/// The simulation found that rows stayed after a truncate of a source whose LSNs had begun again.
#[test]
fn a_truncate_of_a_source_whose_lsns_began_again_halts_the_table() {
    let halted = truncated_row(5, 8, 51, 0);
    assert!(matches!(halted, Judgement::Halt(halt) if halt.to_string().starts_with("lsn_regression")));
}

/// The simulation found (seed 6090) that a change from the transaction of a truncate restored a row, because the change
/// came in another partition than the truncate.
#[test]
fn a_truncate_and_a_change_of_one_time_in_two_partitions_go_by_their_lsns_in_a_raised_epoch() {
    let truncated = Some(Truncated { epoch: 1, lsn: 100, source_ts_us: Some(40), partition: Some(1) });
    let upsert = |lsn| change(Some(lsn), 40, ChangeBody::Upsert(row("a")));
    for epoch in [1, 2] {
        let table = TableMeta { epoch, truncated, ..TableMeta::default() };
        assert_eq!(judge(upsert(99), at(1), &table, None, None).unwrap(), Judgement::Skip(Outcome::Stale));
        assert!(matches!(judge(upsert(101), at(1), &table, None, None).unwrap(), Judgement::Write(_)));
    }
    // The row has LSN 100 and time 50, and the truncate comes in the epoch after the row's epoch.
    assert_eq!(truncated_row(99, 8, 50, 1), Judgement::Skip(Outcome::Stale));
    assert!(write(truncated_row(101, 8, 50, 1)).new.is_none());
}
