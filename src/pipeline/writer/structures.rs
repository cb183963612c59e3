//! The writer's own structures, and its clocks. They change before the commit that they are part of.

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

/// How far the slowest partition may hold the dedup horizon behind the fastest.
pub const MAX_PARTITION_SKEW_MS: i64 = 48 * 3_600_000;

/// See the module.
pub struct Writer {
    pub(super) parts: Parts,
    pub(super) meta: Meta,
    pub(super) saved_meta: Meta,
    pub(super) rows: Rows,
    pub(super) dedup: Dedup,
    /// Says when records arrived.
    pub(super) time: Timekeeper,
    /// By slot.
    pub(super) partitions: Vec<Partition>,
    pub(super) journal: journal::Writer,
    pub(super) journal_next: u64,
    /// Journal bytes since the last checkpoint began.
    pub(super) journal_bytes: u64,
    /// Reads of a snapshot in the commit at hand.
    pub(super) reads: usize,
    /// Nobody waits for what the last commit had, see `load`.
    pub(super) loading: bool,
    pub(super) dead_letters: u64,
    pub(super) toast_unfilled: u64,
    /// What [`crate::state::State::changes`] was when the last whole checkpoint began.
    pub(super) saved_changes: u64,
    /// The next checkpoint writes every chunk of the state.
    pub(super) whole_next: bool,
    /// The checkpoint that is under way.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) clearing: Clearing,
    /// Effects of the commit at hand.
    pub(super) effects: Vec<Effect>,
    pub(super) letters: Vec<(u64, DeadLetter)>,
    /// Records of the commit at hand, for those who watch.
    pub(super) tapped: tapped::Commit,
    pub(super) outbox: Option<Outbox>,
    /// Client events below these offsets have their rows since before a rebuild.
    pub(super) emitted: Emitted,
    /// For ingest, after the commit at hand.
    pub(super) orders: Vec<Order>,
    /// Tables whose rows of an earlier epoch are gone from the source.
    pub(super) sweeps: Sweeps,
    /// By the commit at hand.
    pub(super) sweeps_changed: bool,
}

impl Writer {
    /// What dead letters are decoded with.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.parts.decoder
    }

    /// Random, made with the store; part of every deduplication token.
    pub fn store_id(&self) -> u64 {
        self.meta.store_id
    }

    /// Reads the clock for what follows. It may have been set since: no mark stays ahead of it.
    pub(super) fn tick(&mut self) {
        self.time.tick(self.parts.clock.now_ms());
        self.dedup.heal_floor(self.times());
        self.meta.dedup_floor_ms = self.dedup.floor_ms();
    }

    /// The clocks of the dedup horizon.
    pub(super) fn times(&self) -> Times {
        Times {
            watermark_ms: self.watermark_ms(),
            now_ms: self.parts.clock.now_ms(),
            latest_ms: self.time.bound(i64::MAX),
            horizon_ms: self.parts.settings.dedup_horizon_ms + EVENT_MAX_AHEAD_MS,
        }
    }

    /// The arrival time up to which every partition with events has been read, as far as the clock allows. One that is
    /// far behind holds the dedup horizon, but for no longer than [`MAX_PARTITION_SKEW_MS`].
    fn watermark_ms(&self) -> i64 {
        let latest_ms = self.time.mark_max_ms();
        let with_events = || self.partitions.iter().filter(|partition| partition.row.carries_events);
        let arrivals = || with_events().map(|partition| partition.row.arrival_ms.min(latest_ms));
        match (arrivals().min(), arrivals().max()) {
            (Some(slowest), Some(fastest)) => slowest.max(fastest - MAX_PARTITION_SKEW_MS),
            _ => i64::MIN,
        }
    }

    /// What is known of each source table, in the order of [`crate::event::Table::ALL`].
    pub fn tables(&self) -> &[TableMeta] {
        &self.meta.tables
    }

    /// Has callers of the local log answered; before the threads start.
    pub fn set_local(&mut self, local: LocalAcks) {
        self.parts.local = Some(local);
    }

    /// Has every commit told; before the threads start.
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
