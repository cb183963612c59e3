//! Tests of a log of the source that begins again: nova tells a change of the new log from an old change.

use super::{at_epoch, change, created, judged, row, stored, write};
use crate::event::{Change, ChangeBody, Op, Outcome};
use crate::pipeline::apply::{Judgement, judge};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::{Place, StoredRow};

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

/// The simulation found (seeds 4036 and 5355) that nova treated a change of a log that began again as a stale change,
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
