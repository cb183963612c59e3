//! Tests of rows whose key changes while some partitions are behind other partitions. The simulation found every case
//! in this file.

use super::*;
use crate::event::{Cell, Change, ChangeBody, Format, Op, Outcome, Renamed, Table};
use crate::pipeline::apply::{Judgement, judge};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::Place;

const A: Id = Id::from_u128(1);
const B: Id = Id::from_u128(2);
const C: Id = Id::from_u128(3);

/// An upsert of a user with the given text. If `text` is `None`, the record does not repeat the text.
fn user(key: Id, text: Option<&str>) -> ChangeBody {
    let mut cells = vec![Cell::Null; Table::Users.columns().len()];
    cells[0] = Cell::Uuid(key);
    cells[1] = text.map_or(Cell::Unavailable, |text| Cell::Text(text.into()));
    ChangeBody::Upsert(Row { cells: cells.into(), extra: None, extra_unavailable: Box::default() })
}

fn change(key: Id, lsn: u64, op: Op, renamed: Option<Renamed>, body: ChangeBody) -> Change {
    let (format, source_ts_us) = (Format::Envelope, Some(lsn as i64));
    Change {
        table: Table::Users,
        key,
        op,
        format,
        lsn: Some(lsn),
        source_ts_us,
        renamed: renamed.map(Box::new),
        ends_snapshot: false,
        body,
    }
}

fn insert(key: Id, lsn: u64, from: Option<Id>, text: Option<&str>) -> Change {
    change(key, lsn, Op::Create, from.map(Renamed::From), user(key, text))
}

fn delete(key: Id, lsn: u64, to: Id) -> Change {
    change(key, lsn, Op::Delete, Some(Renamed::To(to)), ChangeBody::Delete)
}

/// The stored rows of a few keys. The struct does what the writer does after a judgement.
#[derive(Default)]
struct Rows(std::collections::BTreeMap<Id, Box<[u8]>>);

impl Rows {
    fn apply(&mut self, change: Change, partition: i32, offset: i64) -> Outcome {
        let place = Place { partition: Some(partition), offset };
        let (key, lsn, from, to) = (change.key, change.lsn.unwrap_or(0), change.renamed_from(), change.renamed_to());
        let renamed = from.and_then(|from| self.0.get(&from)).cloned();
        let stored = self.0.get(&key).map(|bytes| &**bytes);
        match judge(change, place, &TableMeta::default(), stored, renamed.as_deref()).unwrap() {
            Judgement::Skip(outcome) => outcome,
            Judgement::Halt(halt) => panic!("{halt}"),
            Judgement::Late(late) => {
                self.0.insert(key, late.stored);
                if late.to != key {
                    self.give(late.to, late.image);
                }
                Outcome::Stale
            }
            Judgement::Write(written) => {
                self.0.insert(key, written.stored);
                if let (Some(to), Some(image)) = (to.filter(|to| *to != key), written.image) {
                    self.give(to, *image);
                }
                if let Some(from) = from.filter(|from| *from != key)
                    && let Some(bare) = self.0.get(&from).and_then(|stored| without_image(stored, key, lsn).unwrap())
                {
                    self.0.insert(from, bare);
                }
                Outcome::Applied
            }
        }
    }

    fn give(&mut self, mut heir: Id, mut image: Image) {
        while let Some(stored) = self.0.get(&heir).filter(|stored| image.has_heir(Some(stored)).unwrap()) {
            if let Some(written) = image.adopted(stored).unwrap() {
                self.0.insert(heir, written.stored);
                return;
            }
            let Some(through) = image.through(stored).unwrap() else { return };
            self.0.extend(through.stored.map(|stored| (heir, stored)));
            (heir, image) = (through.to, through.image);
        }
    }

