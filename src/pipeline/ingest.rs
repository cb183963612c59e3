//! Thread 1 of the batch loop polls the source, drops records that are already committed, decodes all other records,
//! and hands batches to the writer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{SendTimeoutError, Sender};
use nova_storage::codec::Put;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::monotonic_now;
use crate::decode::{Decoder, SCHEMA_MISMATCH, client};
use crate::event::{Decoded, Record, TIMESTAMP_MS_RANGE, TopicPartition, Wait};
use crate::mutant::{self, Mutant};
use crate::source::{Fault, PollLimits, Polled, Source, SourceError};

use super::dedup::Entry;
use super::halt::Hold;
use super::progress::{Order, PartitionStatus, Shared, Slot};
use super::writer::Message;
use super::{Batch, Body, Item};

/// The time after which nova tries a waiting record again. A record waits, for example, while the schema registry is
/// unreachable, and holds its partition.
const WAIT_RETRY: Duration = Duration::from_secs(1);
/// How often ingest checks whether the process must stop, while it waits for room in the writer's queue.
const SEND_CHECK: Duration = Duration::from_millis(100);

/// The end of the message about a waiting record that a person may skip. nova appends the topic, the partition and the
/// offset of the record to the message.
const SEEK: &str = "nova cdc seek";

/// The reason for which ingest ended before its source did.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The result of one step of ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Polled,
    /// The store takes no records at the moment.
    Paused,
    /// The source or the writer has ended.
    Ended,
}

/// The state of a partition in the ingest thread.
struct Reading {
    slot: Slot,
    name: TopicPartition,
    next: i64,
    /// The digest of the record at `next - 1`, or 0 if it is unknown.
    digest: u64,
    rewind: u32,
    /// Whether the writer ordered ingest to hold the partition.
    held: bool,
    /// The time of the next attempt, if the partition waits for a server.
    retry_at: Option<Instant>,
    /// Whether the wait cannot end without a person, because a registered schema never changes.
    for_good: bool,
    /// The reason for which the partition's previous record waited.
    waits: Option<Arc<str>>,
    redelivered: u64,
    /// Whether ingest drops the rest of the present poll, because the source has given the partition's records new
    /// offsets.
    void: bool,
}

impl Reading {
    fn new(slot: Slot, name: TopicPartition) -> Reading {
        Reading {
            slot,
            name,
            next: 0,
            digest: 0,
            rewind: 0,
            held: false,
            retry_at: None,
            for_good: false,
            waits: None,
            redelivered: 0,
            void: false,
        }
    }

    /// Notes that a record must wait. The first attempt logs nothing, because the missing schema or value mostly comes
    /// within a moment.
    fn wait(&mut self, wait: Wait, offset: i64, shared: &Shared) {
        let mut detail = wait.detail;
        // The decoder makes the message, but does not know the record's topic, partition and offset.
        if detail.ends_with(SEEK) {
            let _ = write!(detail, " {} {} {}", self.name.topic, self.name.partition, offset.saturating_add(1));
        }
        let detail: Arc<str> = detail.into();
        if self.waits.is_some() {
            shared.wait(&self.name, Some(Arc::clone(&detail)));
        }
        if self.waits.as_ref() != Some(&detail) {
            tracing::warn!(partition = %self.name, offset, reason = wait.reason, "{detail}");
            self.waits = Some(detail);
        }
    }

    /// Reports why the partition still waits, after the partition's source has ended.
    fn tell(&self, shared: &Shared) {
        if let Some(detail) = self.waits.as_ref().filter(|_| self.retry_at.is_some()) {
            shared.wait(&self.name, Some(Arc::clone(detail)));
        }
    }

    fn go_on(&mut self, shared: &Shared) {
        if self.waits.take().is_some() {
            shared.wait(&self.name, None);
        }
    }
}

/// The state of thread 1.
pub struct Ingest {
    source: Box<dyn Source>,
    decoder: Decoder,
    shared: Arc<Shared>,
    out: Sender<Message>,
    limits: PollLimits,
    /// The partitions, in the order of [`Slot::index`].
    readings: Vec<Reading>,
    index: FxHashMap<TopicPartition, Slot>,
    /// The index in `readings` of the previous record's partition. Records of one partition mostly come one after
    /// another.
    last: Option<Slot>,
    /// The number of partitions that the writer knows about.
    told: usize,
    faults: Vec<(Slot, Hold)>,
    /// The records that the present poll returned. The list of records is empty between polls.
    records: Vec<Record>,
}

