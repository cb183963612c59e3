//! Tests of a row whose key changes: the row under the new key takes values from the image of the row under the old
//! key.

use super::{at, change, judged, row, stored, write};
use crate::event::{Cell, Change, ChangeBody, Id, Op, Renamed};
use crate::pipeline::apply::judge;
use crate::pipeline::apply::renamed::without_image;
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::StoredRow;

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

/// The simulation found that nova read the change of a key late, and the image of this change replaced a value that was
/// newer than the image and came from an earlier epoch.
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
