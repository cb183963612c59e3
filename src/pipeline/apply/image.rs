//! The image of a row whose key was changed. nova keeps the image of the old row for the row under the new key.

use crate::event::Row;
use crate::pipeline::stored::Hole;

/// The values that the delete of a changed key keeps, because the row under the new key may need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub row: Row,
    pub holes: Vec<Hole>,
    /// The LSN of the version from which the values come, or 0 if it is unknown.
    pub lsn: u64,
    /// The table's epoch when the delete was applied.
    pub epoch: u16,
    /// The LSN of the delete, or 0 if the record had none.
    pub delete_lsn: u64,
    /// The commit time of the delete, epoch microseconds.
    pub ts_us: Option<i64>,
}

impl Image {
    /// Makes the image of a row as it was before a delete. The caller gives the LSN and the commit time of the delete.
    pub(super) fn before(row: Row, (delete_lsn, ts_us): (u64, Option<i64>), epoch: u16) -> Image {
        Image { row, holes: Vec::new(), lsn: delete_lsn.saturating_sub(1), epoch, delete_lsn, ts_us }
    }
}