impl Ingest {
    /// Begins at the offsets that are in the store. The receiver of the channel `out` must already run.
    pub fn new(source: Box<dyn Source>, decoder: Decoder, shared: Arc<Shared>, out: Sender<Message>) -> Ingest {
        let index: FxHashMap<_, _> = shared.numbered_from(0).into_iter().map(|(slot, name)| (name, slot)).collect();
        let reading = |status: PartitionStatus| {
            let (next, digest, rewind) = (status.row.next, status.row.digest, status.rewind);
            Reading { next, digest, rewind, ..Reading::new(index[&status.name], status.name) }
        };
        let readings: Vec<_> = shared.partitions().into_iter().take(index.len()).map(reading).collect();
        let told = readings.len();
        let limits = PollLimits::default();
        let (faults, records) = (Vec::new(), Vec::new());
        Ingest { source, decoder, shared, out, limits, readings, index, last: None, told, faults, records }
    }

    /// Runs until the source ends or the process stops.
    pub fn run(mut self) -> Result<(), IngestError> {
        while !self.shared.stopping() {
            match self.step()? {
                Step::Polled => {}
                Step::Paused => self.shared.rest(self.limits.wait),
                Step::Ended => break,
            }
        }
        Ok(())
    }

    /// Polls the source once, and hands the records to the writer.
    pub fn step(&mut self) -> Result<Step, IngestError> {
        self.obey()?;
        self.retry()?;
        if self.shared.over_quota() {
            self.source.idle()?;
            return Ok(Step::Paused);
        }
        let mut records = std::mem::take(&mut self.records);
        let polled = self.source.poll(&self.limits, &mut records)?;
        let batch = self.batch(&mut records)?;
        self.records = records;
        let waits = |reading: &Reading| reading.retry_at.is_some() && !reading.for_good;
        let ended = matches!(polled, Polled::End) && !self.readings.iter().any(waits);
        if ended {
            self.readings.iter().for_each(|reading| reading.tell(&self.shared));
        }
        Ok(if self.hand_over(batch) && !ended { Step::Polled } else { Step::Ended })
    }

    fn batch(&mut self, records: &mut Vec<Record>) -> Result<Batch, IngestError> {
        let mut batch = Batch::default();
        batch.items.reserve(records.len());
        // nova takes the source's positions (cookies) before it handles the records. While nova handles the records,
        // the source may give them new offsets. After that, the source has no position for the polled records.
        let cookies = self.source.take_cookies();
        for record in records.drain(..) {
            let slot = self.slot(&record);
            if let Some(item) = self.item(slot, record)? {
                batch.items.push(item);
            }
        }
        for cookie in cookies {
            let slot = self.number(cookie.partition.clone());
            let reading = &self.readings[slot.index()];
            if !reading.held && !reading.void && reading.retry_at.is_none() && cookie.offset <= reading.next {
                batch.cookies.push((slot, reading.rewind, cookie));
            }
        }
        self.readings.iter_mut().for_each(|reading| reading.void = false);
        for Fault { partition, reason } in self.source.take_faults() {
            let slot = self.number(partition);
            self.fault(slot, Hold::Log(reason.into()))?;
        }
        batch.faults.append(&mut self.faults);
        batch.counts = self.source.take_counts();
        for reading in self.readings.iter_mut().filter(|reading| reading.redelivered > 0) {
            batch.redelivered.push((reading.slot, std::mem::take(&mut reading.redelivered)));
        }
        Ok(batch)
    }

