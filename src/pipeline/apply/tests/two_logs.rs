//! Tests of records of two logs side by side, in one partition and in several. A test of a case that the simulation
//! found names the seeds of that case.

use super::{at, at_epoch, change, judged, row, stored, write};
use crate::event::{Cell, Change, ChangeBody, Id, Op, Outcome, Renamed, Row, Table};
use crate::pipeline::apply::{Judgement, Written, judge, judge_of, truncate_row};
use crate::pipeline::meta::{TableMeta, Truncated};
use crate::pipeline::stored::{Place, StoredRow};

fn bumped(epoch: u16) -> TableMeta {
    TableMeta { epoch, ..TableMeta::default() }
}

fn upsert(lsn: u64, ts: i64, text: &str) -> Change {
    change(Some(lsn), ts, ChangeBody::Upsert(row(text)))
}

fn there(offset: i64) -> Place {
    Place { partition: Some(1), offset }
}

/// A row with so many versions that its first version is forgotten. The versions have the LSNs 100 to 500, the offsets
/// 1 to 5, and the given times.
fn forgetful(times: [i64; 5]) -> Box<[u8]> {
    let create = Change { op: Op::Create, ..upsert(100, times[0], "1") };
    let mut known = write(judged(create, 1, None)).stored;
    for (number, ts) in (2i64..).zip(&times[1..]) {
        let update = upsert(number as u64 * 100, *ts, &number.to_string());
        known = write(judged(update, number, Some(&known))).stored;
    }
    known
}

/// The simulation found (seeds 11193, 12165, 13480, 13497, 13524 and 17929) that a change of a new log was taken for a
/// forgotten version, and the row stayed.
#[test]
fn a_change_whose_time_disputes_that_it_was_forgotten_is_applied() {
    for (times, at) in [([50; 5], 50), ([50, 51, 52, 53, 54], 52), ([70, 71, 72, 30, 31], 40)] {
        let known = forgetful(times);
        let gone = write(judged(change(Some(9), at, ChangeBody::Delete), 6, Some(&known)));
        assert!(gone.new.is_none(), "{times:?}");
        // The new log continues after the LSN of the delete.
        let back = write(judged(upsert(12, at, "new"), 7, Some(&gone.stored)));
        assert_eq!(back.new, Some(row("new")));
        assert!(StoredRow::decode(&back.stored).unwrap().version > StoredRow::decode(&known).unwrap().version);
    }
    // The change is applied only if it comes after the row in the row's partition, and only if the change's time
    // contradicts the order of the LSNs.
    let known = forgetful([50, 51, 52, 53, 54]);
    let delete = |ts| change(Some(9), ts, ChangeBody::Delete);
    assert_eq!(judged(delete(52), 4, Some(&known)), Judgement::Skip(Outcome::Stale));
    assert_eq!(judge(delete(52), there(9), &bumped(0), Some(&known), None).unwrap(), Judgement::Skip(Outcome::Stale));
    assert_eq!(judged(delete(50), 6, Some(&known)), Judgement::Skip(Outcome::Stale));
}

/// A connector delivers a transaction with five changes of one row a second time. At the end of the redelivery the row
/// is as it was before the redelivery.
#[test]
fn a_redelivery_that_is_taken_for_a_new_log_ends_at_the_same_row() {
    let mut known = forgetful([50; 5]);
    for (number, offset) in (1u64..=5).zip(6..) {
        if let Judgement::Write(written) = judged(upsert(number * 100, 50, &number.to_string()), offset, Some(&known)) {
            known = written.stored;
        }
    }
    assert_eq!(StoredRow::decode(&known).unwrap().row().unwrap(), Some(row("5")));
}

fn truncated_elsewhere(lsn: u64, ts: i64, stored: &[u8], epoch: u16) -> Judgement {
    let truncate = Change { op: Op::Truncate, ..change(Some(lsn), ts, ChangeBody::Truncate) };
    truncate_row((Table::Users, Id::NIL), stored, &truncate, there(4), &bumped(epoch)).unwrap()
}

/// The simulation found (seeds 9056, 12199 and 18133) that a truncate of the previous log, in a partition that was
/// behind, deleted rows of the new log by their LSNs.
#[test]
fn a_truncate_in_another_partition_with_a_higher_lsn_and_an_earlier_time_than_a_row_halts_the_table() {
    let new = write(judged(upsert(2_005, 60, "new"), 9, None)).stored;
    let Judgement::Halt(halt) = truncated_elsewhere(1_050_144, 50, &new, 0) else { panic!("the row is gone") };
    assert_eq!((halt.lsn, halt.stored_lsn), (2_005, 1_050_144));
    // After the epoch is raised, the row of the new epoch stays, and an earlier row is deleted.
    assert_eq!(truncated_elsewhere(1_050_144, 50, &new, 1), Judgement::Skip(Outcome::Stale));
    let old = write(judged(upsert(1_050_000, 40, "old"), 8, None)).stored;
    for epoch in [0, 1] {
        assert!(write(truncated_elsewhere(1_050_144, 50, &old, epoch)).new.is_none());
    }
    // One transaction may write to a table and truncate the same table.
    assert!(write(truncated_elsewhere(2_006, 60, &new, 0)).new.is_none());
    // The LSN of a read may be the position of its replication slot.
    let read = Change { op: Op::Read, ..upsert(2_005, 60, "read") };
    let read = write(judged(read, 9, None)).stored;
    assert_eq!(truncated_elsewhere(2_100, 50, &read, 0), Judgement::Skip(Outcome::Stale));
    assert!(write(truncated_elsewhere(2_100, 61, &read, 0)).new.is_none());
}

