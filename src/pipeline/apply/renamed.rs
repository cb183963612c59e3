//! A change of a row's key: a delete under the old key and an insert under the new one, in any order where they stand in
//! two partitions. The insert does not repeat values that are stored out of line; they are the old row's.

use nova_storage::codec::CodecError;

use crate::event::{Id, Row};
use crate::pipeline::cells::{decode_cells, encode_cells};
use crate::pipeline::fill::{Known, refill};
use crate::pipeline::stored::{Content, Hole, StoredRow};

use super::{Written, refilled};

/// What the delete of a changed key leaves of the row: the row under the new key may want its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub row: Row,
    pub holes: Vec<Hole>,
    /// LSN of the version that the values are from; 0 where it is not known.
    pub lsn: u64,
    /// The table's epoch when the delete was applied.
    pub epoch: u16,
    /// LSN of the delete; 0 where the record had none.
    pub delete_lsn: u64,
    /// Time of the delete's commit, epoch microseconds.
    pub ts_us: Option<i64>,
}

impl Image {
    /// `heir` is the row that may want the values. A value that it has of an earlier epoch may be newer than the image,
    /// where the row is not known to have come with this change.
    fn known(&self, heir: &StoredRow<'_>) -> Known<'_> {
        let after_epoch = heir.history.contains(self.delete_lsn, self.ts_us);
        Known { row: &self.row, holes: &self.holes, lsn: self.lsn, after_epoch }
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

    /// The same for the image of a row whose key was changed once more; the bytes to store.
    pub fn adopted_by_image(&self, stored: &[u8]) -> Result<Option<Box<[u8]>>, CodecError> {
        let row = StoredRow::decode(stored)?;
        let Content::Moved { to, cells } = row.content else { return Ok(None) };
        if cells.is_empty() || row.holes.is_empty() {
            return Ok(None);
        }
        let (mut kept, mut holes) = (decode_cells(cells)?, row.holes.clone());
        if !refill(&mut kept, &mut holes, &self.known(&row)) {
            return Ok(None);
        }
        let mut cells = Vec::new();
        encode_cells(&kept, &mut cells);
        Ok(Some(StoredRow { holes, content: Content::Moved { to, cells: &cells }, ..row }.encode()))
    }
}

/// The key that the row was changed to, if it is gone for that.
pub fn moved_to(stored: Option<&[u8]>) -> Result<Option<Id>, CodecError> {
    let row = stored.map(StoredRow::decode).transpose()?;
    Ok(row.and_then(|row| if let Content::Moved { to, .. } = row.content { Some(to) } else { None }))
}

/// The tombstone without the image that it kept for the row under the key `heir`; `None` where it keeps none for that
/// row. `lsn` is that of the insert there, 0 where it has none: an image of another change of the key stays.
pub fn without_image(stored: &[u8], heir: Id, lsn: u64) -> Result<Option<Box<[u8]>>, CodecError> {
    let row = StoredRow::decode(stored)?;
    let same = |newest: u64| lsn == 0 || newest == lsn;
    let taken = row.history.newest().is_none_or(|newest| same(newest.lsn));
    Ok(match row.content {
        Content::Moved { to, cells } if to == heir && taken && !cells.is_empty() => {
            let content = Content::Moved { to, cells: &[] };
            Some(StoredRow { content, holes: Vec::new(), ..row }.encode())
        }
        _ => None,
    })
}
