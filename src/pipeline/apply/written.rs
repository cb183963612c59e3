//! The row that the store holds after a change that has an effect.

use crate::event::{Format, Id, Row, Table};
use crate::pipeline::cells::encode_cells;
use crate::pipeline::fill::{Filled, Known, dated, refill};
use crate::pipeline::stored::{Content, Hole, Seen, StoredRow, Version};

use super::filled::values_of;
use super::image::Image;
use super::told::Told;

/// The typical size of encoded cells. Most rows are smaller, so a buffer of this size seldom grows.
const CELLS_TYPICAL_BYTES: usize = 256;

/// A change that has an effect.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub version: Version,
    /// The LSN of the record itself, or 0 if the record has none.
    pub lsn: u64,
    /// The encoded row, as it is stored.
    pub stored: Box<[u8]>,
    pub old: Option<Row>,
    pub new: Option<Row>,
    /// The number of values that the record did not repeat and that no stored row could fill.
    pub unfilled: u32,
    /// If the change is the delete of a changed key, the values that the row under the new key may need.
    pub image: Option<Box<Image>>,
}

/// The stored row after it took values that only an older version has. Returns `None` if the row needs none of the
/// older version's values.
pub(super) fn refilled(row: &StoredRow<'_>, old: Row, known: &Known<'_>) -> Option<Written> {
    if row.holes.is_empty() {
        return None;
    }
    let (mut new, mut holes) = (old.clone(), row.holes.clone());
    if !refill(&mut new, &mut holes, known) || new == old {
        return None;
    }
    let version = Version::default().above(row.version);
    let mut cells = Vec::new();
    encode_cells(&new, &mut cells);
    let stored = StoredRow { version, holes, content: Content::Live(&cells), ..row.clone() }.encode();
    let lsn = row.history.newest().map_or(0, |newest| newest.lsn);
    Some(Written { version, lsn, stored, old: Some(old), new: Some(new), unfilled: 0, image: None })
}

impl Told {
    /// The row that the store holds after the record. If the record is the delete of a changed key, `moved` is the new
    /// key and the table. nova then keeps the image of the old row for the row under the new key.
    pub fn written(
        &self,
        stored: Option<&StoredRow<'_>>,
        old: Option<Row>,
        new: Option<Filled>,
        format: Format,
        moved: Option<(Id, Table)>,
    ) -> Written {
        let in_epoch = stored.filter(|row| row.version.epoch == self.epoch);
        let lsn = self.lsn.unwrap_or_else(|| in_epoch.map_or(0, |row| row.version.lsn));
        let version = Version { epoch: self.epoch, lsn, offset: self.place.offset };
        let version = stored.map_or(version, |row| version.above(row.version));
        let (history, read) = self.history(stored, format, new.is_some());
        let (mut cells, mut holes) = (Vec::with_capacity(CELLS_TYPICAL_BYTES), Vec::new());
        if let Some(image) = new.as_ref().map(|new| &new.row).or(old.as_ref().filter(|_| moved.is_some())) {
            encode_cells(image, &mut cells);
        }
        let content = match (&new, moved) {
            (Some(new), _) => {
                holes.clone_from(&new.holes);
                Content::Live(&cells)
            }
            (None, Some((to, table))) => match stored.and_then(|stored| self.kept_image(stored, to)) {
                Some((image, kept)) => {
                    holes.extend_from_slice(kept);
                    Content::Moved { to, cells: image }
                }
                None => {
                    holes = self.image_holes(stored, table);
                    Content::Moved { to, cells: &cells }
                }
            },
            (None, None) => Content::Gone,
        };
        let bytes = StoredRow { version, format, place: self.place, history, read, holes, content }.encode();
        let unfilled = new.as_ref().map_or(0, |new| new.unfilled);
        let image = match (stored, &old, &new, moved) {
            (Some(stored), Some(old), None, Some(_)) => Some(Box::new(self.image(stored, old))),
            _ => None,
        };
        let (lsn, new) = (self.lsn.unwrap_or(0), new.map(|new| new.row));
        Written { version, lsn, stored: bytes, old, new, unfilled, image }
    }

    /// The image that the tombstone already has, and the holes of that image. A tombstone already has an image if the
    /// same delete of a changed key came a second time after the epoch was raised. nova may not have read the row under
    /// the new key yet, so the image must stay.
    fn kept_image<'a>(&self, stored: &'a StoredRow<'_>, to: Id) -> Option<(&'a [u8], &'a [Hole])> {
        let same = |seen: &Seen| self.lsn.is_some_and(|lsn| seen.is(lsn, self.ts_us));
        match stored.content {
            Content::Moved { to: known, cells } if known == to && stored.history.newest().is_some_and(same) => {
                Some((cells, &stored.holes))
            }
            Content::Moved { .. } | Content::Live(_) | Content::Gone => None,
        }
    }

    /// The holes of the image that is kept for the row under the new key. The holes say how old each value is, or,
    /// without LSNs, whether each value is known.
    fn image_holes(&self, stored: Option<&StoredRow<'_>>, table: Table) -> Vec<Hole> {
        let live = stored.filter(|row| row.live());
        match self.lsn {
            Some(_) => {
                let known = live.map(|row| values_of(row, self.values_epoch(row)));
                dated(table.columns().len(), known.map(|(lsn, holes)| (holes, lsn)))
            }
            None => live.map(|row| row.holes.clone()).unwrap_or_default(),
        }
    }

    /// The image of a row that was deleted because its key changed.
    fn image(&self, stored: &StoredRow<'_>, old: &Row) -> Image {
        let (row, epoch, ts_us) = (old.clone(), self.epoch, self.ts_us);
        match self.lsn {
            Some(lsn) => Image::before(row, (lsn, ts_us), epoch),
            None => {
                let (lsn, holes) = values_of(stored, self.epoch);
                Image { row, holes: holes.to_vec(), lsn, epoch, delete_lsn: 0, ts_us }
            }
        }
    }
}
