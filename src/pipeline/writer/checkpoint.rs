//! Writes checkpoints. Each commit writes a slice of a checkpoint, so that neither readers nor commits wait for a whole
//! checkpoint.
//!
//! A checkpoint begins between two commits. The chunks of the state and the rows that have changed since the last
//! checkpoint are frozen. The writer copies a frozen chunk before it changes the chunk, and keeps changed rows beside
//! the frozen rows. After a checkpoint began, every commit writes some of the frozen data into the store under the
//! number of the next generation. A recovery does not read the next generation before the checkpoint is complete. The
//! commit that writes the last chunks makes the new generation the valid one, and notes that the checkpoint covers the
//! journal up to the checkpoint's beginning. After a complete checkpoint, each of the next commits removes a part of
//! the data that nobody reads any more. So at every moment the store has the last complete checkpoint and the journal
//! since that checkpoint. After a crash, a start finds the data of an unfinished checkpoint, and later commits remove
//! this data.

use std::borrow::Cow;

use nova_storage::WriteTxn;
use nova_storage::schema::CHECKPOINT;

use crate::arrival::CLOCK_MAX_SKEW_MS;
use crate::pipeline::LOAD_CHECKPOINT_BYTES;
use crate::source::local;

use super::error::WriterError;
use super::slices::{Checkpoint, Clearing};
use super::structures::Writer;

/// The number of bytes of the checkpoint that a commit writes for each byte of the commit's journal. A commit writes at
/// least a slice. So a checkpoint during a load ends well before the next checkpoint is due.
const CARRIED_FOR_A_BYTE: u64 = 8;
/// The number of bytes of a checkpoint that one commit writes when the process ends. Nobody waits for the commits of
/// the last checkpoint.
const LAST_SLICE_BYTES: u64 = 16 << 20;

impl Writer {
    /// Begins a checkpoint if a checkpoint is due and none is running.
    pub(super) fn checkpoint_if_due(&mut self) {
        if !self.carrying() && self.checkpoint_due() {
            self.begin_checkpoint();
        }
    }

    fn checkpoint_due(&self) -> bool {
        let settings = &self.parts.settings;
        let (min, max) = match self.loading {
            true => (LOAD_CHECKPOINT_BYTES, LOAD_CHECKPOINT_BYTES),
            false => (settings.checkpoint_min_bytes, settings.checkpoint_max_bytes),
        };
        self.journal_bytes >= (self.meta.checkpoint_bytes / 2).clamp(min, max)
            || self.rows.changed_bytes() as u64 >= max
            || self.sweeps.wants_checkpoint()
    }

    /// Whether the next commit has a part of a checkpoint to write.
    pub(super) fn carrying(&self) -> bool {
        self.checkpoint.is_some() || !self.clearing.is_empty()
    }

    /// Begins a checkpoint of the state and the rows. Only the writer's thread changes the state, so the state is still
    /// the state of the last commit.
    fn begin_checkpoint(&mut self) {
        let generation = self.meta.generation.map_or(1, |last| last.saturating_add(1));
        let state = self.parts.state.read();
        let since = (!self.whole_next).then_some(self.saved_changes);
        self.checkpoint = Some(Checkpoint {
            generation,
            covered: self.journal_next - 1,
            changes: state.changes(),
            whole: std::mem::take(&mut self.whole_next),
            snapshots: self.sweeps.ended(),
            left: state.freeze(since).into(),
            piece: 0,
            written: Vec::new(),
            bytes: 0,
        });
        drop(state);
        self.rows.begin_flush(generation);
        self.journal_bytes = 0;
    }

    /// Puts a slice of the checkpoint into a commit whose journal has `journal_bytes` bytes.
    pub(super) fn carry(&mut self, write: &WriteTxn, journal_bytes: u64) -> Result<(), WriterError> {
        let slice = self.parts.settings.checkpoint_slice_bytes;
        self.carry_bytes(write, journal_bytes.saturating_mul(CARRIED_FOR_A_BYTE).max(slice))
    }

    fn carry_bytes(&mut self, write: &WriteTxn, budget: u64) -> Result<(), WriterError> {
        if !self.clearing.is_empty() {
            return Ok(self.clearing.carry(write, self.meta.covered)?);
        }
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(()) };
        let mut carried = checkpoint.carry(write, budget)?;
        if carried < budget {
            carried += self.rows.flush(write, self.parts.settings.checkpoint_slice_bytes, budget - carried)?;
        }
        if carried < budget { self.end_checkpoint(write) } else { Ok(()) }
    }

    /// Makes a completely written checkpoint the valid checkpoint, in the present commit.
    fn end_checkpoint(&mut self, write: &WriteTxn) -> Result<(), WriterError> {
        let Some(ended) = self.checkpoint.take() else { return Ok(()) };
        self.rows.flushed();
        self.meta.generation = Some(ended.generation);
        self.meta.covered = ended.covered;
        self.meta.checkpoint_bytes = ended.bytes;
        if ended.whole {
            write.clear(CHECKPOINT)?;
        }
        let now_ms = self.parts.clock.now_ms();
        let keep_after_ms = now_ms - self.parts.settings.local_retention_ms;
        local::prune_log(&self.read()?, write, keep_after_ms, now_ms.saturating_add(CLOCK_MAX_SKEW_MS))?;
        self.saved_changes = ended.changes;
        self.sweeps.checkpointed(ended.snapshots);
        let earlier = (0, ended.generation.saturating_sub(1));
        let replaced = |(structure, number)| (Cow::Borrowed(structure), number, earlier);
        let chunks = if ended.whole { Vec::new() } else { ended.written.into_iter().map(replaced).collect() };
        self.clearing = Clearing { chunks, segments: Vec::new(), journal: true };
        Ok(())
    }

    /// Writes all changes of memory and rows since the last checkpoint, and removes the data that they replace.
    pub fn checkpoint(&mut self) -> Result<(), WriterError> {
        self.carry_all()?;
        self.begin_checkpoint();
        self.carry_all()
    }

    fn carry_all(&mut self) -> Result<(), WriterError> {
        while self.carrying() {
            let write = self.parts.store.write()?;
            self.carry_bytes(&write, LAST_SLICE_BYTES)?;
            self.save_meta(&write)?;
            write.commit()?;
        }
        Ok(())
    }
}
