//! The image of a row whose key was changed, for the row under the new key.

use crate::event::Row;
use crate::pipeline::stored::Hole;

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
    /// The image of a row as it stood before the delete that has this LSN and time.
    pub(super) fn before(row: Row, (delete_lsn, ts_us): (u64, Option<i64>), epoch: u16) -> Image {
        Image { row, holes: Vec::new(), lsn: delete_lsn.saturating_sub(1), epoch, delete_lsn, ts_us }
    }
}
