//! Finds values that a record does not repeat. Values that a record does not repeat are in the stored row, or in the
//! row that had the key before.
//!
//! An older version may come late, from another partition or during a rebuild, and may be the true source of a value.
//! So a row remembers which of its values come from older versions, and from which versions. The values of a row that
//! come from older versions are called the row's holes.

use std::collections::btree_map::Entry;

use crate::event::{Cell, Row};
use crate::mutant::{self, Mutant};

use super::stored::{EXTRA, Hole};

/// A row whose values can fill the holes of other rows.
pub struct Known<'a> {
    pub row: &'a Row,
    pub holes: &'a [Hole],
    /// The LSN of the row's own record, or 0 if it has none.
    pub lsn: u64,
    /// Whether the values of this row are newer than values that another row has from an earlier epoch.
    pub after_epoch: bool,
    /// Whether this row is the image of the other row, kept under the old key of that row. The other row may already
    /// have values of the image, and nova may know more of the image's values now. If `again` is set, the values of
    /// this row replace earlier values with the same LSN.
    pub again: bool,
    /// Whether the values of this row are from a read that comes after the stored row in the stored row's partition. A
    /// read that comes after the row in the row's partition fills only holes for which no version has a value. A read's
    /// LSN is the position of the log at the snapshot, so a change with a lower LSN may have been committed after the
    /// read.
    pub read_here: bool,
}

/// The LSN of a value whose version has no LSN, or has an LSN of an earlier epoch. `EARLIER` is above the LSN of a
/// missing value (0) and below all LSNs of versions.
const EARLIER: u64 = 1;

impl Known<'_> {
    /// The LSN of the version from which the column's value comes.
    pub fn lsn_of(&self, column: u8) -> u64 {
        self.holes.iter().find(|hole| hole.column == column).map_or(self.lsn, |hole| hole.lsn).max(EARLIER)
    }

    /// The LSN of this row's value for a hole, or `None` if the hole's present value is at least as good.
    fn better(&self, hole: &Hole) -> Option<u64> {
        let lsn = self.lsn_of(hole.column);
        let newer = match self.read_here {
            true => hole.lsn == 0,
            false => lsn > hole.lsn || (self.again && lsn == hole.lsn),
        };
        (newer && (hole.lsn != EARLIER || self.after_epoch)).then_some(lsn)
    }
}

/// A row after its holes were filled, with the list of its holes.
pub struct Filled {
    pub row: Row,
    pub holes: Vec<Hole>,
    /// The number of values that the record does not repeat and that nothing could fill.
    pub unfilled: u32,
}

/// Fills the values that the record did not repeat, and keeps the values of columns that the record left out.
pub fn fill(mut row: Row, from: Option<&Known<'_>>) -> Filled {
    let from = from.filter(|_| !mutant::is(Mutant::KeepPlaceholders));
    let mut holes = Vec::new();
    for (cell, column) in row.cells.iter_mut().zip(0u8..) {
        if !matches!(cell, Cell::Unavailable | Cell::Missing) {
            continue;
        }
        if *cell == Cell::Missing && mutant::is(Mutant::NullLeftOut) {
            continue;
        }
        let known = from.and_then(|from| Some((from.row.cells.get(usize::from(column))?, from.lsn_of(column))));
        let lsn = match known {
            Some((Cell::Missing, _)) | None => 0,
            // If a record leaves out a column whose value is unknown, the value stays unknown.
            Some((Cell::Unavailable, _)) => {
                *cell = Cell::Unavailable;
                0
            }
            Some((value, lsn)) => {
                *cell = value.clone();
                lsn
            }
        };
        holes.push(Hole { column, lsn });
    }
    let other = |from: &Known<'_>| {
        (from.row.extra.is_some() && from.row.extra != row.extra) || !from.row.extra_unavailable.is_empty()
    };
    if from.is_some_and(other) || !row.extra_unavailable.is_empty() {
        fill_extra(&mut row, from, &mut holes);
    }
    let unfilled = if holes.is_empty() { 0 } else { unfilled(&row) };
    Filled { row, holes, unfilled }
}

/// The number of values that the record does not repeat and that nothing has filled.
pub fn unfilled(row: &Row) -> u32 {
    let cells = row.cells.iter().filter(|cell| **cell == Cell::Unavailable).count();
    let own = members(if row.extra_unavailable.is_empty() { None } else { row.extra.as_deref() });
    let names = row.extra_unavailable.iter().filter(|name| !own.contains_key(&***name)).count();
    (cells + names) as u32
}

