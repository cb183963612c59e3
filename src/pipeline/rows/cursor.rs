//! Reads the rows of several runs in the order of their keys. If several runs have rows with the same key, only the
//! newest row is returned.

use std::collections::VecDeque;

use nova_storage::codec::CodecError;
use nova_storage::schema::ROW_BLOCK;
use nova_storage::{ReadError, ReadTxn};

use super::block::Block;
use super::key::Key;
use super::segment::Segment;

const WHAT: &str = "run of rows";

/// Reads one run, beginning at a key, a block at a time. The cursor holds no transaction, because segments never
/// change. A cursor must be dropped before the segments that it has not read are removed.
#[derive(Debug, Default)]
struct Cursor {
    /// The segments and blocks that the cursor reads after the present block.
    rest: VecDeque<(u64, u32)>,
    block: Vec<u8>,
    at: usize,
    /// The key of the row at `at`, or `None` at the end of the run.
    head: Option<Key>,
}

impl Cursor {
    fn open<'s>(segments: impl Iterator<Item = &'s Segment>, from: Key, read: &ReadTxn) -> Result<Cursor, ReadError> {
        let mut cursor = Cursor::default();
        for segment in segments.filter(|segment| segment.last >= from) {
            let blocks = segment.block_of(from)..segment.blocks();
            cursor.rest.extend(blocks.map(|block| (segment.number, block)));
        }
        cursor.next_block(read)?;
        while cursor.head.is_some_and(|head| head < from) {
            cursor.advance(read)?;
        }
        Ok(cursor)
    }

    fn next_block(&mut self, read: &ReadTxn) -> Result<(), ReadError> {
        self.head = None;
        let Some(next) = self.rest.pop_front() else { return Ok(()) };
        let block = &mut self.block;
        let copied = read.get_with(ROW_BLOCK, next, |bytes| {
            block.clear();
            block.extend_from_slice(bytes);
        })?;
        copied.ok_or(CodecError::Short(WHAT))?;
        self.at = 0;
        self.head = Some(Block::read(&self.block)?.row(0)?.0);
        Ok(())
    }

    fn row(&self) -> Result<(Key, &[u8]), CodecError> {
        Block::read(&self.block)?.row(self.at)
    }

    fn advance(&mut self, read: &ReadTxn) -> Result<(), ReadError> {
        let before = self.head;
        self.at += 1;
        let block = Block::read(&self.block)?;
        if self.at < block.len() {
            self.head = Some(block.row(self.at)?.0);
        } else {
            self.next_block(read)?;
        }
        if self.head.is_some() && self.head <= before {
            return Err(CodecError::Invalid(WHAT).into());
        }
        Ok(())
    }
}

/// Reads several runs as one sequence of rows, in the order of the keys.
#[derive(Debug, Default)]
pub struct Merged {
    /// The cursors of the runs, in the order from the newest run to the oldest.
    cursors: Vec<Cursor>,
}

impl Merged {
    /// Adds a run, which is read beginning at a key. The added run must be older than all runs that were added before
    /// it.
    pub fn add<'s>(
        &mut self,
        segments: impl Iterator<Item = &'s Segment>,
        from: Key,
        read: &ReadTxn,
    ) -> Result<(), ReadError> {
        self.cursors.push(Cursor::open(segments, from, read)?);
        Ok(())
    }

    /// Returns the key of the next row, and the cursor that has this row.
    fn least(&self) -> Option<(Key, usize)> {
        let heads = self.cursors.iter().enumerate().filter_map(|(at, cursor)| cursor.head.map(|head| (head, at)));
        heads.min()
    }

    pub fn row(&self) -> Result<Option<(Key, &[u8])>, CodecError> {
        self.least().map(|(_, at)| self.cursors[at].row()).transpose()
    }

    /// Moves to the next key of the merged runs.
    pub fn advance(&mut self, read: &ReadTxn) -> Result<(), ReadError> {
        let Some((key, first)) = self.least() else { return Ok(()) };
        for cursor in &mut self.cursors[first..] {
            if cursor.head == Some(key) {
                cursor.advance(read)?;
            }
        }
        Ok(())
    }
}
