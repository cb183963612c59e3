//! Tests of the values that a record does not repeat: nova fills them from the stored row or from a late version.

use super::{change, judged, row, stored, write};
use crate::event::{Cell, Change, ChangeBody, Op, Outcome};
use crate::pipeline::apply::{Judgement, judge};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::Place;

#[test]
fn an_older_version_that_comes_late_fills_what_only_it_can_tell() {
    let mut holes = row("x");
    holes.cells[1] = Cell::Unavailable;
    let update = Change { ..change(Some(300), 53, ChangeBody::Upsert(holes)) };
    let known =
        write(judge(update, Place { partition: Some(1), offset: 0 }, &TableMeta::default(), None, None).unwrap());
    assert_eq!(known.unfilled, 1);
    let older = |lsn, text| change(Some(lsn), 50, ChangeBody::Upsert(row(text)));
    let first = write(judged(older(100, "first"), 4, Some(&known.stored)));
    assert!(first.new == Some(row("first")) && first.version > known.version);
    let second = write(judged(older(200, "second"), 5, Some(&first.stored)));
    assert_eq!(second.new, Some(row("second")));
    assert_eq!(judged(older(100, "first"), 6, Some(&second.stored)), Judgement::Skip(Outcome::Stale));
}

/// The simulation found this case (seed 19992): a producer wrote a read a second time, after a change of a transaction
/// that was open during the read. The read has a higher LSN than the change, but an older value.
#[test]
fn a_read_that_is_written_again_fills_no_value_that_was_committed_after_it() {
    let mut holes = row("x");
    holes.cells[1] = Cell::Unavailable;
    let read = || Change { op: Op::Read, ..change(Some(120), 40, ChangeBody::Upsert(row("before"))) };
    let last = || change(Some(300), 60, ChangeBody::Upsert(holes.clone()));
    let known = write(judged(read(), 1, None)).stored;
    let known = write(judged(change(Some(110), 50, ChangeBody::Upsert(row("after"))), 3, Some(&known))).stored;
    let known = write(judged(last(), 5, Some(&known)));
    assert_eq!(known.new, Some(row("after")));
    assert_eq!(judged(read(), 7, Some(&known.stored)), Judgement::Skip(Outcome::Stale));
    // The read fills a value that no version has.
    let unknown = write(judged(last(), 5, None)).stored;
    assert_eq!(write(judged(read(), 7, Some(&unknown))).new, Some(row("before")));
}

#[test]
fn placeholders_are_filled_from_the_stored_row_and_counted_where_there_is_none() {
    let mut holes = row("x");
    holes.cells[1] = Cell::Unavailable;
    let update = || change(Some(101), 51, ChangeBody::Upsert(holes.clone()));
    let filled = write(judged(update(), 8, Some(&stored("a"))));
    assert_eq!((filled.new, filled.unfilled), (Some(row("a")), 0));
    assert_eq!(write(judged(update(), 8, None)).unfilled, 1);
}

/// The simulation found (seeds 2868 and 4358) that the unknown value of a column that nova does not know became null
/// without a message.
#[test]
fn what_is_unknown_stays_unknown_where_a_record_leaves_it_out() {
    let with = |cell: Cell| {
        let mut row = row("x");
        row.cells[1] = cell;
        ChangeBody::Upsert(row)
    };
    let unknown = write(judged(change(Some(100), 50, with(Cell::Unavailable)), 7, None)).stored;
    let left_out = write(judged(change(Some(200), 60, with(Cell::Missing)), 8, Some(&unknown)));
    assert_eq!((left_out.new.unwrap().cells[1].clone(), left_out.unfilled), (Cell::Unavailable, 1));
}