    fn text(&self, key: Id) -> Cell {
        let row = StoredRow::decode(&self.0[&key]).unwrap().row().unwrap();
        row.unwrap().cells[1].clone()
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

/// The simulation found (seeds 1898 and 3437) that the tombstone's value got the LSN of the delete. So the insert with
/// the same LSN and another value did not count as newer than the tombstone's value.
#[test]
fn n6_a_row_that_moved_takes_the_value_of_a_version_between_that_comes_late() {
    let mut rows = Rows::default();
    rows.apply(insert(A, 100, None, Some("first")), 0, 0);
    rows.apply(delete(A, 150, A), 0, 1);
    rows.apply(insert(A, 300, Some(A), None), 0, 2);
    assert_eq!(rows.text(A), text("first"));
    rows.apply(insert(A, 150, Some(A), Some("second")), 1, 0);
    assert_eq!(rows.text(A), text("second"));
}

/// The simulation found (seeds 2639 and 4450) that a late version was stale under the old key, and the row under the
/// new key kept a value from before that version.
#[test]
fn n6_a_version_that_comes_late_under_the_old_key_reaches_the_row_under_the_new_one() {
    for heir_first in [true, false] {
        let mut rows = Rows::default();
        rows.apply(insert(A, 100, None, Some("first")), 0, 0);
        rows.apply(insert(A, 300, Some(A), None), 1, 0);
        rows.apply(delete(A, 400, B), 1, 1);
        if heir_first {
            rows.apply(insert(B, 400, Some(A), None), 2, 0);
            assert_eq!(rows.text(B), text("first"));
        }
        let late = rows.apply(insert(A, 200, Some(A), Some("second")), 0, 1);
        assert_eq!(late, Outcome::Stale);
        // A version that is older than the late version has no effect.
        rows.apply(insert(A, 150, Some(A), Some("old")), 0, 2);
        if !heir_first {
            rows.apply(insert(B, 400, Some(A), None), 2, 0);
        }
        assert_eq!(rows.text(B), text("second"), "{heir_first}");
        // A version that is older than the row's own value has no effect.
        rows.apply(insert(B, 500, None, Some("third")), 2, 1);
        rows.apply(insert(A, 250, Some(A), Some("late")), 0, 3);
        assert_eq!(rows.text(B), text("third"));
    }
}

#[test]
fn n6_a_version_that_comes_late_follows_each_change_of_the_key() {
    for last_first in [true, false] {
        let mut rows = Rows::default();
        rows.apply(insert(A, 100, None, Some("first")), 0, 0);
        rows.apply(delete(A, 400, B), 1, 1);
        rows.apply(insert(B, 400, Some(A), None), 2, 0);
        rows.apply(delete(B, 500, C), 2, 1);
        if last_first {
            rows.apply(insert(C, 500, Some(B), None), 2, 2);
        }
        rows.apply(insert(A, 200, Some(A), Some("second")), 0, 1);
        if !last_first {
            rows.apply(insert(C, 500, Some(B), None), 2, 2);
        }
        assert_eq!(rows.text(C), text("second"), "{last_first}");
    }
}

#[test]
fn n6_a_key_that_was_changed_there_and_back_takes_what_comes_late_of_before() {
    let mut rows = Rows::default();
    rows.apply(insert(A, 100, None, Some("first")), 0, 0);
    rows.apply(delete(A, 400, B), 1, 1);
    rows.apply(insert(B, 400, Some(A), None), 2, 0);
    rows.apply(delete(B, 410, A), 2, 1);
    rows.apply(insert(A, 410, Some(B), None), 1, 2);
    assert_eq!(rows.text(A), text("first"));
    rows.apply(insert(A, 200, Some(A), Some("second")), 0, 1);
    assert_eq!(rows.text(A), text("second"));
}

/// A value of an earlier row under the new key does not belong to the row whose key changed, however new the value is.
#[test]
fn n6_a_changed_key_takes_no_value_of_an_earlier_row_under_the_new_key() {
    let mut rows = Rows::default();
    rows.apply(insert(A, 100, None, Some("own")), 0, 0);
    rows.apply(insert(B, 200, None, Some("another's")), 1, 0);
    rows.apply(delete(B, 300, C), 1, 1);
    rows.apply(delete(A, 400, B), 0, 1);
    rows.apply(insert(B, 400, Some(A), None), 2, 0);
    assert_eq!(rows.text(B), text("own"));
    // A version of the earlier row under the new key comes late.
    rows.apply(insert(B, 250, None, Some("another's")), 1, 2);
    assert_eq!(rows.text(B), text("own"));
}

/// The simulation found this case (seed 340): the delete has no LSN, and its image has the LSN of each value.
#[test]
fn n6_where_deletes_are_null_values_a_changed_key_takes_the_last_version_of_the_old_row() {
    let flat = |change: Change| Change { format: Format::FlatTombstone, ..change };
    let mut rows = Rows::default();
    rows.apply(flat(insert(A, 100, None, Some("first"))), 0, 0);
    rows.apply(flat(insert(B, 400, Some(A), None)), 1, 0);
    assert_eq!(rows.text(B), text("first"));
    rows.apply(flat(Change { op: Op::Update, ..insert(A, 200, None, Some("second")) }), 0, 1);
    let null = Change { lsn: None, source_ts_us: None, body: ChangeBody::Tombstone, ..delete(A, 400, B) };
    assert_eq!(rows.apply(flat(null), 0, 2), Outcome::Applied);
    assert_eq!(rows.text(B), text("second"));
}

/// A row that got the old key after the change is not the row that had the old key before.
#[test]
fn n6_a_changed_key_takes_no_value_of_a_later_row_under_the_old_key() {
    let mut rows = Rows::default();
    rows.apply(insert(A, 500, None, Some("another's")), 0, 0);
    rows.apply(insert(B, 400, Some(A), None), 1, 0);
    assert_eq!(rows.text(B), Cell::Unavailable);
}
