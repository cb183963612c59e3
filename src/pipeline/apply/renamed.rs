//! A change of a row's key consists of a delete under the old key and an insert under the new key. If the delete and
//! the insert are in two partitions, they may come in any order. The insert does not repeat values that are stored out
//! of line, so nova takes these values from the row under the old key.
//!
//! The tombstone under the old key remembers the age of each value, even after the row under the new key has taken the
//! values. If a version of the old row comes late from a third partition, nova gives the values of that version to the
//! row under the new key ([`Late`]). In the row under the new key, the values of a late version count as if they were
//! written just before the key changed (`Image::before`). So they are newer than the values of an earlier row under the
//! new key.

use nova_storage::codec::CodecError;

use crate::event::{Id, Row};
use crate::pipeline::cells::{decode_cells, encode_cells};
use crate::pipeline::fill::{Known, blank, refill, retell};
use crate::pipeline::stored::{Content, StoredRow};

use super::written::{Written, refilled};

pub use super::image::Image;

/// A version of a row that came after the row's key had changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Late {
    /// The tombstone to store under the old key.
    pub stored: Box<[u8]>,
    /// The present key of the row. `to` equals the old key if a key of several columns changed and the row's id stayed
    /// the same.
    pub to: Id,
    /// The values that the row under the present key may need.
    pub image: Image,
}

impl Late {
    /// Returns `None` if the version has nothing newer than the known values, or if the tombstone does not say how old
    /// the known values are.
    pub(super) fn of(row: &StoredRow<'_>, late: &Known<'_>) -> Result<Option<Late>, CodecError> {
        let before = row.history.newest().is_some_and(|delete| late.lsn < delete.lsn);
        let Some(Told { to, stored, told }) = told(row, late)?.filter(|_| before) else { return Ok(None) };
        Ok(onward(row, told).map(|image| Late { stored, to, image }))
    }
}

/// The values that an older version gave to the tombstone of a changed key.
struct Told {
    to: Id,
    /// The tombstone after it took the values of the older version.
    stored: Box<[u8]>,
    /// The columns that the older version had.
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
    // The row under the new key has already got the image.
    let given = cells.is_empty() && row.holes.iter().any(|hole| hole.lsn > 0);
    let mut cells = Vec::new();
    if !given {
        encode_cells(&image, &mut cells);
    }
    let stored = StoredRow { holes, content: Content::Moved { to, cells: &cells }, ..row.clone() }.encode();
    Ok(Some(Told { to, stored, told }))
}

/// The image that the tombstone `row` passes to the row under the next key. Returns `None` if the delete that made the
/// tombstone had no LSN.
fn onward(row: &StoredRow<'_>, told: Row) -> Option<Image> {
    let delete = row.history.newest()?;
    Some(Image::before(told, (delete.lsn, delete.ts_us), row.version.epoch))
}

impl Image {
    /// The image's values for `heir`, which is the row that may need them. A value of `heir` from an earlier epoch may
    /// be newer than the image. The image is surely newer only if nova knows that `heir` got its key by the change that
    /// made the image.
    fn known(&self, heir: &StoredRow<'_>) -> Known<'_> {
        let after_epoch = heir.history.contains(self.delete_lsn, self.ts_us);
        let again = self.delete_lsn != 0;
        Known { row: &self.row, holes: &self.holes, lsn: self.lsn, after_epoch, again, read_here: false }
    }

    /// Whether the row stored under the new key already contains this change of the key or a later change. If the row
    /// does not contain the change, the image waits for the insert under the new key.
    fn stands_in(&self, row: &StoredRow<'_>) -> bool {
        if row.version.epoch != self.epoch {
            return self.ts_us.is_some() && row.history.latest_us() >= self.ts_us;
        }
        // A null value that deletes a row has no LSN.
        match self.delete_lsn {
            0 => row.content != Content::Gone,
            lsn => row.history.newest().is_some_and(|newest| newest.lsn >= lsn),
        }
    }

    /// Whether the row under the new key already exists.
    pub fn has_heir(&self, stored: Option<&[u8]>) -> Result<bool, CodecError> {
        let row = stored.map(StoredRow::decode).transpose()?;
        Ok(row.is_some_and(|row| self.stands_in(&row)))
    }

    /// Gives the row under the new key the values of the row under the old key. The insert came before the delete, and
    /// the delete shows the last state of the old row. Returns `None` if there is no value to give, or if the row under
    /// the new key does not exist yet.
    pub fn adopted(&self, stored: &[u8]) -> Result<Option<Written>, CodecError> {
        let row = StoredRow::decode(stored)?;
        // If the row's history has no LSN, nova does not know from which row the missing values must come.
        let numbered = row.history.newest().is_some();
        let Some(old) = row.row()?.filter(|_| numbered && self.stands_in(&row)) else { return Ok(None) };
        Ok(refilled(&row, old, &self.known(&row)))
    }

    /// Passes the image through the tombstone of a row whose key was changed a second time. Returns the next key, the
    /// bytes to store, and the values that the row under the next key may need. Returns `None` if the key was not
    /// changed a second time, or if the row needs no value.
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

/// The result of passing an image through the tombstone of a row whose key was changed a second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// The key of the row after the second change.
    pub to: Id,
    /// The tombstone to store, or `None` if the tombstone has not changed.
    pub stored: Option<Box<[u8]>>,
    /// The values that the row under the next key may need.
    pub image: Image,
}

/// The tombstone without the image that it kept for the row under the key `heir`. Returns `None` if the tombstone keeps
/// no image for `heir`. `lsn` is the LSN of the insert under the key `heir`, or 0 if the insert has none. An image that
/// is kept for a key other than `heir` stays in the tombstone.
pub fn without_image(stored: &[u8], heir: Id, lsn: u64) -> Result<Option<Box<[u8]>>, CodecError> {
    let row = StoredRow::decode(stored)?;
    let same = |newest: u64| lsn == 0 || newest == lsn;
    let taken = row.history.newest().is_none_or(|newest| same(newest.lsn));
    Ok(match row.content {
        Content::Moved { to, cells } if to == heir && taken && !cells.is_empty() => {
            // The holes of the tombstone stay, because they give the age of the values that the row under the new key
            // took.
            Some(StoredRow { content: Content::Moved { to, cells: &[] }, ..row }.encode())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
