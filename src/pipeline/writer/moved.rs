//! Changes of a row's key: the values that the record under the new key does not repeat.

use nova_storage::ReadTxn;

use crate::event::{Id, Op, Table};
use crate::pipeline::apply::renamed::{self, Image};
use crate::pipeline::journal::Step;

use super::{Writer, WriterError};

/// Changes of a row's key that are followed to the row which wants its values.
const MOVES_MAX: usize = 8;

impl Writer {
    /// After the delete of a changed key: the row under the new key, where it came before, takes the last values of the
    /// old one; else the old one's tombstone has kept them for it.
    pub(super) fn moved(
        &mut self,
        table: Table,
        (from, to): (Id, Id),
        image: Option<Box<Image>>,
        read: &ReadTxn,
    ) -> Result<(), WriterError> {
        let Some(image) = image else { return Ok(()) };
        let taken = self.rows.with(table, to, read, |stored| image.has_heir(stored))??;
        if !taken {
            return Ok(());
        }
        let adopt = |stored: Option<&[u8]>| stored.map_or(Ok(None), |stored| image.adopted(stored));
        let keep = |stored: Option<&[u8]>| stored.map_or(Ok(None), |stored| image.adopted_by_image(stored));
        let mut heir = to;
        for _ in 0..MOVES_MAX {
            if let Some(written) = self.rows.with(table, heir, read, adopt)?? {
                self.write_row(table, heir, written, (Op::Update, None), None);
                break;
            }
            // Its key was changed once more: what comes under the next key takes the values from there.
            let Some(next) = self.rows.with(table, heir, read, renamed::moved_to)?? else { break };
            if let Some(stored) = self.rows.with(table, heir, read, keep)?? {
                self.store_quietly(table, heir, stored);
            }
            // Changed there and back, the row comes again under this key. Without an LSN it may be the change before.
            if next == from || image.delete_lsn == 0 {
                return Ok(());
            }
            heir = next;
        }
        self.drop_image(table, (from, to), image.delete_lsn, read)
    }

    /// The row under the key `to` has the values that the tombstone of `from` kept for it. `lsn` is that of the change.
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

    /// Stores a tombstone whose row is gone as before.
    fn store_quietly(&mut self, table: Table, key: Id, stored: Box<[u8]>) {
        self.journal.push(Step::Row { table, key, stored: &stored });
        self.rows.put(table, key, stored);
    }
}
