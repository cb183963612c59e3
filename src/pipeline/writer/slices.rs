//! The work of a checkpoint, in slices: what is still to be written, and what nobody reads any more.

use std::borrow::Cow;
use std::collections::VecDeque;

use nova_storage::schema::{JOURNAL, STATE_CHUNK};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::pipeline::rows::{Rows, remove_segment};
use crate::state::Frozen;

/// Chunks that one commit removes.
const CLEARED_CHUNKS: usize = 256;
/// Segments of rows that one commit removes.
const CLEARED_SEGMENTS: usize = 8;
/// Bytes of the journal that one commit removes. They are read, and not written.
const CLEARED_JOURNAL_BYTES: usize = 4 << 20;

/// A checkpoint that has begun.
pub(super) struct Checkpoint {
    pub generation: u64,
    /// The last sequence of the journal before the begin.
    pub covered: u64,
    /// What [`crate::state::State::changes`] was at the begin.
    pub changes: u64,
    /// Whether it has every chunk, so that those of earlier formats go.
    pub whole: bool,
    /// Snapshots that had ended at the begin.
    pub snapshots: u64,
    /// Chunks that are not written yet.
    pub left: VecDeque<Frozen>,
    /// The next piece of the first of them.
    pub piece: u32,
    pub written: Vec<(&'static str, u32)>,
    pub bytes: u64,
}

impl Checkpoint {
    /// Writes pieces until they have `budget` bytes; how many they have, less than `budget` only where none are left.
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

/// What nobody reads any more.
#[derive(Debug, Default)]
pub(super) struct Clearing {
    /// Structure, number, and the generations that go.
    pub chunks: Vec<(Cow<'static, str>, u32, (u64, u64))>,
    /// Segments of rows.
    pub segments: Vec<u64>,
    /// Whether blobs of the journal that are covered may be left.
    pub journal: bool,
}

impl Clearing {
    /// What a crash left: chunks that [`Clearing::chunk`] is told of, segments of an unfinished run, a covered journal.
    pub fn load(read: &ReadTxn, rows: &mut Rows, covered: u64) -> Result<Clearing, ReadError> {
        let mut journal = false;
        read.scan(JOURNAL, ..=covered, |_, _| {
            journal = true;
            false
        })?;
        Ok(Clearing { chunks: Vec::new(), segments: rows.take_half_written(), journal })
    }

    /// A chunk of a checkpoint that was never whole, or one that a later checkpoint has.
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
