//! Recovers a store: nova loads the checkpoint and applies the journal after it, so that memory is as it was at the
//! last commit (rule N13).

use std::sync::Arc;

use nova_storage::codec::{CodecError, OffsetRow};
use nova_storage::schema::{CHECKPOINT, DEAD, JOURNAL, OFFSETS, STATE_CHUNK};
use nova_storage::{ReadError, ReadTxn, WriteError};

use crate::arrival::Timekeeper;
use crate::decode::facts;
use crate::event::{Effect, Table, TopicPartition};
use crate::pipeline::dedup::Dedup;
use crate::pipeline::journal::{self, Step};
use crate::pipeline::meta::Meta;
use crate::pipeline::rebuild;
use crate::pipeline::rows::{Rows, bring_over};
use crate::pipeline::stored::StoredRow;
use crate::pipeline::sweep::Sweeps;
use crate::state::{Loader, State, StateSettings};
use crate::warehouse::outbox::{Outbox, OutboxError};

use super::error::WriterError;
use super::partition::Partition;
use super::parts::Parts;
use super::slices::Clearing;
use super::structures::Writer;
use super::tapped;

/// The figures of a recovery, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub checkpoint_bytes: u64,
    pub journal_batches: u64,
    pub journal_bytes: u64,
    pub dedup_keys: u64,
    pub partitions: usize,
}

/// A writer in the state of the last commit.
pub struct Recovery {
    pub writer: Writer,
    pub report: RecoveryReport,
}

/// The reason for which a store cannot be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("a stored value cannot be read: {0}; restore a backup, or rebuild from the source: nova rebuild")]
    Codec(#[from] CodecError),
    #[error(
        "{partition}: its outcomes do not add up to the {consumed} records consumed: the store is damaged; nova rebuild"
    )]
    Imbalance { partition: TopicPartition, consumed: u64 },
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(
        "engagement.likes or engagement.comments was changed: what the store has counted so far comes from elsewhere. Put \
         it back, or have everything read again: with Kafka by nova rebuild, and without Kafka (PostgreSQL directly, captures, \
         events over HTTP) by a new node with another --data directory"
    )]
    Counted,
}

impl Recovery {
    /// Brings memory to the state of the last commit. `told` is called with the name of each step when the step begins.
    pub fn open(
        parts: Parts,
        state_settings: StateSettings,
        told: impl FnMut(&str),
    ) -> Result<Recovery, RecoveryError> {
        Recovery::open_at(parts, state_settings, None, told)
    }

    /// Like `open`. If the caller already has the state of the store's checkpoint, nova does not read that state again,
    /// unless the journal has changes after the checkpoint.
    pub fn open_at(
        parts: Parts,
        state_settings: StateSettings,
        known: Option<State>,
        mut told: impl FnMut(&str),
    ) -> Result<Recovery, RecoveryError> {
        told("bringing the rows of format 1 over");
        bring_over(&parts.store)?;
        let read = parts.store.read()?;
        let saved = Meta::load(&read)?;
        let mut meta = saved.clone().unwrap_or_else(|| Meta {
            store_id: uuid::Uuid::new_v4().as_u64_pair().0,
            dedup_floor_ms: i64::MIN,
            ..Meta::default()
        });
        let counted = [state_settings.likes, state_settings.comments];
        if *meta.counted.get_or_insert(counted) != counted {
            return Err(RecoveryError::Counted);
        }
        told("loading the checkpoint");
        let mut rows = Rows::load(&read)?;
        let whole = *meta.generation.get_or_insert(rows.newest());
        let mut clearing = Clearing::load(&read, &mut rows, meta.covered)?;
        let known = known.filter(|_| !journal_after(&read, meta.covered).unwrap_or(true));
        let Loaded { mut state, whole_next } = match known {
            Some(state) => Loaded { state, whole_next: false },
            None => load_state(&read, state_settings, whole, &mut clearing)?,
        };
        let saved_changes = state.changes();
        let mut report = RecoveryReport { checkpoint_bytes: meta.checkpoint_bytes, ..RecoveryReport::default() };
        told("applying the journal");
        replay_journal(&read, meta.covered, &mut rows, &mut state, &mut report)?;
        told("loading the dedup horizon");
        let time = Timekeeper::new(parts.settings.time_of);
        let dedup = Dedup::load(&read, meta.dedup_floor_ms)?;
        report.dedup_keys = dedup.keys();
        let dead_letters = read.len(DEAD)?;
        parts.shared.set_dead_letters(dead_letters);
        *parts.state.write() = state;
        let mut writer = Writer {
            saved_meta: saved.unwrap_or_default(),
            journal_next: meta.covered + report.journal_batches + 1,
            journal_bytes: report.journal_bytes,
            reads: 0,
            loading: false,
            meta,
            rows,
            dedup,
            parts,
            time,
            partitions: Vec::new(),
            journal: journal::Writer::default(),
            dead_letters,
            toast_unfilled: 0,
            saved_changes,
            whole_next,
            checkpoint: None,
            clearing,
            effects: Vec::new(),
            letters: Vec::new(),
            tapped: tapped::Commit::default(),
            outbox: None,
            emitted: rebuild::load(&read)?,
            orders: Vec::new(),
            sweeps: Sweeps::load(&read)?,
            sweeps_changed: false,
        };
        if let Some(status) = writer.parts.warehouse.clone() {
            writer.outbox = Some(Outbox::load(&read, writer.meta.store_id, status)?);
        }
        writer.tick();
        writer.load_offsets(&read)?;
        report.partitions = writer.partitions.len();
        Ok(Recovery { writer, report })
    }
}

/// The state that the last checkpoint has.
struct Loaded {
    state: State,
    /// Whether the next checkpoint writes every chunk, because the store has no checkpoint, or because chunks of an
    /// earlier format must be removed.
    whole_next: bool,
}

