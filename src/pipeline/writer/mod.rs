//! Thread 2 of the batch loop: the only owner of the write transaction.
//!
//! What has arrived goes into one commit; only after it are memory, readers, the warehouse, waiting callers and the
//! Kafka commit hint told. The writer's own structures change before the commit: when a commit fails, the process ends
//! and recovery begins from the last one.

mod batch;
mod checkpoint;
mod command;
mod ended;
mod hold;
mod letters;
mod load;
mod moved;
mod recover;
mod snapshot;
mod tapped;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use nova_storage::codec::{DeadLetter, OffsetRow};
use nova_storage::schema::{DEAD, JOURNAL, OFFSETS};
use nova_storage::{ReadError, ReadTxn, Store, WriteError, WriteTxn};
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::arrival::Timekeeper;
use crate::clock::Clock;
use crate::decode::Decoder;
use crate::event::{EVENT_MAX_AHEAD_MS, Effect, Table, TopicPartition};
use crate::mutant::{self, Mutant};
use crate::source::local::{LOCAL_PARTITION, LocalAcks, Settled};
use crate::state::State;
use crate::warehouse::outbox::{Outbox, OutboxError, Report};
use crate::warehouse::status::Status;

use super::dedup::{Dedup, Times};
use super::halt::Hold;
use super::meta::{Meta, TableMeta};
use super::progress::{LastDead, Order, Shared};
use super::rebuild::Emitted;
use super::rows::Rows;
use super::sweep::Sweeps;
use super::tap::Tapped;
use super::{Batch, QUEUE_MAX_MESSAGES, Settings, journal};

use self::checkpoint::{Checkpoint, Clearing};
pub use self::command::{Audit, Command, CommandError, EdgeEntry, Replayed, Reply, SEEK_MAX};
pub use self::recover::{Recovery, RecoveryError, RecoveryReport};

/// The writer waits this long for work before it looks at its own deadlines.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Effects applied to memory under one lock: readers wait for no more than this.
const APPLY_SLICE: usize = 32;

/// What the writer is sent.
pub enum Message {
    Batch(Batch),
    Command(Command),
    /// How a batch of the outbox is delivered, or that ClickHouse has it.
    Delivered(Report),
    /// Seals every batch of the outbox, full or not.
    Seal,
    /// Answers when everything sent before is committed and visible.
    Barrier(crossbeam_channel::Sender<()>),
    /// A checkpoint to its end, so that a start from here has no journal to do again; then the answer.
    Checkpoint(crossbeam_channel::Sender<()>),
    /// The last message: a checkpoint, then the end.
    Stop,
}

/// Why the writer ended; nothing of the batch at hand is durable, and the process must end too.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] nova_storage::codec::CodecError),
    #[error(transparent)]
    Prune(#[from] crate::source::local::PruneError),
    /// N2 does not hold: a defect of nova. The batch is not committed.
    #[error(
        "{partition}: {consumed} records consumed, but their outcomes add up to another number; nothing was committed"
    )]
    Imbalance { partition: TopicPartition, consumed: u64 },
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("{0} was read directly 65535 times, and its version has no room for another: begin with another store")]
    Epochs(Table),
}

/// What one commit did, for metrics.
#[derive(Clone, Debug, Default)]
pub struct CommitFacts {
    pub commit_ms: f64,
    /// From the begin of the batch until readers see it.
    pub process_ms: f64,
    /// From the commit until readers saw it.
    pub publish_ms: f64,
    pub records: usize,
    pub dead_letters: u64,
    pub dedup_keys: u64,
    /// Of the index of stored rows and the changed rows, and of the dedup set.
    pub rows_mem_bytes: usize,
    pub dedup_mem_bytes: usize,
    /// Bytes of stored rows, and the sorted runs in which they stand.
    pub rows_bytes: u64,
    pub rows_runs: usize,
    pub toast_unfilled: u64,
    /// Arrival of the oldest and newest record of the commit, epoch milliseconds.
    pub oldest_arrival_ms: Option<i64>,
    pub newest_arrival_ms: Option<i64>,
}