/// The simulation found this case (seed 16329): the epoch was raised between two attempts at a first snapshot, and the
/// second attempt had an earlier time than the first attempt. A row that both attempts had read was deleted as if the
/// second attempt had not found the row.
#[test]
fn a_read_behind_the_row_with_a_higher_lsn_is_newer_in_a_raised_epoch_whatever_its_time() {
    let read = |lsn, ts| Change { op: Op::Read, ..upsert(lsn, ts, "read") };
    let known = write(judged(read(1_000, 60), 3, None)).stored;
    let again = write(at_epoch(read(1_100, 59), 10, &known, 1));
    assert_eq!((again.version.epoch, again.version.lsn), (1, 1_100));
    for (place, lsn) in [(at(10), 900), (at(2), 1_100), (there(10), 1_100)] {
        let stale = judge(read(lsn, 59), place, &bumped(1), Some(&known), None).unwrap();
        assert_eq!(stale, Judgement::Skip(Outcome::Stale), "{place:?} {lsn}");
    }
}

/// The simulation found this case (seed 8816): the delete of a changed key came a second time after the epoch was
/// raised. The image for the row under the new key was lost, although another partition still had the insert.
#[test]
fn a_delete_of_a_changed_key_that_comes_again_in_a_raised_epoch_keeps_the_image() {
    let to = Id::from_u128(9);
    let delete = || Change { renamed: Some(Box::new(Renamed::To(to))), ..change(Some(200), 60, ChangeBody::Delete) };
    let first = write(judged(delete(), 8, Some(&stored("a")))).stored;
    let again = write(at_epoch(delete(), 12, &first, 1)).stored;
    let mut unrepeated = row("x");
    unrepeated.cells[1] = Cell::Unavailable;
    let from = Some(Box::new(Renamed::From(Id::NIL)));
    let insert =
        Change { key: to, renamed: from, op: Op::Create, ..change(Some(200), 60, ChangeBody::Upsert(unrepeated)) };
    let heir = write(judge(insert, there(14), &bumped(1), None, Some(&again)).unwrap());
    assert_eq!((heir.new, heir.unfilled), (Some(row("a")), 0));
}

/// The simulation found (seed 7664) that the unknown value of a column that nova does not know became null without a
/// message.
#[test]
fn an_unknown_column_that_a_record_leaves_out_stays_unknown_until_an_older_version_tells_it() {
    let with = |extra: Option<&str>, unavailable: &[&str]| {
        let extra_unavailable = unavailable.iter().map(|name| Box::from(*name)).collect();
        ChangeBody::Upsert(Row { extra: extra.map(Box::from), extra_unavailable, ..row("a") })
    };
    let lang = |written: &Written| written.new.as_ref().and_then(|row| row.extra.as_deref().map(str::to_owned));
    let unknown = write(judged(change(Some(100), 50, with(None, &["lang"])), 7, None));
    let left_out = write(judged(change(Some(200), 60, with(None, &[])), 8, Some(&unknown.stored)));
    assert_eq!((lang(&left_out), left_out.unfilled), (None, 1));
    let late = change(Some(90), 40, with(Some(r#"{"lang":"de"}"#), &[]));
    let late = write(judge(late, there(3), &bumped(0), Some(&left_out.stored), None).unwrap());
    assert_eq!(lang(&late).as_deref(), Some(r#"{"lang":"de"}"#));
    // If a record leaves a column out, the row keeps the value of an earlier version. A version that lies between the
    // earlier version and the record is a better source of the value.
    let known = write(judged(change(Some(100), 50, with(Some(r#"{"lang":"de"}"#), &[])), 7, None));
    let left_out = write(judged(change(Some(200), 60, with(None, &[])), 8, Some(&known.stored)));
    assert_eq!((lang(&left_out).as_deref(), left_out.unfilled), (Some(r#"{"lang":"de"}"#), 0));
    let late = change(Some(150), 55, with(Some(r#"{"lang":"fr"}"#), &[]));
    let late = write(judge(late, there(3), &bumped(0), Some(&left_out.stored), None).unwrap());
    assert_eq!(lang(&late).as_deref(), Some(r#"{"lang":"fr"}"#));
}

/// The dead letter of the previous log has a higher LSN than the row, and a raised epoch accepts any change. Only the
/// place of the dead letter shows that the letter is old.
#[test]
fn a_dead_letter_of_the_log_before_that_is_replayed_in_a_raised_epoch_is_older_than_the_row() {
    let replay = |change, place, meta: &TableMeta, known: &[u8]| {
        judge_of(change, (place, true), meta, Some(known), None).unwrap()
    };
    let letter = || upsert(5_000, 40, "letter");
    let old = write(judged(upsert(5_100, 45, "old"), 8, None)).stored;
    let new = write(judge(upsert(90, 60, "new"), at(9), &bumped(1), Some(&old), None).unwrap()).stored;
    for known in [&old, &new] {
        for place in [at(6), there(30)] {
            assert_eq!(replay(letter(), place, &bumped(1), known), Judgement::Skip(Outcome::Stale), "{place:?}");
        }
    }
    // In this case the dead letter is of the new log and came after the row.
    let later = write(replay(upsert(95, 61, "later"), at(10), &bumped(1), &new));
    assert_eq!(later.new, Some(row("later")));
    // A row that a truncate of the new log deleted does not come back.
    let truncated = Some(Truncated { epoch: 1, lsn: 100, source_ts_us: Some(70), partition: Some(0) });
    let meta = TableMeta { truncated, ..bumped(1) };
    let stale = judge_of(letter(), (at(6), true), &meta, None, None).unwrap();
    assert_eq!(stale, Judgement::Skip(Outcome::Stale));
}
