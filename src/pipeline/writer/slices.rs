//! Divides the work of a checkpoint into slices. The work consists of the parts that must still be written, and of the
//! data that nobody reads any more.

use std::borrow::Cow;
use std::collections::VecDeque;

use nova_storage::schema::{JOURNAL, STATE_CHUNK};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::pipeline::rows::{Rows, remove_segment};
use crate::state::Frozen;

/// The maximum number of chunks that one commit removes.
const CLEARED_CHUNKS: usize = 256;
/// The maximum number of row segments that one commit removes.
const CLEARED_SEGMENTS: usize = 8;
/// The maximum number of journal bytes that one commit removes. To remove blobs of the journal, nova reads them but
/// does not write them.
const CLEARED_JOURNAL_BYTES: usize = 4 << 20;

/// A checkpoint that has begun and is not complete yet.
pub(super) struct Checkpoint {
    pub generation: u64,
    /// The last sequence number of the journal before the checkpoint began.
    pub covered: u64,
    /// The value of [`crate::state::State::changes`] when the checkpoint began.
    pub changes: u64,
    /// Whether the checkpoint writes every chunk, so that nova can remove chunks of earlier formats.
    pub whole: bool,
    /// The number of snapshots of tables that had ended when the checkpoint began.
    pub snapshots: u64,
    /// The chunks that the checkpoint has not written yet.
    pub left: VecDeque<Frozen>,
    /// The number of the piece that is written next, among the pieces of the first chunk in `left`.
    pub piece: u32,
    pub written: Vec<(&'static str, u32)>,
    pub bytes: u64,
}

impl Checkpoint {
    /// Writes pieces of chunks until they have `budget` bytes. Returns the number of bytes written, which is less than
    /// `budget` only if no piece is left.
    pub fn carry(&mut self, write: &WriteTxn, budget: u64) -> Result<u64, WriteError> {
        let (mut carried, mut out) = (0, Vec::new());
        while carried < budget
            && let Some(chunk) = self.left.front()
        {
            out.clear();
            let number = chunk.encode(self.piece, &mut out);
            write.put(STATE_CHUNK, (chunk.structure, number, self.generation), &out)?;
            carried += out.len() as u64;
            self.written.push((chunk.structure, number));
            self.piece += 1;
            if self.piece >= chunk.pieces() {
                self.left.pop_front();
                self.piece = 0;
            }
        }
        self.bytes += carried;
        Ok(carried)
    }
}

/// The data in the store that nobody reads any more.
#[derive(Debug, Default)]
pub(super) struct Clearing {
    /// The chunks to remove, by structure, number, and range of generations.
    pub chunks: Vec<(Cow<'static, str>, u32, (u64, u64))>,
    /// The segments of rows to remove.
    pub segments: Vec<u64>,
    /// Whether the store may still have blobs of the journal that the checkpoint covers.
    pub journal: bool,
}

impl Clearing {
    /// Finds the data that a crash left: the segments of an unfinished run, and a part of the journal that the
    /// checkpoint covers. The caller adds chunks with [`Clearing::chunk`].
    pub fn load(read: &ReadTxn, rows: &mut Rows, covered: u64) -> Result<Clearing, ReadError> {
        let mut journal = false;
        read.scan(JOURNAL, ..=covered, |_, _| {
            journal = true;
            false
        })?;
        Ok(Clearing { chunks: Vec::new(), segments: rows.take_half_written(), journal })
    }

    /// Adds a chunk to remove: a chunk of an incomplete checkpoint, or a chunk that a later checkpoint replaced.
    pub fn chunk(&mut self, structure: &str, number: u32, generation: u64) {
        self.chunks.push((Cow::Owned(structure.to_owned()), number, (generation, generation)));
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.segments.is_empty() && !self.journal
    }

    pub fn carry(&mut self, write: &WriteTxn, covered: u64) -> Result<(), WriteError> {
        let rest = self.chunks.len().saturating_sub(CLEARED_CHUNKS);
        for (structure, number, (first, last)) in self.chunks.drain(rest..) {
            write.remove_range(STATE_CHUNK, (&*structure, number, first)..=(&*structure, number, last))?;
        }
        let rest = self.segments.len().saturating_sub(CLEARED_SEGMENTS);
        self.segments.drain(rest..).try_for_each(|segment| remove_segment(segment, write))?;
        if self.journal {
            self.journal = write.remove_first(JOURNAL, ..=covered, CLEARED_JOURNAL_BYTES)?;
        }
        Ok(())
    }
}