/// Told after each commit, on the writer's thread.
pub type OnCommit = Box<dyn FnMut(&CommitFacts) + Send>;

/// What the writer needs from outside.
pub struct Parts {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub settings: Settings,
    pub clock: Clock,
    /// Decodes dead letters that are replayed.
    pub decoder: Decoder,
    pub on_commit: Option<OnCommit>,
    /// Set when client events come over the local log.
    pub local: Option<LocalAcks>,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<Status>>,
}

/// One partition, as the writer holds it.
struct Partition {
    name: TopicPartition,
    row: OffsetRow,
    /// The source's own position.
    cookie: Arc<[u8]>,
    rewind: u32,
    hold: Option<Hold>,
    dead_in_a_row: u32,
    last_dead: Option<Arc<LastDead>>,
    /// Reasons that the log told of.
    told: Vec<&'static str>,
    /// Changed by the commit at hand.
    touched: bool,
    redelivered: u64,
    unfilled: u64,
    /// Of the local log: what became of the commit's records, for the callers that wait.
    settled: Vec<(i64, Settled)>,
}

impl Partition {
    fn new(name: TopicPartition, row: OffsetRow, cookie: &[u8]) -> Partition {
        Partition {
            name,
            row,
            cookie: cookie.into(),
            rewind: 0,
            hold: None,
            dead_in_a_row: 0,
            last_dead: None,
            told: Vec::new(),
            touched: false,
            redelivered: 0,
            unfilled: 0,
            settled: Vec::new(),
        }
    }
}

/// See the module.
pub struct Writer {
    parts: Parts,
    meta: Meta,
    saved_meta: Meta,
    rows: Rows,
    dedup: Dedup,
    /// Says when records arrived.
    time: Timekeeper,
    /// By slot.
    partitions: Vec<Partition>,
    journal: journal::Writer,
    journal_next: u64,
    /// Journal bytes since the last checkpoint began.
    journal_bytes: u64,
    /// Reads of a snapshot in the commit at hand.
    reads: usize,
    /// Nobody waits for what the last commit had, see [`load`].
    loading: bool,
    dead_letters: u64,
    toast_unfilled: u64,
    /// What [`State::changes`] was when the last whole checkpoint began.
    saved_changes: u64,
    /// The next checkpoint writes every chunk of the state.
    whole_next: bool,
    /// The checkpoint that is under way.
    checkpoint: Option<Checkpoint>,
    clearing: Clearing,
    /// Effects of the commit at hand.
    effects: Vec<Effect>,
    letters: Vec<(u64, DeadLetter)>,
    /// Records of the commit at hand for those who watch, and how many more there were.
    tapped: Vec<Tapped>,
    tapped_more: u64,
    outbox: Option<Outbox>,
    /// Client events below these offsets have their rows since before a rebuild.
    emitted: Emitted,
    /// For ingest, after the commit at hand.
    orders: Vec<Order>,
    /// Tables whose rows of an earlier epoch are gone from the source.
    sweeps: Sweeps,
    /// By the commit at hand.
    sweeps_changed: bool,
}