/// Loads the state from the store. `whole` is the generation of the last complete checkpoint. `clearing` gets the
/// chunks to remove: chunks of an incomplete checkpoint, and chunks that a later checkpoint replaced.
fn load_state(
    read: &ReadTxn,
    settings: StateSettings,
    whole: u64,
    clearing: &mut Clearing,
) -> Result<Loaded, RecoveryError> {
    let mut loader = None;
    let mut hand_on = |chunk| loader.get_or_insert_with(|| Loader::new(settings.clone())).chunk(chunk);
    let (mut newest, mut last) = (None::<(String, u32, Vec<u8>)>, 0);
    // The generations of one chunk come in rising order. So the newest generation is known only when the next chunk
    // comes, and only then the loader gets the chunk.
    read.scan(STATE_CHUNK, ("", 0u32, 0u64).., |(structure, number, generation), bytes| {
        if generation > whole {
            clearing.chunk(structure, number, generation);
            return true;
        }
        match &mut newest {
            Some((of, at, older)) if (of.as_str(), *at) == (structure, number) => {
                clearing.chunk(structure, number, last);
                *older = bytes.to_vec();
            }
            newest => {
                if let Some(done) = newest.replace((structure.to_owned(), number, bytes.to_vec())) {
                    hand_on(done);
                }
            }
        }
        last = generation;
        true
    })?;
    let whole_next = newest.is_none();
    if let Some(last) = newest {
        hand_on(last);
    }
    if whole_next {
        read.scan(CHECKPOINT, ("", 0u32).., |(structure, chunk), bytes| {
            hand_on((structure.to_owned(), chunk, bytes.to_vec()));
            true
        })?;
    }
    let state = loader.map_or_else(|| Ok(State::new(settings)), Loader::end)?;
    Ok(Loaded { state, whole_next })
}

/// Whether the journal has changes after the part that the checkpoint covers.
fn journal_after(read: &ReadTxn, covered: u64) -> Result<bool, ReadError> {
    let mut any = false;
    read.scan(JOURNAL, covered + 1.., |_, _| {
        any = true;
        false
    })?;
    Ok(any)
}

fn replay_journal(
    read: &ReadTxn,
    covered: u64,
    rows: &mut Rows,
    state: &mut State,
    report: &mut RecoveryReport,
) -> Result<(), RecoveryError> {
    let (mut failed, mut dated_ms) = (None, None);
    read.scan(JOURNAL, covered + 1.., |_, blob| {
        report.journal_batches += 1;
        report.journal_bytes += blob.len() as u64;
        let done = journal::read(blob, |step| replay_step(step, &mut dated_ms, read, rows, state));
        failed = done.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)
}

/// Applies a step of the journal. `dated_ms` is the time in a `Dated` step that came directly before the step.
fn replay_step(
    step: Step<'_>,
    dated_ms: &mut Option<i64>,
    read: &ReadTxn,
    rows: &mut Rows,
    state: &mut State,
) -> Result<(), RecoveryError> {
    match step {
        Step::Dated { at_ms } => *dated_ms = Some(at_ms),
        Step::Event { user, post, action, at_ms, dwell_ms } => {
            state.apply(&Effect::Event { user, post, action, at_ms, dwell_ms });
        }
        Step::Row { table, key, stored } => {
            let of = |bytes: Option<&[u8]>| -> Result<_, CodecError> {
                let Some(bytes) = bytes else { return Ok(None) };
                Ok(StoredRow::decode(bytes)?.row()?.and_then(|row| facts(table, &row)))
            };
            let old = rows.with(table, key, read, of)??;
            let new = of(Some(stored))?;
            let dated_ms = dated_ms.take();
            if old != new {
                journal::effects((key, old, new), dated_ms, |effect| state.apply(&effect));
            }
            rows.put(table, key, stored.into());
        }
    }
    Ok(())
}

impl Writer {
    fn load_offsets(&mut self, read: &ReadTxn) -> Result<(), RecoveryError> {
        let mut found = Vec::new();
        read.scan(OFFSETS, ("", i32::MIN).., |(topic, partition), bytes| {
            let decoded = OffsetRow::decode(bytes).map(|(row, cookie)| (row, cookie.to_vec()));
            found.push((TopicPartition::new(topic, partition), decoded));
            true
        })?;
        for (partition, decoded) in found {
            let (mut row, cookie) = decoded?;
            row.arrival_ms = self.time.bound(row.arrival_ms);
            if !row.balanced() {
                return Err(RecoveryError::Imbalance { partition, consumed: row.consumed });
            }
            self.parts.shared.slot(&partition);
            self.partitions.push(Partition::new(partition, row, &cookie));
        }
        self.parts.shared.update(|statuses| {
            for (status, partition) in statuses.iter_mut().zip(&self.partitions) {
                (status.row, status.start) = (partition.row, partition.row);
                status.cookie = Arc::clone(&partition.cookie);
            }
        });
        self.parts.shared.set_sweeping(!self.sweeps.is_empty());
        self.hold_halted();
        Ok(())
    }

    /// Calls `each` for every stored row of a table, including tombstones, in key order.
    pub fn scan(&self, table: Table, mut each: impl FnMut(&[u8])) -> Result<(), WriterError> {
        Ok(self.rows.scan(table, &self.read()?, |_, bytes| each(bytes))?)
    }

    /// Calls `each` for every live row of a table, in key order.
    pub fn dump(&self, table: Table, mut each: impl FnMut(crate::event::Row)) -> Result<(), WriterError> {
        let mut failed = None;
        self.scan(table, |bytes| match StoredRow::decode(bytes).and_then(|stored| stored.row()) {
            Ok(Some(row)) => each(row),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
