//! Tests of deletes and null values, and of the rows that come after them.

use super::{change, judged, row, stored, write};
use crate::event::{Cell, Change, ChangeBody, Format, Outcome};
use crate::pipeline::apply::Judgement;

#[test]
fn an_unknown_delete_leaves_a_tombstone_that_stops_older_rows() {
    let gone = write(judged(change(Some(100), 50, ChangeBody::Delete), 7, None));
    assert_eq!((gone.old, gone.new), (None, None));
    let older = change(Some(90), 40, ChangeBody::Upsert(row("a")));
    assert_eq!(judged(older, 8, Some(&gone.stored)), Judgement::Skip(Outcome::Stale));
}

#[test]
fn a_null_value_deletes_only_in_a_flattened_topic_without_deleted_flags() {
    let tombstone = || change(None, 60, ChangeBody::Tombstone);
    assert_eq!(judged(tombstone(), 8, None), Judgement::Skip(Outcome::Ignored));
    assert_eq!(judged(tombstone(), 8, Some(&stored("a"))), Judgement::Skip(Outcome::Ignored));
    let mut bare = change(None, 50, ChangeBody::Upsert(row("a")));
    bare.format = Format::FlatTombstone;
    let bare = write(judged(bare, 7, None)).stored;
    let gone = write(judged(tombstone(), 8, Some(&bare)));
    assert_eq!((gone.old, gone.new), (Some(row("a")), None));
    assert_eq!(judged(tombstone(), 9, Some(&gone.stored)), Judgement::Skip(Outcome::Ignored));
}

/// The simulation found that an insert after a repeated null value was stale, and that the update after the insert had
/// holes.
#[test]
fn an_insert_after_a_repeated_null_value_brings_the_row_back() {
    let bare = |lsn, body| Change { format: Format::FlatTombstone, ..change(Some(lsn), 50, body) };
    let live = write(judged(bare(105, ChangeBody::Upsert(row("b"))), 7, None)).stored;
    let null = Change { lsn: None, ..bare(0, ChangeBody::Tombstone) };
    let gone = write(judged(null, 8, Some(&live)));
    let back = write(judged(bare(104, ChangeBody::Upsert(row("a"))), 9, Some(&gone.stored)));
    assert!(back.version > gone.version && back.new == Some(row("a")));
    let mut holes = row("b");
    holes.cells[1] = Cell::Unavailable;
    let filled = write(judged(bare(105, ChangeBody::Upsert(holes)), 10, Some(&back.stored)));
    assert_eq!((filled.new, filled.version.lsn), (Some(row("a")), 105), "its hole is filled from the row that is back");
}

/// The simulation found that if two rows were repeated after a null value, the second row was stale or halted its
/// table.
#[test]
fn rows_repeated_after_a_null_value_are_as_new_as_they_were_at_first() {
    let flat = |lsn, ts, text| Change {
        format: Format::FlatTombstone,
        ..change(Some(lsn), ts, ChangeBody::Upsert(row(text)))
    };
    let null = || Change { format: Format::FlatTombstone, ..change(None, 0, ChangeBody::Tombstone) };
    let live = write(judged(flat(130, 53, "c"), 9, None));
    let gone = write(judged(null(), 10, Some(&live.stored)));
    let first = write(judged(flat(120, 51, "a"), 11, Some(&gone.stored)));
    let second = write(judged(flat(125, 52, "b"), 12, Some(&first.stored)));
    let third = write(judged(flat(130, 53, "c"), 13, Some(&second.stored)));
    let versions = [live.version, gone.version, first.version, second.version, third.version];
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    assert_eq!(second.new, Some(row("b")));
    // A version that comes late is stale if the connector has not repeated it after the null value.
    for (lsn, offset) in [(125, 13), (130, 7), (128, 7)] {
        let stale = judged(flat(lsn, 52, "late"), offset, Some(&third.stored));
        assert_eq!(stale, Judgement::Skip(Outcome::Stale), "{lsn} {offset}");
    }
    let dead = judged(flat(110, 50, "late"), 7, Some(&gone.stored));
    assert_eq!(dead, Judgement::Skip(Outcome::Stale));
}
