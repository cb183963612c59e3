//! Decides what a change does to the stored row of the same key. The module is pure: the writer passes the stored bytes
//! in and gets the judgement back. The rules are in `docs/cdc.md`. `order` says which of two records is newer. `fill`
//! finds the values that a record does not repeat. When the key of a row changes, `renamed` gives the values of the row
//! under the old key to the row under the new key.

mod filled;
mod history;
mod image;
pub mod renamed;
pub mod swept;
mod told;
mod written;

use nova_storage::codec::CodecError;

use crate::event::{Change, ChangeBody, Format, Id, Op, Outcome, Row, Table};
use crate::mutant::{self, Mutant};

use self::filled::filled;
use self::renamed::Late;
use self::told::Told;
use self::written::refilled;
use super::fill::{Filled, Known};
use super::meta::TableMeta;
use super::order::{Kind, Order, earlier, later};
use super::stored::{Place, StoredRow};

pub use self::written::Written;
pub use super::regression::Regression;

/// The judgement about a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The stored row is replaced, or it is deleted if `new` is `None`.
    Write(Box<Written>),
    /// The change is a duplicate, stale or ignored, and has no effect.
    Skip(Outcome),
    /// The change is late, because nova has already moved the row to a new key. The row under the new key may need
    /// values of the late change.
    Late(Box<Late>),
    /// The table takes no more changes until a person decides.
    Halt(Regression),
}

/// Judges an upsert, a delete or a tombstone. A truncate concerns the whole table, so the writer handles it. `stored`
/// is the row under the change's key, and `renamed` is the row under [`Change::renamed_from()`].
pub fn judge(
    change: Change,
    place: Place,
    table: &TableMeta,
    stored: Option<&[u8]>,
    renamed: Option<&[u8]>,
) -> Result<Judgement, CodecError> {
    judge_of(change, (place, false), table, stored, renamed)
}

/// Judges a record. The flag `replayed` says whether the record is a replayed dead letter.
pub fn judge_of(
    change: Change,
    (place, replayed): (Place, bool),
    table: &TableMeta,
    stored: Option<&[u8]>,
    renamed: Option<&[u8]>,
) -> Result<Judgement, CodecError> {
    let stored = stored.map(StoredRow::decode).transpose()?;
    if let Some(judgement) = before_truncate(&change, (place, replayed), table) {
        return Ok(judgement);
    }
    let tombstone = matches!(change.body, ChangeBody::Tombstone);
    if tombstone
        && !mutant::is(Mutant::NullDeletes)
        && !stored.as_ref().is_some_and(|row| row.live() && row.format == Format::FlatTombstone)
    {
        return Ok(Judgement::Skip(Outcome::Ignored));
    }
    let old = stored.as_ref().map(StoredRow::row).transpose()?.flatten();
    let told = Told {
        lsn: change.lsn,
        ts_us: change.source_ts_us,
        op: change.op,
        place,
        epoch: table.epoch,
        mixed: table.mixed(),
        divided: table.partitions > 1,
        renamed: change.renamed_from().is_some(),
        replayed,
    };
    // A tombstone record has no format of its own.
    let format = if tombstone { Format::FlatTombstone } else { change.format };
    let (key, of, moved) = (change.key, change.table, change.renamed_to());
    // If a key of several columns changes and the row's id stays the same, the old and the new row are one stored row.
    let renamed = renamed.filter(|_| change.renamed_from() != Some(key));
    let new = match change.body {
        ChangeBody::Upsert(row) => {
            let own_epoch =
                stored.as_ref().filter(|_| renamed.is_none()).map_or(told.epoch, |row| told.values_epoch(row));
            let own = (stored.as_ref(), old.as_ref(), own_epoch);
            Some(filled(row, own, renamed, (key, change.lsn, table.epoch))?)
        }
        ChangeBody::Delete | ChangeBody::Tombstone | ChangeBody::Truncate => None,
    };
    if let Some(row) = &stored {
        let kind = told.kind(new.is_some());
        match told.incoming(kind, old.as_ref() == new.as_ref().map(|new| &new.row)).against(row) {
            Order::Newer => {}
            Order::Skip(Outcome::Stale) => {
                let lsn = told.lsn.filter(|_| row.version.epoch == told.epoch);
                return late(row, old, new, (lsn, kind == Kind::Read && !place.elsewhere(&row.place)));
            }
            Order::Skip(outcome) => return Ok(Judgement::Skip(outcome)),
            Order::Regression { lsn, stored_lsn } => {
                return Ok(Judgement::Halt(Regression { table: of, key, lsn, stored_lsn }));
            }
        }
    }
    let moved = moved.map(|to| (to, of));
    Ok(Judgement::Write(Box::new(told.written(stored.as_ref(), old, new, format, moved))))
}

