//! A change of a row's key: a delete under the old key and an insert under the new one, in any order where they stand in
//! two partitions. The insert does not repeat values that are stored out of line; they are the old row's.
//!
//! The tombstone under the old key remembers how old each value is, also after it gave the image away: a version of the old
//! row that comes late, from a third partition, gives its values to the row under the new key ([`Late`]). There they are as
//! old as the change of the key ([`Image::before`]): an earlier row under the new key told nothing newer.

use nova_storage::codec::CodecError;

use crate::event::{Id, Row};
use crate::pipeline::cells::{decode_cells, encode_cells};
use crate::pipeline::fill::{Known, blank, refill, retell};
use crate::pipeline::stored::{Content, StoredRow};

use super::written::{Written, refilled};

pub use super::image::Image;

/// A version that came late to a row which has another key by now.
#[derive(Debug, PartialEq, Eq)]
pub struct Late {
    /// The tombstone to store under the old key.
    pub stored: Box<[u8]>,
    /// The key that the row has now; the old one where only the rest of the record's key changed.
    pub to: Id,
    /// What the row there may want.
    pub image: Image,
}

impl Late {
    /// `None`: the version tells nothing that is newer than what is known, or the tombstone does not say how old that is.
    pub(super) fn of(row: &StoredRow<'_>, late: &Known<'_>) -> Result<Option<Late>, CodecError> {
        let before = row.history.newest().is_some_and(|delete| late.lsn < delete.lsn);
        let Some(Told { to, stored, told }) = told(row, late)?.filter(|_| before) else { return Ok(None) };
        Ok(onward(row, told).map(|image| Late { stored, to, image }))
    }
}

/// What an older version told the tombstone of a changed key.
struct Told {
    to: Id,
    /// The tombstone with it.
    stored: Box<[u8]>,
    /// The columns that it told.
    told: Row,
}

fn told(row: &StoredRow<'_>, late: &Known<'_>) -> Result<Option<Told>, CodecError> {
    let Content::Moved { to, cells } = row.content else { return Ok(None) };
    if row.holes.is_empty() {
        return Ok(None);
    }
    let mut holes = row.holes.clone();
    let mut image = if cells.is_empty() { blank(late.row.cells.len()) } else { decode_cells(cells)? };
    let Some(told) = retell(&mut image, &mut holes, late) else { return Ok(None) };
    // The image was given to the row under the new key.
    let given = cells.is_empty() && row.holes.iter().any(|hole| hole.lsn > 0);
    let mut cells = Vec::new();
    if !given {
        encode_cells(&image, &mut cells);
    }
    let stored = StoredRow { holes, content: Content::Moved { to, cells: &cells }, ..row.clone() }.encode();
    Ok(Some(Told { to, stored, told }))
}

/// The image that the tombstone `row` passes on; `None` where its delete had no LSN.
fn onward(row: &StoredRow<'_>, told: Row) -> Option<Image> {
    let delete = row.history.newest()?;
    Some(Image::before(told, (delete.lsn, delete.ts_us), row.version.epoch))
}

impl Image {
    /// `heir` is the row that may want the values. A value that it has of an earlier epoch may be newer than the image,
    /// where the row is not known to have come with this change.
    fn known(&self, heir: &StoredRow<'_>) -> Known<'_> {
        let after_epoch = heir.history.contains(self.delete_lsn, self.ts_us);
        let again = self.delete_lsn != 0;
        Known { row: &self.row, holes: &self.holes, lsn: self.lsn, after_epoch, again, read_here: false }
    }

    /// Whether a stored row is that of the new key after the change, or a later one, so that the image is not wanted for
    /// one that comes.
    fn stands_in(&self, row: &StoredRow<'_>) -> bool {
        if row.version.epoch != self.epoch {
            return self.ts_us.is_some() && row.history.latest_us() >= self.ts_us;
        }
        // A null value that deletes has no LSN.
        match self.delete_lsn {
            0 => row.content != Content::Gone,
            lsn => row.history.newest().is_some_and(|newest| newest.lsn >= lsn),
        }
    }

    /// Whether the row that the key was changed to stands already.
    pub fn has_heir(&self, stored: Option<&[u8]>) -> Result<bool, CodecError> {
        let row = stored.map(StoredRow::decode).transpose()?;
        Ok(row.is_some_and(|row| self.stands_in(&row)))
    }

    /// Gives the row under the new key the values of the row under the old one, whose last state is known by now: the
    /// insert came before the delete. `None`: there is nothing to give, or no row to take it yet.
    pub fn adopted(&self, stored: &[u8]) -> Result<Option<Written>, CodecError> {
        let row = StoredRow::decode(stored)?;
        // Without any LSN nothing says whose values the row wants.
        let numbered = row.history.newest().is_some();
        let Some(old) = row.row()?.filter(|_| numbered && self.stands_in(&row)) else { return Ok(None) };
        Ok(refilled(&row, old, &self.known(&row)))
    }

    /// The same for the tombstone of a row whose key was changed once more: the next key, the bytes to store, and what the
    /// row under that key may want. `None`: the row was not changed once more, or wants nothing.
    pub fn through(&self, stored: &[u8]) -> Result<Option<Through>, CodecError> {
        let row = StoredRow::decode(stored)?;
        let Content::Moved { to, cells } = row.content else { return Ok(None) };
        let known = self.known(&row);
        if self.delete_lsn != 0 && row.history.newest().is_some() {
            let Some(Told { stored, told, .. }) = told(&row, &known)? else { return Ok(None) };
            return Ok(onward(&row, told).map(|image| Through { to, stored: Some(stored), image }));
        }
        let through = |stored| Some(Through { to, stored, image: self.clone() });
        if cells.is_empty() || row.holes.is_empty() {
            return Ok(through(None));
        }
        let (mut kept, mut holes) = (decode_cells(cells)?, row.holes.clone());
        if !refill(&mut kept, &mut holes, &known) {
            return Ok(through(None));
        }
        let mut cells = Vec::new();
        encode_cells(&kept, &mut cells);
        Ok(through(Some(StoredRow { holes, content: Content::Moved { to, cells: &cells }, ..row }.encode())))
    }
}

/// An image at a row whose key was changed once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// The next key.
    pub to: Id,
    /// The tombstone to store, where it is another one now.
    pub stored: Option<Box<[u8]>>,
    /// What the row under the next key may want.
    pub image: Image,
}

/// The tombstone without the image that it kept for the row under the key `heir`; `None` where it keeps none for that
/// row. `lsn` is that of the insert there, 0 where it has none: an image of another change of the key stays.
pub fn without_image(stored: &[u8], heir: Id, lsn: u64) -> Result<Option<Box<[u8]>>, CodecError> {
    let row = StoredRow::decode(stored)?;
    let same = |newest: u64| lsn == 0 || newest == lsn;
    let taken = row.history.newest().is_none_or(|newest| same(newest.lsn));
    Ok(match row.content {
        Content::Moved { to, cells } if to == heir && taken && !cells.is_empty() => {
            // The holes stay: how old the values are that were given.
            Some(StoredRow { content: Content::Moved { to, cells: &[] }, ..row }.encode())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
