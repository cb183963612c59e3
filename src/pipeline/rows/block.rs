//! Stores sorted rows of one table as one value, which is called a block. All keys come first in a block, so that a
//! look-up touches few cache lines. After the keys, a block has the ends of its rows, and then the rows.
//!
//! A block has the form `version, table, count (u16), count × key (16), count × end (u32), rows`, with little-endian
//! integers. An end is the number of bytes from the beginning of the first row.

#![warn(clippy::indexing_slicing)]

use nova_storage::codec::CodecError;
use nova_storage::schema::fits_page;

use crate::event::Id;

use super::key::Key;

const VERSION: u8 = 1;
const WHAT: &str = "block of rows";
const HEAD_BYTES: usize = 4;
/// The number of bytes that a row needs in a block in addition to its own bytes.
const ENTRY_BYTES: usize = 16 + 4;
/// A row that is larger than this number of bytes has a block of its own.
pub const BLOCK_MAX_BYTES: usize = fits_page(16 << 10);

/// A block as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    table: u8,
    keys: &'a [[u8; 16]],
    ends: &'a [[u8; 4]],
    data: &'a [u8],
}

impl<'a> Block<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Block<'a>, CodecError> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(CodecError::Short(WHAT))?;
        let [version, table, low, high] = *head;
        if version != VERSION {
            return Err(CodecError::Version { what: WHAT, found: version, known: VERSION });
        }
        let count = usize::from(u16::from_le_bytes([low, high]));
        let (keys, rest) = rest.split_at_checked(count * 16).ok_or(CodecError::Short(WHAT))?;
        let (ends, data) = rest.split_at_checked(count * 4).ok_or(CodecError::Short(WHAT))?;
        let (keys, ends) = (keys.as_chunks().0, ends.as_chunks().0);
        let end = ends.last().map(|end| u32::from_le_bytes(*end) as usize);
        if end != Some(data.len()) {
            return Err(CodecError::Invalid(WHAT));
        }
        Ok(Block { table, keys, ends, data })
    }

    /// The number of rows in the block, which is at least one.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the row at an index below [`Block::len`].
    pub fn row(&self, at: usize) -> Result<(Key, &'a [u8]), CodecError> {
        let end = |at: usize| self.ends.get(at).map(|end| u32::from_le_bytes(*end) as usize);
        let from = at.checked_sub(1).map_or(Some(0), end);
        let row = from.zip(end(at)).and_then(|(from, to)| self.data.get(from..to));
        let key = self.keys.get(at).map(|key| (self.table, Id(*key)));
        key.zip(row).ok_or(CodecError::Invalid(WHAT))
    }

    pub fn find(&self, (table, id): Key) -> Result<Option<&'a [u8]>, CodecError> {
        match self.keys.binary_search(&id.0) {
            Ok(at) if table == self.table => Ok(Some(self.row(at)?.1)),
            _ => Ok(None),
        }
    }
}

/// Builds one block after another.
#[derive(Debug, Default)]
pub struct Builder {
    table: u8,
    keys: Vec<u8>,
    ends: Vec<u8>,
    data: Vec<u8>,
}

impl Builder {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the row belongs in the next block, because this block is full or has rows of a different table.
    pub fn is_full_for(&self, (table, _): Key, row: &[u8]) -> bool {
        let bytes = HEAD_BYTES + self.keys.len() + self.ends.len() + self.data.len();
        !self.is_empty() && (table != self.table || bytes + ENTRY_BYTES + row.len() > BLOCK_MAX_BYTES)
    }

    /// Adds a row whose key is higher than the keys of all rows before it.
    pub fn push(&mut self, (table, id): Key, row: &[u8]) {
        self.table = table;
        self.keys.extend_from_slice(&id.0);
        self.data.extend_from_slice(row);
        self.ends.extend_from_slice(&(self.data.len() as u32).to_le_bytes());
    }

    /// Puts the bytes of the block into `out`, and empties the builder.
    pub fn take(&mut self, out: &mut Vec<u8>) {
        out.clear();
        // A block of at most 16 KiB has fewer than 2^16 rows, even if the rows have no bytes.
        let count = (self.keys.len() / 16) as u16;
        out.extend_from_slice(&[VERSION, self.table]);
        out.extend_from_slice(&count.to_le_bytes());
        for part in [&mut self.keys, &mut self.ends, &mut self.data] {
            out.append(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Rows = (u8, BTreeMap<[u8; 16], Vec<u8>>);

    fn encode((table, rows): &Rows) -> Vec<u8> {
        let (mut builder, mut out) = (Builder::default(), Vec::new());
        rows.iter().for_each(|(id, row)| builder.push((*table, Id(*id)), row));
        builder.take(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Rows, CodecError> {
        let block = Block::read(bytes)?;
        let mut rows = BTreeMap::new();
        for at in 0..block.len() {
            let ((_, id), row) = block.row(at)?;
            if rows.last_key_value().is_some_and(|(last, _)| *last >= id.0) {
                return Err(CodecError::Invalid(WHAT));
            }
            rows.insert(id.0, row.to_vec());
        }
        Ok((block.table, rows))
    }

    proptest! {
        #[test]
        fn rows_are_found_and_mutants_are_errors_or_rows_with_these_bytes(
            table: u8,
            rows in proptest::collection::btree_map(any::<[u8; 16]>(), any::<Vec<u8>>(), 1..40),
            absent: [u8; 16],
            seed: u64,
        ) {
            let bytes = encode(&(table, rows.clone()));
            let block = Block::read(&bytes).unwrap();
            for (id, row) in &rows {
                prop_assert_eq!(block.find((table, Id(*id))).unwrap(), Some(row.as_slice()));
                prop_assert_eq!(block.find((table.wrapping_add(1), Id(*id))).unwrap(), None);
            }
            prop_assert_eq!(block.find((table, Id(absent))).unwrap(), rows.get(&absent).map(Vec::as_slice));
            prop_assert_eq!(decode(&bytes), Ok((table, rows)));
            check_bytes(&bytes, seed, decode, encode);
        }
    }
}
