//! Values that a record does not repeat, taken from where they are: the stored row, or the row that had the key before.
//!
//! An older version may come late (from another partition, or in the order of a rebuild) and be the one that the value
//! is from. So a row remembers which of its values are another version's, and which version's: its holes.

use std::collections::btree_map::Entry;

use crate::event::{Cell, Row};
use crate::mutant::{self, Mutant};

use super::stored::{EXTRA, Hole};

/// A row whose values fill others'.
pub struct Known<'a> {
    pub row: &'a Row,
    pub holes: &'a [Hole],
    /// Of the row's own record; 0 where it has none.
    pub lsn: u64,
    /// Whether the values are newer than those that another row has of an earlier epoch.
    pub after_epoch: bool,
}

/// LSN of a value that has none, or one of an earlier epoch: above that of no value, below all others.
const EARLIER: u64 = 1;

impl Known<'_> {
    /// LSN of the version that the column's value is from.
    fn lsn_of(&self, column: u8) -> u64 {
        self.holes.iter().find(|hole| hole.column == column).map_or(self.lsn, |hole| hole.lsn).max(EARLIER)
    }
}

/// A row with its values, and what is not its own of them.
pub struct Filled {
    pub row: Row,
    pub holes: Vec<Hole>,
    /// Values that the record does not repeat and that nothing could fill.
    pub unfilled: u32,
}

/// Fills what the record did not repeat, and keeps what it left out.
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
        match known.filter(|(value, _)| !matches!(value, Cell::Unavailable | Cell::Missing)) {
            Some((value, lsn)) => {
                *cell = value.clone();
                holes.push(Hole { column, lsn });
            }
            None => holes.push(Hole { column, lsn: 0 }),
        }
    }
    let known = from.is_some_and(|from| from.row.extra.is_some() && from.row.extra != row.extra);
    if known || !row.extra_unavailable.is_empty() {
        fill_extra(&mut row, from, &mut holes);
    }
    let unfilled = if holes.is_empty() { 0 } else { unfilled(&row) };
    Filled { row, holes, unfilled }
}

/// Values that the record does not repeat and that nothing has filled.
pub fn unfilled(row: &Row) -> u32 {
    let cells = row.cells.iter().filter(|cell| **cell == Cell::Unavailable).count();
    let own = members(if row.extra_unavailable.is_empty() { None } else { row.extra.as_deref() });
    let names = row.extra_unavailable.iter().filter(|name| !own.contains_key(&***name)).count();
    (cells + names) as u32
}

/// The unknown columns: one that is left out keeps its value.
fn fill_extra(row: &mut Row, from: Option<&Known<'_>>, holes: &mut Vec<Hole>) {
    let mut own = members(row.extra.as_deref());
    let known = from.map(|from| members(from.row.extra.as_deref())).unwrap_or_default();
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

/// Puts values of an older version that came late into the holes that it is the better source of; whether there were
/// any.
pub fn refill(row: &mut Row, holes: &mut [Hole], late: &Known<'_>) -> bool {
    let mut changed = false;
    for hole in holes.iter_mut() {
        let lsn = late.lsn_of(hole.column);
        if lsn <= hole.lsn || (hole.lsn == EARLIER && !late.after_epoch) {
            continue;
        }
        if hole.column == EXTRA {
            if refill_extra(row, late) {
                (hole.lsn, changed) = (lsn, true);
            }
            continue;
        }
        let column = usize::from(hole.column);
        let (Some(cell), Some(value)) = (row.cells.get_mut(column), late.row.cells.get(column)) else { continue };
        if !matches!(value, Cell::Unavailable | Cell::Missing) {
            *cell = value.clone();
            (hole.lsn, changed) = (lsn, true);
        }
    }
    changed
}

fn refill_extra(row: &mut Row, late: &Known<'_>) -> bool {
    let known = members(late.row.extra.as_deref());
    let mut own = members(row.extra.as_deref());
    let mut found = false;
    for name in &row.extra_unavailable {
        if let Some((name, value)) = known.get_key_value(&**name) {
            own.insert(name.clone(), value);
            found = true;
        }
    }
    if found {
        row.extra = Some(object(&own));
    }
    found
}

type Members<'a> = std::collections::BTreeMap<std::borrow::Cow<'a, str>, &'a serde_json::value::RawValue>;

/// The members of the JSON object of unknown columns, which decode has made.
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
