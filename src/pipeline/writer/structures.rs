//! The data structures and clocks of the writer. The writer changes its data structures before the commit to which the
//! changes belong.

use nova_storage::codec::DeadLetter;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::arrival::Timekeeper;
use crate::decode::Decoder;
use crate::event::{EVENT_MAX_AHEAD_MS, Effect};
use crate::pipeline::dedup::{Dedup, Times};
use crate::pipeline::journal;
use crate::pipeline::meta::{Meta, TableMeta};
use crate::pipeline::progress::Order;
use crate::pipeline::rebuild::Emitted;
use crate::pipeline::rows::Rows;
use crate::pipeline::sweep::Sweeps;
use crate::source::local::LocalAcks;
use crate::warehouse::outbox::Outbox;

use super::partition::Partition;
use super::parts::{OnCommit, Parts};
use super::slices::{Checkpoint, Clearing};
use super::tapped;

/// How far behind the fastest partition the slowest one may hold back the dedup horizon.
pub const MAX_PARTITION_SKEW_MS: i64 = 48 * 3_600_000;

/// The writer with all its data structures.
pub struct Writer {
    pub(super) parts: Parts,
    pub(super) meta: Meta,
    pub(super) saved_meta: Meta,
    pub(super) rows: Rows,
    pub(super) dedup: Dedup,
    /// Decides when records arrived, from their times and the clock.
    pub(super) time: Timekeeper,
    /// The partitions, in the order of their slots ([`crate::pipeline::progress::Slot`]).
    pub(super) partitions: Vec<Partition>,
    pub(super) journal: journal::Writer,
    pub(super) journal_next: u64,
    /// The number of bytes of the journal since the last checkpoint began.
    pub(super) journal_bytes: u64,
    /// The number of reads of a snapshot in the present commit.
    pub(super) reads: usize,
    /// Whether the last commit was part of a load, in which nobody waits for a single record (see `load`).
    pub(super) loading: bool,
    pub(super) dead_letters: u64,
    pub(super) toast_unfilled: u64,
    /// The value of [`crate::state::State::changes`] when the last complete checkpoint began.
    pub(super) saved_changes: u64,
    /// Whether the next checkpoint writes every chunk of the state.
    pub(super) whole_next: bool,
    /// The checkpoint that is being written.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) clearing: Clearing,
    /// The effects of the present commit.
    pub(super) effects: Vec<Effect>,
    pub(super) letters: Vec<(u64, DeadLetter)>,
    /// The records of the present commit, for the listeners of `tap`.
    pub(super) tapped: tapped::Commit,
    pub(super) outbox: Option<Outbox>,
    /// For each partition with client events, the offset below which the events' rows were sent to ClickHouse before a
    /// rebuild.
    pub(super) emitted: Emitted,
    /// The orders for ingest, which the writer sends after the present commit.
    pub(super) orders: Vec<Order>,
    /// The unfinished sweeps. A sweep deletes the rows of a table that are of an earlier epoch, because these rows no
    /// longer exist in the source.
    pub(super) sweeps: Sweeps,
    /// Whether the present commit has changed the sweeps.
    pub(super) sweeps_changed: bool,
}

impl Writer {
    /// The decoder that decodes dead letters.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.parts.decoder
    }

    /// A random number that nova draws when it makes the store. The store's number is part of every deduplication
    /// token.
    pub fn store_id(&self) -> u64 {
        self.meta.store_id
    }

    /// Reads the clock for the next batch. Somebody may have set the clock back since the last batch, so neither the
    /// watermark nor the dedup floor may stay ahead of the clock.
    pub(super) fn tick(&mut self) {
        self.time.tick(self.parts.clock.now_ms());
        self.dedup.heal_floor(self.times());
        self.meta.dedup_floor_ms = self.dedup.floor_ms();
    }

    /// The clocks that decide about the dedup horizon.
    pub(super) fn times(&self) -> Times {
        Times {
            watermark_ms: self.watermark_ms(),
            now_ms: self.parts.clock.now_ms(),
            latest_ms: self.time.bound(i64::MAX),
            horizon_ms: self.parts.settings.dedup_horizon_ms + EVENT_MAX_AHEAD_MS,
        }
    }

    /// The arrival time up to which nova has read every partition with events. The clock limits this time. A partition
    /// that is far behind holds back the dedup horizon, but by no more than [`MAX_PARTITION_SKEW_MS`].
    fn watermark_ms(&self) -> i64 {
        let latest_ms = self.time.mark_max_ms();
        let with_events = || self.partitions.iter().filter(|partition| partition.row.carries_events);
        let arrivals = || with_events().map(|partition| partition.row.arrival_ms.min(latest_ms));
        match (arrivals().min(), arrivals().max()) {
            (Some(slowest), Some(fastest)) => slowest.max(fastest - MAX_PARTITION_SKEW_MS),
            _ => i64::MIN,
        }
    }

    /// The state of each source table, in the order of [`crate::event::Table::ALL`].
    pub fn tables(&self) -> &[TableMeta] {
        &self.meta.tables
    }

    /// Sets the object that answers callers of the local log. The caller must set the object before the threads start.
    pub fn set_local(&mut self, local: LocalAcks) {
        self.parts.local = Some(local);
    }

    /// Sets the function that is called after each commit. The caller must set the function before the threads start.
    pub fn set_on_commit(&mut self, on_commit: OnCommit) {
        self.parts.on_commit = Some(on_commit);
    }

    pub(super) fn save_meta(&mut self, write: &WriteTxn) -> Result<(), WriteError> {
        if self.meta != self.saved_meta {
            self.meta.save(write)?;
            self.saved_meta.clone_from(&self.meta);
        }
        Ok(())
    }

    pub(super) fn read(&self) -> Result<ReadTxn, ReadError> {
        self.parts.store.read()
    }
}