impl Writer {
    /// Runs until [`Message::Stop`], or until every sender is gone.
    pub fn run(mut self, inbox: &Receiver<Message>) -> Result<(), WriterError> {
        let mut queue = Vec::new();
        loop {
            let wait = if self.unfinished() { Duration::ZERO } else { IDLE_WAIT };
            match inbox.recv_timeout(wait) {
                Ok(message) => {
                    queue.push(message);
                    // Group commit: what is there already goes along.
                    queue.extend(inbox.try_iter().take(QUEUE_MAX_MESSAGES - 1));
                }
                Err(RecvTimeoutError::Timeout) if !self.seal_due() && !self.unfinished() => {
                    self.loaded();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => queue.push(Message::Stop),
            }
            if self.process(&mut queue)? {
                return self.checkpoint();
            }
        }
    }

    /// Puts what the messages cause into one commit; true when the last was [`Message::Stop`].
    pub fn process(&mut self, queue: &mut Vec<Message>) -> Result<bool, WriterError> {
        let began = std::time::Instant::now();
        let store = Arc::clone(&self.parts.store);
        let read = store.read()?;
        let write = store.write()?;
        let mut facts = CommitFacts::default();
        let (mut barriers, mut replies, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
        self.tick();
        let (mut stop, mut work, mut seal) = (false, self.seal_due() || self.unfinished(), false);
        for message in queue.drain(..) {
            match message {
                Message::Batch(batch) => {
                    facts.records += batch.items.len();
                    work = true;
                    self.batch(batch, &read, &write, &mut facts)?;
                }
                Message::Command(command) => {
                    work = true;
                    replies.push(self.command(command, &read, &write)?);
                }
                Message::Delivered(report) => {
                    work = true;
                    self.delivered(&report, &write)?;
                }
                Message::Seal => (work, seal) = (true, true),
                Message::Barrier(reply) => barriers.push(reply),
                Message::Checkpoint(reply) => checkpoints.push(reply),
                Message::Stop => stop = true,
            }
        }
        if work {
            self.sweep(&read, &write)?;
        }
        // What was collected is sealed before the end, so that it can be delivered without this process.
        seal |= stop;
        if work || (seal && self.outbox.is_some()) {
            if let Some(outbox) = &mut self.outbox {
                outbox.write(&write, self.parts.clock.now_ms(), seal)?;
                outbox.check()?;
            }
            self.rows.merge(&read, &write)?;
            let reads = std::mem::take(&mut self.reads);
            self.loading = load::is_load((facts.records, reads), facts.newest_arrival_ms, self.parts.clock.now_ms());
            self.commit(write, &mut facts)?;
            self.publish(began, &mut facts);
        } else {
            drop(write);
        }
        // Everything is durable and visible: now the callers may know.
        self.parts.shared.settled(facts.records);
        replies.into_iter().for_each(|reply| reply());
        self.checkpoint_if_due();
        if !checkpoints.is_empty() {
            drop(read);
            self.checkpoint()?;
        }
        barriers.into_iter().chain(checkpoints).for_each(|reply| {
            let _ = reply.send(());
        });
        Ok(stop)
    }

    fn commit(&mut self, write: WriteTxn, facts: &mut CommitFacts) -> Result<(), WriterError> {
        let started = std::time::Instant::now();
        if mutant::is(Mutant::ShowEarly) {
            self.effects.drain(..).for_each(|effect| self.parts.state.write().apply(&effect));
        }
        let mut journal_bytes = 0;
        for blob in self.journal.take() {
            write.put(JOURNAL, self.journal_next, &blob)?;
            self.journal_next += 1;
            journal_bytes += blob.len() as u64;
        }
        self.journal_bytes += journal_bytes;
        for (id, letter) in self.letters.drain(..) {
            write.put(DEAD, id, &letter.encode())?;
        }
        self.dedup.commit(&write, self.times())?;
        self.meta.dedup_floor_ms = self.dedup.floor_ms();
        for partition in self.partitions.iter().filter(|partition| partition.touched) {
            if !partition.row.balanced() {
                let (partition, consumed) = (partition.name.clone(), partition.row.consumed);
                return Err(WriterError::Imbalance { partition, consumed });
            }
            let name = &partition.name;
            write.put(OFFSETS, (&*name.topic, name.partition), &partition.row.encode(&partition.cookie))?;
        }
        self.carry(&write, journal_bytes)?;
        self.save_meta(&write)?;
        write.commit()?;
        facts.commit_ms = started.elapsed().as_secs_f64() * 1e3;
        facts.dead_letters = self.dead_letters;
        facts.dedup_keys = self.dedup.keys();
        (facts.rows_mem_bytes, facts.dedup_mem_bytes) = (self.rows.mem_bytes(), self.dedup.mem_bytes());
        (facts.rows_bytes, facts.rows_runs) = self.rows.stored();
        facts.toast_unfilled = self.toast_unfilled;
        Ok(())
    }

    fn save_meta(&mut self, write: &WriteTxn) -> Result<(), WriteError> {
        if self.meta != self.saved_meta {
            self.meta.save(write)?;
            self.saved_meta.clone_from(&self.meta);
        }
        Ok(())
    }

    /// Whether there is work that no message brings.
    fn unfinished(&self) -> bool {
        !self.sweeps.is_empty() || self.carrying()
    }

    /// Tells memory, then everyone who waits, what is now durable.
    fn publish(&mut self, began: std::time::Instant, facts: &mut CommitFacts) {
        let committed = std::time::Instant::now();
        for slice in self.effects.chunks(APPLY_SLICE) {
            let mut state = self.parts.state.write();
            slice.iter().for_each(|effect| state.apply(effect));
            // Whoever waits comes first: else this thread would have the lock again before they wake.
            RwLockWriteGuard::unlock_fair(state);
        }
        self.effects.clear();
        self.tell_tapped();
        facts.publish_ms = committed.elapsed().as_secs_f64() * 1e3;
        facts.process_ms = began.elapsed().as_secs_f64() * 1e3;
        // Before the positions: whoever sees a record consumed sees the rows that it left to deliver.
        if let Some(outbox) = &self.outbox {
            outbox.publish();
            let (bytes, most) = (outbox.status.waiting_bytes(), self.parts.settings.outbox_max_bytes);
            let over = if self.parts.shared.over_quota() { bytes > most / 10 * 9 } else { bytes > most };
            self.parts.shared.set_over_quota(over);
        }
        let partitions = &mut self.partitions;
        self.parts.shared.update(|statuses| {
            for (status, partition) in statuses.iter_mut().zip(partitions.iter_mut()) {
                if std::mem::take(&mut partition.touched) {
                    status.row = partition.row;
                    status.cookie = Arc::clone(&partition.cookie);
                    status.hold = partition.hold.as_ref().map(|hold| hold.to_string().into());
                    status.rewind = partition.rewind;
                    status.last_dead.clone_from(&partition.last_dead);
                    (status.redelivered, status.unfilled) = (partition.redelivered, partition.unfilled);
                }
            }
        });
        self.parts.shared.set_dead_letters(self.dead_letters);
        self.parts.shared.set_sweeping(!self.sweeps.is_empty());
        self.orders.drain(..).for_each(|order| self.parts.shared.order(order));
        if let Some(local) = &self.parts.local {
            for partition in self.partitions.iter_mut().filter(|partition| !partition.settled.is_empty()) {
                local.committed(&partition.name.topic, &partition.settled);
                partition.settled.clear();
            }
        }
        if let Some(on_commit) = &mut self.parts.on_commit {
            on_commit(facts);
        }
    }

    fn seal_due(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.due(self.parts.clock.now_ms()))
    }

    /// What dead letters are decoded with.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.parts.decoder
    }

    /// Random, made with the store; part of every deduplication token.
    pub fn store_id(&self) -> u64 {
        self.meta.store_id
    }

    /// Reads the clock for what follows. It may have been set since: no mark stays ahead of it.
    fn tick(&mut self) {
        self.time.tick(self.parts.clock.now_ms());
        self.dedup.heal_floor(self.times());
        self.meta.dedup_floor_ms = self.dedup.floor_ms();
    }

    /// The clocks of the dedup horizon.
    fn times(&self) -> Times {
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

    /// Takes in partitions that were numbered since, by ingest or by a seek.
    fn catch_up(&mut self) {
        for (slot, name) in self.parts.shared.numbered_from(self.partitions.len()) {
            self.partitions.push(Partition::new(name, OffsetRow::default(), &[]));
            self.honour_seek(slot);
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

    fn is_local(partition: &Partition) -> bool {
        partition.name.partition == LOCAL_PARTITION
    }

    fn read(&self) -> Result<ReadTxn, ReadError> {
        self.parts.store.read()
    }
}

/// How far the slowest partition may hold the dedup horizon behind the fastest.
pub const MAX_PARTITION_SKEW_MS: i64 = 48 * 3_600_000;
