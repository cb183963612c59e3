//! Finds the values that an upsert does not repeat. The values are in the stored row or, if the key was changed, in the
//! row under the old key.

use nova_storage::codec::CodecError;

use crate::event::{Cell, Format, Id, Row};
use crate::mutant::{self, Mutant};
use crate::pipeline::cells::decode_cells;
use crate::pipeline::fill::{Filled, Known, fill, refill, unfilled};
use crate::pipeline::stored::{Content, EXTRA, Hole, StoredRow};

/// Fills an upsert with the values that it does not repeat. The values are from the stored row or, if the key was
/// changed, from the row that had the key before. A key may have been changed and then changed back. If nova has not
/// read the delete under the intermediate key yet, the row takes values from the image in the tombstone under the row's
/// own key. `key` and `lsn` are the key and the LSN of the upsert. The LSNs of the stored row can be compared with LSNs
/// of the epoch `own_epoch`.
pub(super) fn filled(
    row: Row,
    (stored, old, own_epoch): (Option<&StoredRow<'_>>, Option<&Row>, u16),
    renamed: Option<&[u8]>,
    (key, lsn, epoch): (Id, Option<u64>, u16),
) -> Result<Filled, CodecError> {
    let whole = |cell: &Cell| !matches!(cell, Cell::Unavailable | Cell::Missing);
    if row.extra_unavailable.is_empty() && row.cells.iter().all(whole) {
        let (lsn, holes) = stored.map_or((0, &[][..]), |row| values_of(row, own_epoch));
        let own = old.map(|image| Known { row: image, holes, lsn, after_epoch: true, again: false, read_here: false });
        return Ok(fill(row, own.as_ref()));
    }
    let renamed = renamed.filter(|_| !mutant::is(Mutant::ForgetOldKey)).map(StoredRow::decode).transpose()?;
    // If the source writes a delete as a null value, the delete of the old key has no LSN, but the image of the old row
    // has the LSN of each value.
    let nulls = renamed.as_ref().is_some_and(|row| row.format == Format::FlatTombstone);
    let first = match (&renamed, lsn) {
        (Some(renamed), Some(_)) if nulls => Source::of(renamed, epoch)?,
        (Some(renamed), Some(lsn)) => Source::before(renamed, key, (lsn, epoch))?,
        // If the row under the old key is still live, or moved to a third key, its values may be newer than the change
        // of the key. Without LSNs nova cannot detect newer values, so it uses no values of a row that is live or moved
        // to a third key.
        (Some(renamed), None) if matches!(renamed.content, Content::Moved { to, .. } if to == key) => {
            Source::of(renamed, epoch)?
        }
        (Some(_) | None, _) => None,
    };
    let second = stored.map(|row| Source::of(row, own_epoch)).transpose()?.flatten();
    let own = second.as_ref().map(Source::known);
    let Some(first) = first else { return Ok(fill(row, own.as_ref())) };
    let mut filled = fill(row, Some(&first.known()));
    if own.as_ref().is_some_and(|own| refill(&mut filled.row, &mut filled.holes, own)) {
        filled.unfilled = unfilled(&filled.row);
    }
    if let (Some(stored), Some(renamed), false) = (stored, &renamed, nulls) {
        date_back(&mut filled, renamed, stored, own.as_ref());
    }
    Ok(filled)
}

/// Corrects the LSNs of a row's values after the row's key was changed and then changed back. The row under the
/// intermediate key, `renamed`, may have a value from the time before the first change of the key. A value from before
/// the first change of the key keeps its LSN, because a later version from before that change may still arrive.
fn date_back(filled: &mut Filled, renamed: &StoredRow<'_>, stored: &StoredRow<'_>, own: Option<&Known<'_>>) {
    let moved = match stored.content {
        Content::Moved { .. } => stored.history.newest().map(|delete| delete.lsn.saturating_sub(1)),
        Content::Live(_) | Content::Gone => None,
    };
    let of = |holes: &[Hole], column: u8| holes.iter().find(|hole| hole.column == column).map(|hole| hole.lsn);
    for hole in &mut filled.holes {
        let column = hole.column;
        let same = |own: &&Known<'_>| match column {
            EXTRA => filled.row.extra.is_some() && filled.row.extra == own.row.extra,
            _ => own.row.cells.get(usize::from(column)) == filled.row.cells.get(usize::from(column)),
        };
        let lsn = match moved {
            Some(moved) if of(&renamed.holes, column) == Some(moved) => of(&stored.holes, column),
            Some(_) => None,
            // If the stored row is not the tombstone of a changed key, nova has not read the delete of the first change
            // of the key yet.
            None => own.filter(same).map(|own| own.lsn_of(column)),
        };
        hole.lsn = lsn.filter(|lsn| *lsn > 0).map_or(hole.lsn, |lsn| hole.lsn.min(lsn));
    }
}

/// A stored row or an image from which values may be taken.
struct Source<'a> {
    image: Row,
    holes: &'a [Hole],
    lsn: u64,
}

impl<'a> Source<'a> {
    fn of(row: &'a StoredRow<'_>, epoch: u16) -> Result<Option<Source<'a>>, CodecError> {
        let cells = match row.content {
            Content::Live(cells) => cells,
            Content::Moved { cells, .. } if !cells.is_empty() => cells,
            Content::Moved { .. } | Content::Gone => return Ok(None),
        };
        let (lsn, holes) = values_of(row, epoch);
        Ok(Some(Source { image: decode_cells(cells)?, holes, lsn }))
    }

    /// Returns the row as it was before its key changed at the LSN `lsn`. The returned values count as if they were
    /// written just before the key changed. So the returned values are older than values that the row under the new key
    /// got later, and newer than values of an earlier row under the new key. A row with a higher LSN under the old key
    /// is a different row, or it moved to the old key from a third key.
    fn before(row: &'a StoredRow<'_>, key: Id, (lsn, epoch): (u64, u16)) -> Result<Option<Source<'a>>, CodecError> {
        let Some(mut source) = Source::of(row, epoch)? else { return Ok(None) };
        if row.version.epoch != epoch {
            return Ok(Some(source));
        }
        if !matches!(row.content, Content::Moved { to, .. } if to == key) {
            source.forget_from(lsn);
        }
        (source.holes, source.lsn) = (&[], lsn.saturating_sub(1));
        Ok(Some(source))
    }

    fn forget_from(&mut self, lsn: u64) {
        let known = self.known();
        let later = |column: u8| known.lsn_of(column) >= lsn;
        let columns: Vec<_> = (0u8..).take(known.row.cells.len()).filter(|column| later(*column)).collect();
        let extra = later(EXTRA);
        for column in columns {
            self.image.cells[usize::from(column)] = Cell::Missing;
        }
        self.image.extra.take_if(|_| extra);
    }

    fn known(&self) -> Known<'_> {
        Known { row: &self.image, holes: self.holes, lsn: self.lsn, after_epoch: true, again: false, read_here: false }
    }
}

/// The LSN of the version from which the row's values come, and the holes of the row. LSNs of an earlier epoch cannot
/// be compared with LSNs of the present epoch, so values of an earlier epoch have the LSN 0 and no holes.
pub(super) fn values_of<'a>(row: &'a StoredRow<'_>, epoch: u16) -> (u64, &'a [Hole]) {
    if row.version.epoch != epoch {
        return (0, &[]);
    }
    // If a null value has deleted the row, the delete has no LSN, and the earlier versions of the row are forgotten.
    let newest = row.history.newest().map_or(row.version.lsn, |newest| newest.lsn);
    (row.read.map_or(newest, |read| read.lsn.unwrap_or(newest)), &row.holes)
}