/// The effect of an applied truncate on one row.
pub fn truncate_row(
    (table, key): (Table, Id),
    stored: &[u8],
    truncate: &Change,
    place: Place,
    meta: &TableMeta,
) -> Result<Judgement, CodecError> {
    let row = StoredRow::decode(stored)?;
    let Some(old) = row.row()? else { return Ok(Judgement::Skip(Outcome::Stale)) };
    let (epoch, mixed, divided) = (meta.epoch, meta.mixed(), meta.partitions > 1);
    let told = Told {
        lsn: truncate.lsn,
        ts_us: truncate.source_ts_us,
        op: Op::Truncate,
        place,
        epoch,
        mixed,
        divided,
        renamed: false,
        replayed: false,
    };
    match told.incoming(Kind::Truncate, false).against(&row) {
        Order::Newer => Ok(Judgement::Write(Box::new(told.written(Some(&row), Some(old), None, row.format, None)))),
        Order::Skip(_) => Ok(Judgement::Skip(Outcome::Stale)),
        Order::Regression { lsn, stored_lsn } => Ok(Judgement::Halt(Regression { table, key, lsn, stored_lsn })),
    }
}

/// Judges a version of a row that came after a newer version of the same row. A late version has no effect, unless the
/// row needs values that only an older version has.
fn late(
    row: &StoredRow<'_>,
    old: Option<Row>,
    late: Option<Filled>,
    (lsn, read_here): (Option<u64>, bool),
) -> Result<Judgement, CodecError> {
    let (Some(late), Some(lsn)) = (late, lsn) else { return Ok(Judgement::Skip(Outcome::Stale)) };
    let known = Known { row: &late.row, holes: &late.holes, lsn, after_epoch: false, again: false, read_here };
    let Some(old) = old else {
        let late = Late::of(row, &known)?;
        return Ok(late.map_or(Judgement::Skip(Outcome::Stale), |late| Judgement::Late(Box::new(late))));
    };
    Ok(match refilled(row, old, &known) {
        Some(written) => Judgement::Write(Box::new(written)),
        None => Judgement::Skip(Outcome::Stale),
    })
}

/// Returns a judgement if the change is from before the latest applied truncate.
fn before_truncate(change: &Change, (place, replayed): (Place, bool), table: &TableMeta) -> Option<Judgement> {
    let truncate = table.truncated?;
    let (before, after) = {
        let (one, than) = (change.source_ts_us, truncate.source_ts_us);
        (earlier(one, than), later(one, than))
    };
    if change.op == Op::Read {
        let below = change.lsn.is_some_and(|lsn| (table.epoch, lsn) < (truncate.epoch, truncate.lsn));
        let stale = before || (below && !after);
        return stale.then_some(Judgement::Skip(Outcome::Stale));
    }
    let lsn = change.lsn?;
    // nova compares commit times instead of LSNs if the table's epoch is higher than the epoch of the truncate. If the
    // log may have begun again, nova also compares times for a change in a different partition than the truncate, and
    // for a replayed dead letter. Changes with the same commit time are from one log, and mostly from one transaction.
    let mixed = table.epoch > truncate.epoch || (table.mixed() && (replayed || truncate.elsewhere(place)));
    if mixed {
        let same_time = change.source_ts_us.is_some() && change.source_ts_us == truncate.source_ts_us;
        let stale = before || (same_time && lsn < truncate.lsn);
        return stale.then_some(Judgement::Skip(Outcome::Stale));
    }
    if lsn >= truncate.lsn {
        return None;
    }
    Some(match after {
        true => {
            let (table, key) = (change.table, change.key);
            Judgement::Halt(Regression { table, key, lsn, stored_lsn: truncate.lsn })
        }
        false => Judgement::Skip(Outcome::Stale),
    })
}

#[cfg(test)]
mod tests;