/// Fills the columns that nova does not know. An unknown column that the record leaves out keeps its value or stays
/// unfilled, and becomes a hole.
fn fill_extra(row: &mut Row, from: Option<&Known<'_>>, holes: &mut Vec<Hole>) {
    let mut own = members(row.extra.as_deref());
    let known = from.map(|from| members(from.row.extra.as_deref())).unwrap_or_default();
    let mut names: Vec<Box<str>> = std::mem::take(&mut row.extra_unavailable).into();
    let unknown = from.iter().flat_map(|from| &from.row.extra_unavailable);
    let left_out = unknown.map(|name| &**name).chain(known.keys().map(|name| &**name));
    for name in left_out.filter(|name| !own.contains_key(*name)) {
        if !names.iter().any(|one| **one == *name) {
            names.push(name.into());
        }
    }
    row.extra_unavailable = names.into();
    let mut filled = false;
    for (name, value) in known {
        if let Entry::Vacant(free) = own.entry(name) {
            free.insert(value);
            filled = true;
        }
    }
    if !row.extra_unavailable.is_empty() {
        let all = row.extra_unavailable.iter().all(|name| own.contains_key(&**name));
        let lsn = from.filter(|_| all).map_or(0, |from| from.lsn_of(EXTRA));
        holes.push(Hole { column: EXTRA, lsn });
    }
    if filled {
        row.extra = Some(object(&own));
    }
}

/// Fills the holes for which a late, older version is the better source of the value. Returns whether a hole was
/// filled.
pub fn refill(row: &mut Row, holes: &mut [Hole], late: &Known<'_>) -> bool {
    let mut changed = false;
    for hole in holes.iter_mut() {
        let Some(lsn) = late.better(hole) else { continue };
        let found = if hole.column == EXTRA { refill_extra(row, late) } else { refill_cell(row, hole.column, late) };
        // The value came from the row under the old key. Versions under the row's own key that come late may still be
        // newer than the value, so the hole stays as it is.
        if found == Some(true) || (found == Some(false) && !late.again) {
            (hole.lsn, changed) = (lsn, true);
        }
    }
    changed
}

/// Returns whether the column's value has changed. Returns `None` if the late version has no value for the column.
fn refill_cell(row: &mut Row, column: u8, late: &Known<'_>) -> Option<bool> {
    let column = usize::from(column);
    let (cell, value) = (row.cells.get_mut(column)?, late.row.cells.get(column)?);
    if matches!(value, Cell::Unavailable | Cell::Missing) {
        return None;
    }
    let other = cell != value;
    cell.clone_from(value);
    Some(other)
}

/// Does the same as `refill_cell` for the unknown columns.
fn refill_extra(row: &mut Row, late: &Known<'_>) -> Option<bool> {
    let known = members(late.row.extra.as_deref());
    let mut own = members(row.extra.as_deref());
    let mut found = false;
    for name in &row.extra_unavailable {
        if let Some((name, value)) = known.get_key_value(&**name) {
            own.insert(name.clone(), value);
            found = true;
        }
    }
    if !found {
        return None;
    }
    let filled = Some(object(&own));
    let other = row.extra != filled;
    row.extra = filled;
    Some(other)
}

/// The holes of an image that is kept for the row under the new key. Each column has a hole with the LSN of the version
/// from which its value comes. `row` has the holes and the LSN of the stored row, or it is `None` if no row was stored.
pub fn dated(columns: usize, row: Option<(&[Hole], u64)>) -> Vec<Hole> {
    let lsn_of = |column: u8| match row {
        Some((holes, lsn)) => holes.iter().find(|hole| hole.column == column).map_or(lsn.max(EARLIER), |hole| hole.lsn),
        None => 0,
    };
    (1u8..).take(columns.saturating_sub(1)).chain([EXTRA]).map(|column| Hole { column, lsn: lsn_of(column) }).collect()
}

/// Fills holes of a row with the values of a late, older version. Returns a row that has only the values that were
/// taken from the older version. Returns `None` if the version has no better value.
pub fn retell(image: &mut Row, holes: &mut [Hole], late: &Known<'_>) -> Option<Row> {
    let mut told = blank(image.cells.len());
    let mut any = false;
    for hole in holes.iter_mut() {
        let Some(lsn) = late.better(hole) else { continue };
        let found = match hole.column {
            EXTRA if late.row.extra.is_none() => None,
            EXTRA => {
                let other = image.extra != late.row.extra;
                (told.extra, image.extra) = (late.row.extra.clone(), late.row.extra.clone());
                Some(other)
            }
            column => refill_cell(image, column, late),
        };
        let Some(other) = found else { continue };
        if let Some((cell, value)) =
            told.cells.get_mut(usize::from(hole.column)).zip(image.cells.get(usize::from(hole.column)))
        {
            cell.clone_from(value);
        }
        if other || !late.again {
            hole.lsn = lsn;
        }
        any = true;
    }
    any.then_some(told)
}

/// A row in which no value is known.
pub fn blank(columns: usize) -> Row {
    Row { cells: vec![Cell::Missing; columns].into(), extra: None, extra_unavailable: Box::default() }
}

type Members<'a> = std::collections::BTreeMap<std::borrow::Cow<'a, str>, &'a serde_json::value::RawValue>;

/// The members of the JSON object of a row's unknown columns, which `decode` made.
fn members(extra: Option<&str>) -> Members<'_> {
    extra.and_then(|extra| serde_json::from_str(extra).ok()).unwrap_or_default()
}

fn object(members: &Members<'_>) -> Box<str> {
    let mut out = String::from("{");
    for (name, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::from(&**name).to_string());
        out.push(':');
        out.push_str(value.get());
    }
    out.push('}');
    out.into_boxed_str()
}
