//! Tests of the rows that a snapshot reads, and of the changes that come after them.

use super::{at, change, judged, row, stored, write};
use crate::event::{Change, ChangeBody, Op, Outcome};
use crate::pipeline::apply::{Judgement, judge};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::Place;

#[test]
fn n6_a_change_below_a_read_that_stands_before_it_is_newer_and_has_the_higher_version() {
    let read = |lsn| Change { op: Op::Read, ..change(lsn, 60, ChangeBody::Upsert(row("read"))) };
    for lsn in [Some(1_000), None] {
        let known = write(judged(read(lsn), 7, None));
        // The change was committed at 55, which is before the time of the read, or at 65, which is after the read.
        for ts in [55, 65] {
            let open = write(judged(change(Some(900), ts, ChangeBody::Upsert(row("new"))), 8, Some(&known.stored)));
            assert!(open.new == Some(row("new")) && open.version > known.version);
            let gone = write(judged(change(Some(900), ts, ChangeBody::Delete), 8, Some(&known.stored)));
            assert!(gone.new.is_none() && gone.version > known.version);
        }
    }
}

/// The simulation found that an earlier read, in a partition that was behind, replaced later content.
#[test]
fn a_read_that_is_older_than_the_row_is_stale_after_an_epoch_bump_too() {
    let (stored, bumped) = (stored("a"), TableMeta { epoch: 1, ..TableMeta::default() });
    let read = |ts| Change { op: Op::Read, ..change(Some(90), ts, ChangeBody::Upsert(row("b"))) };
    let stale = judge(read(49), at(8), &bumped, Some(&stored), None).unwrap();
    assert_eq!(stale, Judgement::Skip(Outcome::Stale));
    assert!(write(judge(read(51), at(8), &bumped, Some(&stored), None).unwrap()).new.is_some());
    // Changes that are not reads come in the order of their commits.
    let update = change(Some(90), 49, ChangeBody::Upsert(row("b")));
    assert!(write(judge(update, at(8), &bumped, Some(&stored), None).unwrap()).new.is_some());
}

/// The simulation found (seed 4203) that a delete after a read was compared by its LSN with a truncate in another
/// partition.
#[test]
fn a_change_behind_a_read_that_was_newer_than_another_partitions_log_is_newer() {
    let bumped = TableMeta { epoch: 1, ..TableMeta::default() };
    let there = Place { partition: Some(1), offset: 30 };
    let gone = change(Some(3_058), 70, ChangeBody::Delete);
    let gone = write(judge(gone, there, &bumped, None, None).unwrap()).stored;
    let read = Change { op: Op::Read, ..change(Some(1_774), 71, ChangeBody::Upsert(row("read"))) };
    let read = write(judge(read, at(19), &bumped, Some(&gone), None).unwrap()).stored;
    let delete = change(Some(1_852), 60, ChangeBody::Delete);
    assert!(write(judge(delete, at(20), &bumped, Some(&read), None).unwrap()).new.is_none());
}