    fn slot(&mut self, record: &Record) -> Slot {
        if let Some(last) = self.last {
            let name = &self.readings[last.index()].name;
            if name.partition == record.partition && name.topic == record.topic {
                return last;
            }
        }
        let slot = self.number(TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition });
        self.last = Some(slot);
        slot
    }

    fn number(&mut self, name: TopicPartition) -> Slot {
        if let Some(slot) = self.index.get(&name) {
            return *slot;
        }
        let slot = self.shared.slot(&name);
        self.catch_up();
        slot
    }

    /// Adds the partitions that ingest or the writer has numbered since the last call.
    fn catch_up(&mut self) {
        for (slot, name) in self.shared.numbered_from(self.readings.len()) {
            debug_assert_eq!(slot.index(), self.readings.len(), "slots have no gaps");
            self.index.insert(name.clone(), slot);
            self.readings.push(Reading::new(slot, name));
        }
    }

    /// Stops delivering the records of a partition. The writer holds the partition when it gets the next batch.
    fn fault(&mut self, slot: Slot, hold: Hold) -> Result<(), IngestError> {
        let reading = &mut self.readings[slot.index()];
        reading.held = true;
        self.source.pause(&reading.name)?;
        self.faults.push((slot, hold));
        Ok(())
    }

    /// Returns the record in the form that the writer takes. Returns `None` if the record is already committed or must
    /// wait.
    fn item(&mut self, slot: Slot, record: Record) -> Result<Option<Item>, IngestError> {
        let reading = &mut self.readings[slot.index()];
        if reading.held || reading.void || reading.retry_at.is_some() {
            return Ok(None);
        }
        if record.offset < reading.next {
            if record.offset == reading.next - 1 && reading.digest != 0 && reading.digest != digest(&record) {
                if self.source.renumber(&reading.name, reading.next)? {
                    (reading.void, reading.digest) = (true, 0);
                    return Ok(None);
                }
                let hold = Hold::OtherRecord { partition: reading.name.clone(), offset: record.offset };
                self.fault(slot, hold)?;
                return Ok(None);
            }
            reading.redelivered += 1;
            return Ok(None);
        }
        let body = match record.defect.as_deref() {
            Some(dead) => Body::Dead(dead.clone()),
            None => match self.decoder.decode(&record) {
                Decoded::Change(change) => Body::Change(change),
                Decoded::Event(event) => {
                    let identity = client::dedup_key(event.user_id, event.event_id);
                    let payload = client::payload_hash(&event);
                    Body::Event(event, Entry::new(identity, payload))
                }
                Decoded::Ignore(kind) => Body::Ignore(kind),
                Decoded::Snapshot(mark) => Body::Snapshot(mark),
                Decoded::Dead(dead) => Body::Dead(dead),
                Decoded::Wait(wait) => {
                    reading.retry_at = Some(monotonic_now() + WAIT_RETRY);
                    reading.for_good = wait.reason == SCHEMA_MISMATCH;
                    reading.wait(wait, record.offset, &self.shared);
                    self.source.pause(&reading.name)?;
                    return Ok(None);
                }
            },
        };
        reading.go_on(&self.shared);
        reading.next = record.offset + 1;
        reading.digest = digest(&record);
        Ok(Some(Item { slot, rewind: reading.rewind, digest: reading.digest, record, body }))
    }

    /// Carries out the orders of the writer.
    fn obey(&mut self) -> Result<(), IngestError> {
        let orders = self.shared.take_orders();
        self.catch_up();
        for order in orders {
            match order {
                Order::Hold { slot } => {
                    let reading = &mut self.readings[slot.index()];
                    reading.held = true;
                    self.source.pause(&reading.name)?;
                }
                Order::Release { slot, from, rewind } => {
                    let reading = &mut self.readings[slot.index()];
                    (reading.held, reading.next, reading.rewind, reading.digest) = (false, from, rewind, 0);
                    reading.retry_at = None;
                    reading.go_on(&self.shared);
                    self.source.resume(&reading.name, from)?;
                }
            }
        }
        Ok(())
    }

    fn retry(&mut self) -> Result<(), IngestError> {
        let now = monotonic_now();
        for reading in &mut self.readings {
            if reading.retry_at.is_some_and(|at| at <= now) && !reading.held {
                reading.retry_at = None;
                self.source.resume(&reading.name, reading.next)?;
            }
        }
        Ok(())
    }

    /// Hands a batch to the writer, and blocks while the writer is behind. Returns false if the process stops or the
    /// writer has ended.
    fn hand_over(&mut self, batch: Batch) -> bool {
        let Batch { items, redelivered, faults, counts, cookies } = &batch;
        let nothing = items.is_empty() && redelivered.is_empty() && faults.is_empty();
        let empty = nothing && counts.is_empty() && cookies.is_empty();
        // Ingest sends an empty batch if the writer does not yet know a partition.
        if empty && self.told == self.readings.len() {
            return true;
        }
        self.told = self.readings.len();
        self.shared.sent(batch.items.len());
        if mutant::is(Mutant::CommitEarly) {
            let last = |item: &Item| (item.slot, item.record.offset + 1);
            self.shared
                .update(|all| batch.items.iter().map(last).for_each(|(slot, next)| all[slot.index()].row.next = next));
        }
        let mut message = Message::Batch(batch);
        loop {
            match self.out.send_timeout(message, SEND_CHECK) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => message = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            if self.shared.stopping() {
                return false;
            }
        }
    }
}

/// A digest that distinguishes a record from another record at the same offset. The digest covers everything that the
/// log fixed when the record was appended.
fn digest(record: &Record) -> u64 {
    let value = record.value.as_deref().map_or(0, xxh3_64);
    let key = record.key.as_deref().map_or(0, xxh3_64);
    let mut bytes = Vec::with_capacity(32);
    bytes.put_fixed(&value.to_le_bytes());
    bytes.put_fixed(&key.to_le_bytes());
    // The sources of earlier versions of nova limited times to [`TIMESTAMP_MS_RANGE`]. The stores of those versions
    // have digests that were made from the limited times.
    let (first, last) = (TIMESTAMP_MS_RANGE.start, TIMESTAMP_MS_RANGE.end - 1);
    bytes.put_fixed(&record.timestamp_ms.clamp(first, last).to_le_bytes());
    // The digest 0 means that the digest is unknown, so no record has it.
    xxh3_64(&bytes) | 1
}
