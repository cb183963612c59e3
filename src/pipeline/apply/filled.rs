//! Finds the values that an upsert does not repeat: in the stored row, or after a change of the key in the row that had
//! the key before.

use nova_storage::codec::CodecError;

use crate::event::{Cell, Format, Id, Row};
use crate::mutant::{self, Mutant};
use crate::pipeline::cells::decode_cells;
use crate::pipeline::fill::{Filled, Known, fill, refill, unfilled};
use crate::pipeline::stored::{Content, EXTRA, Hole, StoredRow};

/// Fills an upsert with the values that it does not repeat. They are from the stored row, or after a change of the key
/// from the row that had the key before. If a key was changed there and back, and the other row is not read yet, the
/// row finds its own image. `key` and `lsn` are the upsert's. The LSNs of the stored row are compared with those of
/// `own_epoch`.
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
    // If deletes are null values, the delete of the old key will have no LSN, but the versions of its values.
    let nulls = renamed.as_ref().is_some_and(|row| row.format == Format::FlatTombstone);
    let first = match (&renamed, lsn) {
        (Some(renamed), Some(_)) if nulls => Source::of(renamed, epoch)?,
        (Some(renamed), Some(lsn)) => Source::before(renamed, key, (lsn, epoch))?,
        // Without LSNs, a row that is still live, or that moved to another key, may have had other values at the time
        // of the change.
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

/// Dates values of a key that was changed there and back. Then the other row, `renamed`, may have a value from this
/// row's earlier life. Such a value keeps its LSN from that life, because a version of that life that comes late may be
/// newer.
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
            // The delete of the first change has not been read yet.
            None => own.filter(same).map(|own| own.lsn_of(column)),
        };
        hole.lsn = lsn.filter(|lsn| *lsn > 0).map_or(hole.lsn, |lsn| hole.lsn.min(lsn));
    }
}

/// A stored row or an image that may have values.
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

    /// The row that had the key before the change with the LSN `lsn`. The row's values are as old as the change: older
    /// than later values of the row under the new key, and newer than earlier values of a previous row there. A row
    /// under the old key with a later LSN is another row, or came under another key.
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

/// The LSN of the version from which the row's values come, and its holes. LSNs of an earlier epoch cannot be compared
/// with those of this one, so such values have the LSN 0 and no version of their own.
pub(super) fn values_of<'a>(row: &'a StoredRow<'_>, epoch: u16) -> (u64, &'a [Hole]) {
    if row.version.epoch != epoch {
        return (0, &[]);
    }
    // A null value that deleted the row has no LSN, and earlier versions are forgotten.
    let newest = row.history.newest().map_or(row.version.lsn, |newest| newest.lsn);
    (row.read.map_or(newest, |read| read.lsn.unwrap_or(newest)), &row.holes)
}
