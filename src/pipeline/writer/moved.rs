//! Handles changes of a row's key, and finds the values that the record under the new key does not repeat.

use nova_storage::ReadTxn;

use crate::event::{Id, Op, Table};
use crate::pipeline::apply::renamed::{self, Image, Late};

use super::error::WriterError;
use super::structures::Writer;

/// The maximum number of changes of a row's key that nova follows to find the row that needs the values.
const MOVES_MAX: usize = 8;

impl Writer {
    /// Handles a delete that belongs to a change of a key. If the row under the new key came before the delete, the new
    /// row takes the last values of the old row. If the row under the new key does not exist yet, the tombstone of the
    /// old row keeps the values.
    pub(super) fn moved(
        &mut self,
        table: Table,
        (from, to): (Id, Id),
        image: Option<Box<Image>>,
        read: &ReadTxn,
    ) -> Result<(), WriterError> {
        let Some(mut image) = image else { return Ok(()) };
        let taken = self.rows.with(table, to, read, |stored| image.has_heir(stored))??;
        if !taken {
            return Ok(());
        }
        let lsn = image.delete_lsn;
        let mut heir = to;
        for _ in 0..MOVES_MAX {
            let adopt = |stored: Option<&[u8]>| stored.map_or(Ok(None), |stored| image.adopted(stored));
            if let Some(written) = self.rows.with(table, heir, read, adopt)?? {
                self.write_row(table, heir, written, (Op::Update, None), None);
                break;
            }
            // The key was changed a second time. The row under the third key will come later, and will take the values
            // from the tombstone under the second key.
            let through = |stored: Option<&[u8]>| stored.map_or(Ok(None), |stored| image.through(stored));
            let Some(next) = self.rows.with(table, heir, read, through)?? else { break };
            if let Some(stored) = next.stored {
                self.store_quietly(table, heir, stored);
            }
            // If a key was changed and then changed back, the row will come again under its first key. Without an LSN,
            // the tombstone may belong to an earlier change of the key.
            if next.to == from || lsn == 0 {
                return Ok(());
            }
            heir = next.to;
            *image = next.image;
        }
        self.drop_image(table, (from, to), lsn, read)
    }

    /// Handles a version of a row that came after the row's key had changed.
    pub(super) fn late(&mut self, table: Table, key: Id, late: Late, read: &ReadTxn) -> Result<(), WriterError> {
        self.store_quietly(table, key, late.stored);
        if late.to == key {
            return Ok(());
        }
        self.moved(table, (key, late.to), Some(Box::new(late.image)), read)
    }

    /// Removes the image in the tombstone of `from`, because the row under the key `to` has the values of that image.
    /// `lsn` is the LSN of the change of the key.
    pub(super) fn drop_image(
        &mut self,
        table: Table,
        (from, to): (Id, Id),
        lsn: u64,
        read: &ReadTxn,
    ) -> Result<(), WriterError> {
        let bare = |stored: Option<&[u8]>| match stored {
            Some(stored) => renamed::without_image(stored, to, lsn),
            None => Ok(None),
        };
        if let Some(stored) = self.rows.with(table, from, read, bare)?? {
            self.store_quietly(table, from, stored);
        }
        Ok(())
    }
}
