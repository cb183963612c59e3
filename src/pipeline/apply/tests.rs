use super::renamed::without_image;
use super::*;
use crate::event::{Cell, Renamed};
use crate::pipeline::meta::Truncated;

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

/// The effect that a truncate has on the row `a`.
fn truncated_row(lsn: u64, offset: i64, ts: i64, epoch: u16) -> Judgement {
    let truncate = Change { op: Op::Truncate, ..change(Some(lsn), ts, ChangeBody::Truncate) };
    let meta = TableMeta { epoch, ..TableMeta::default() };
    truncate_row((Table::Users, Id::NIL), &stored("a"), &truncate, at(offset), &meta).unwrap()
}

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

#[test]
fn a_redelivery_is_stale_whatever_the_servers_clock_did() {
    let upsert = |lsn, ts, text| change(Some(lsn), ts, ChangeBody::Upsert(row(text)));
    let first = write(judged(upsert(100, 50, "a"), 7, None));
    let second = write(judged(upsert(200, 40, "b"), 8, Some(&first.stored)));
    assert_eq!(judged(upsert(100, 50, "a"), 9, Some(&second.stored)), Judgement::Skip(Outcome::Stale));
    assert_eq!(judged(upsert(200, 40, "b"), 10, Some(&second.stored)), Judgement::Skip(Outcome::Duplicate));
}

#[test]
fn a_log_that_began_again_is_told_by_what_was_not_seen_where_the_clock_is_behind() {
    let create = Change { op: Op::Create, ..change(Some(5_000), 50, ChangeBody::Upsert(row("a"))) };
    let created = write(judged(create, 7, None)).stored;
    let other = change(Some(90), 40, ChangeBody::Upsert(row("b")));
    assert!(matches!(judged(other.clone(), 8, Some(&created)), Judgement::Halt(_)));
    // A row whose creation nova did not see may have older versions, and a dead letter may be older than the row.
    assert_eq!(judged(other.clone(), 8, Some(&stored("a"))), Judgement::Skip(Outcome::Stale));
    assert_eq!(judged(other, 6, Some(&created)), Judgement::Skip(Outcome::Stale));
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
/// that was open during the read. The LSN of the read is above the LSN of the change, and the value of the read is
/// older.
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
fn a_changed_key_keeps_what_is_stored_out_of_line_whichever_record_comes_first() {
    let mut holes = row("x");
    holes.cells[1] = Cell::Unavailable;
    let insert = Change {
        key: Id::from_u128(9),
        op: Op::Create,
        renamed: Some(Box::new(Renamed::From(Id::NIL))),
        ..change(Some(200), 60, ChangeBody::Upsert(holes))
    };
    let delete =
        Change { renamed: Some(Box::new(Renamed::To(Id::from_u128(9)))), ..change(Some(200), 60, ChangeBody::Delete) };
    let table = TableMeta::default();
    let deleted = write(judged(delete, 8, Some(&stored("long"))));
    let (gone, image) = (deleted.stored, deleted.image.unwrap());
    assert_eq!(StoredRow::decode(&gone).unwrap().row(), Ok(None), "the image is no row");
    let after = write(judge(insert.clone(), at(9), &table, None, Some(&gone)).unwrap());
    assert_eq!((after.new, after.unfilled), (Some(row("long")), 0));
    let heir = Id::from_u128(9);
    let bare = without_image(&gone, heir, 200).unwrap().unwrap();
    assert!(without_image(&bare, heir, 200).unwrap().is_none());
    assert!(without_image(&gone, heir, 199).unwrap().is_none(), "an earlier change to the same key takes nothing away");
    assert!(without_image(&gone, Id::NIL, 200).unwrap().is_none(), "nor one to another key");
    // The insert comes before the delete, with a value of the old row that was not the old row's last value.
    let early = write(judge(insert, at(9), &table, None, Some(&stored("old"))).unwrap());
    assert_eq!(early.new, Some(row("old")));
    assert!(image.has_heir(Some(&early.stored)).unwrap() && !image.has_heir(None).unwrap());
    let last = image.adopted(&early.stored).unwrap().unwrap();
    assert!(last.new == Some(row("long")) && last.version > early.version);
    assert_eq!(image.adopted(&last.stored), Ok(None));
}

/// The simulation found that nova took the image of an earlier change of the key for the image of the last change.
#[test]
fn an_image_of_an_earlier_change_of_the_key_is_as_old_as_that_change() {
    let unrepeated = || {
        let mut row = row("x");
        row.cells[1] = Cell::Unavailable;
        ChangeBody::Upsert(row)
    };
    let to = |key| Some(Box::new(Renamed::To(Id::from_u128(key))));
    let first = Change { renamed: to(7), ..change(Some(150), 60, ChangeBody::Delete) };
    let gone = write(judged(first, 8, Some(&stored("first")))).stored;
    // At the source, the row returned to its old key with a different value, and its key then changed again; nova has
    // not read these changes yet.
    let renamed = Some(Box::new(Renamed::From(Id::NIL)));
    let insert = Change { key: Id::from_u128(9), renamed, ..change(Some(300), 90, unrepeated()) };
    let heir = write(judge(insert, at(9), &TableMeta::default(), None, Some(&gone)).unwrap());
    assert_eq!(heir.new, Some(row("first")));
    let back = write(judged(change(Some(200), 70, ChangeBody::Upsert(row("second"))), 9, Some(&gone)));
    let second = Change { renamed: to(9), ..change(Some(300), 90, ChangeBody::Delete) };
    let image = write(judged(second, 10, Some(&back.stored))).image.unwrap();
    assert_eq!(image.adopted(&heir.stored).unwrap().unwrap().new, Some(row("second")));
}

/// The simulation found that nova read the change of a key late, and the image of this change replaced a newer value
/// from an earlier epoch.
#[test]
fn an_image_does_not_replace_a_value_of_an_earlier_epoch_in_a_row_that_did_not_come_with_its_change() {
    let bumped = TableMeta { epoch: 1, ..TableMeta::default() };
    let before = write(judged(change(Some(135), 60, ChangeBody::Upsert(row("second"))), 8, Some(&stored("first"))));
    let mut unrepeated = row("x");
    unrepeated.cells[1] = Cell::Unavailable;
    let update = change(Some(396), 90, ChangeBody::Upsert(unrepeated));
    let heir = write(judge(update, at(9), &bumped, Some(&before.stored), None).unwrap());
    assert_eq!(heir.new, Some(row("second")));
    let to = Some(Box::new(Renamed::To(Id::from_u128(9))));
    let delete = Change { renamed: to, ..change(Some(110), 50, ChangeBody::Delete) };
    let image = write(judge(delete, at(3), &bumped, Some(&stored("first")), None).unwrap()).image.unwrap();
    assert_eq!(image.adopted(&heir.stored), Ok(None));
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

#[test]
fn placeholders_are_filled_from_the_stored_row_and_counted_where_there_is_none() {
    let mut holes = row("x");
    holes.cells[1] = Cell::Unavailable;
    let update = || change(Some(101), 51, ChangeBody::Upsert(holes.clone()));
    let filled = write(judged(update(), 8, Some(&stored("a"))));
    assert_eq!((filled.new, filled.unfilled), (Some(row("a")), 0));
    assert_eq!(write(judged(update(), 8, None)).unfilled, 1);
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
    assert_eq!(truncated_row(99, 8, 49, 0), Judgement::Skip(Outcome::Stale));
}

/// The simulation found that new rows were stale, and that a truncate deleted newer rows, after the source's LSNs began
/// again.
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

/// The simulation found (seeds 4036 and 5355) that a change of a log that began again was taken for an older change,
/// because the source's clock was behind.
#[test]
fn a_log_that_began_again_is_told_at_a_row_that_a_snapshot_told_first() {
    let read = |lsn| Change { op: Op::Read, ..change(lsn, 60, ChangeBody::Upsert(row("read"))) };
    let changed = |lsn| {
        let known = write(judged(read(lsn), 7, None)).stored;
        write(judged(change(Some(1_100), 70, ChangeBody::Upsert(row("new"))), 8, Some(&known))).stored
    };
    let delete = || change(Some(90), 50, ChangeBody::Delete);
    assert!(matches!(judged(delete(), 9, Some(&changed(Some(1_000)))), Judgement::Halt(_)));
    // Changes that nova has not seen may have been committed before the read of an incremental snapshot.
    assert_eq!(judged(delete(), 9, Some(&changed(None))), Judgement::Skip(Outcome::Stale));
    // If changes have no times, a forgotten history looks like an empty history.
    let untimed = |change: Change| Change { source_ts_us: None, ..change };
    let known = write(judged(untimed(read(Some(1_000))), 7, None)).stored;
    let new = untimed(change(Some(1_100), 70, ChangeBody::Upsert(row("new"))));
    let known = write(judged(new, 8, Some(&known))).stored;
    assert_eq!(judged(untimed(delete()), 9, Some(&known)), Judgement::Skip(Outcome::Stale));
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

fn at_epoch(change: Change, offset: i64, stored: &[u8], epoch: u16) -> Judgement {
    let meta = TableMeta { epoch, ..TableMeta::default() };
    judge(change, at(offset), &meta, Some(stored), None).unwrap()
}

fn created(lsn: u64, ts: i64, offset: i64) -> Box<[u8]> {
    let create = Change { op: Op::Create, ..change(Some(lsn), ts, ChangeBody::Upsert(row("a"))) };
    write(judged(create, offset, None)).stored
}

/// The simulation found this case (seeds 4846 and 4948): another partition raised the epoch, and a change of the
/// previous log followed. A delete in the new log had a time no later than the row's, and nova wrongly took it for an
/// old delete.
#[test]
fn a_new_log_is_told_behind_a_change_that_the_log_before_brought_to_a_raised_epoch() {
    let update = change(Some(3_779), 70, ChangeBody::Upsert(row("b")));
    let known = write(at_epoch(update, 22, &created(2_067, 50, 8), 1)).stored;
    let delete = |lsn| change(Some(lsn), 70, ChangeBody::Delete);
    assert!(matches!(at_epoch(delete(1_206), 23, &known, 1), Judgement::Halt(_)));
    // A redelivery from the previous log is not taken for a record of a new log.
    let again = Change { op: Op::Create, ..change(Some(2_067), 50, ChangeBody::Upsert(row("a"))) };
    assert_eq!(at_epoch(again, 23, &known, 1), Judgement::Skip(Outcome::Stale));
    // If nova has not seen the first version of a row, it does not take a version of the row for a record of a new log.
    // A delete with a lower LSN than the row's LSN is stale if the delete's time is earlier than the row's time.
    // Otherwise nova applies the delete.
    let update = change(Some(3_779), 70, ChangeBody::Upsert(row("b")));
    let known = write(at_epoch(update, 22, &stored("a"), 1)).stored;
    let older = change(Some(90), 49, ChangeBody::Delete);
    assert_eq!(at_epoch(older, 23, &known, 1), Judgement::Skip(Outcome::Stale));
    assert!(write(at_epoch(delete(90), 23, &known, 1)).new.is_none());
}

#[test]
fn a_redelivery_over_a_raised_epoch_keeps_the_versions_before_it() {
    let versions = [(200, 60, 9), (300, 70, 10)].into_iter().fold(created(100, 50, 8), |known, (lsn, ts, offset)| {
        write(judged(change(Some(lsn), ts, ChangeBody::Upsert(row("b"))), offset, Some(&known))).stored
    });
    let again = write(at_epoch(change(Some(200), 60, ChangeBody::Upsert(row("a"))), 11, &versions, 1)).stored;
    let lsns =
        |stored: &[u8]| StoredRow::decode(stored).unwrap().history.versions().iter().map(|seen| seen.lsn).collect();
    let known: Vec<u64> = lsns(&again);
    assert_eq!(known, [200, 100]);
    let again = write(at_epoch(change(Some(300), 70, ChangeBody::Upsert(row("b"))), 12, &again, 1)).stored;
    assert!(matches!(at_epoch(change(Some(90), 40, ChangeBody::Delete), 13, &again, 1), Judgement::Halt(_)));
    // The versions of the row that came in a second partition may be of a different log than the versions in the first
    // partition.
    let there = Place { partition: Some(1), offset: 40 };
    let meta = TableMeta { epoch: 1, ..TableMeta::default() };
    let update = change(Some(400), 80, ChangeBody::Upsert(row("c")));
    let elsewhere: Vec<u64> = lsns(&write(judge(update, there, &meta, Some(&versions), None).unwrap()).stored);
    assert_eq!(elsewhere, [400]);
}

/// The first version of the second log begins that log's history of the row, so nova also notices a third log.
#[test]
fn a_third_log_is_told_by_what_the_second_one_did_not_tell() {
    let second = write(at_epoch(change(Some(90), 40, ChangeBody::Upsert(row("b"))), 9, &created(100, 50, 8), 1)).stored;
    assert!(matches!(at_epoch(change(Some(80), 30, ChangeBody::Delete), 10, &second, 1), Judgement::Halt(_)));
    let read = Change { op: Op::Read, ..change(Some(1_000), 60, ChangeBody::Upsert(row("read"))) };
    let read = write(judged(read, 8, None)).stored;
    let second = write(at_epoch(change(Some(900), 70, ChangeBody::Upsert(row("b"))), 9, &read, 1)).stored;
    assert!(matches!(at_epoch(change(Some(80), 30, ChangeBody::Delete), 10, &second, 1), Judgement::Halt(_)));
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

mod two_logs;
