//! Thread 1 of the batch loop: polls the source, drops what is already committed, decodes, and hands batches over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{SendTimeoutError, Sender};
use nova_storage::codec::Put;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::decode::{Decoder, client};
use crate::event::{Decoded, Record, TopicPartition, Wait};
use crate::source::{Fault, PollLimits, Polled, Source, SourceError};

use super::dedup::Entry;
use super::progress::{Order, Shared};
use super::writer::Message;
use super::{Batch, Body, Item};

/// How long a record that must wait (a schema registry that is away) holds its partition before the next attempt.
const WAIT_RETRY: Duration = Duration::from_secs(1);
/// How often a blocked hand-over looks whether the process stops.
const SEND_CHECK: Duration = Duration::from_millis(100);

/// Why ingest ended before its source did.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Polled,
    /// The store takes nothing for now.
    Paused,
    /// The source is finished, or the writer is gone.
    Ended,
}

/// What ingest knows of a partition.
struct Slot {
    name: TopicPartition,
    next: i64,
    /// Digest of the record at `next - 1`; 0 when unknown.
    digest: u64,
    rewind: u32,
    /// Held by the writer's order.
    held: bool,
    /// Waits for something outside; when to try again.
    retry_at: Option<Instant>,
    /// What the record before waited for.
    waits: Option<Arc<str>>,
    redelivered: u64,
}

impl Slot {
    /// A record waits. The first attempt is silent: most often what is needed comes within a moment.
    fn wait(&mut self, wait: Wait, offset: i64, shared: &Shared) {
        let detail: Arc<str> = wait.detail.into();
        if self.waits.is_some() {
            shared.wait(&self.name, Some(Arc::clone(&detail)));
        }
        if self.waits.as_ref() != Some(&detail) {
            tracing::warn!(partition = %self.name, offset, reason = wait.reason, "{detail}");
            self.waits = Some(detail);
        }
    }

    fn go_on(&mut self, shared: &Shared) {
        if self.waits.take().is_some() {
            shared.wait(&self.name, None);
        }
    }
}

/// See the module.
pub struct Ingest {
    source: Box<dyn Source>,
    decoder: Decoder,
    shared: Arc<Shared>,
    out: Sender<Message>,
    limits: PollLimits,
    slots: Vec<Slot>,
    index: FxHashMap<TopicPartition, u32>,
    /// The slot of the record before: records of one partition come in runs.
    last: Option<u32>,
    faults: Vec<(u32, String)>,
    /// Of the poll at hand; empty between polls.
    records: Vec<Record>,
}

impl Ingest {
    /// Begins where the store is. The writer's end of `out` must be running.
    pub fn new(source: Box<dyn Source>, decoder: Decoder, shared: Arc<Shared>, out: Sender<Message>) -> Ingest {
        let known = shared.partitions();
        let index = known.iter().zip(0..).map(|(status, slot)| (status.name.clone(), slot)).collect();
        let slots = known.into_iter().map(|status| Slot {
            name: status.name,
            next: status.row.next,
            digest: status.row.digest,
            rewind: status.rewind,
            held: false,
            retry_at: None,
            waits: None,
            redelivered: 0,
        });
        let slots = slots.collect();
        let limits = PollLimits::default();
        let (faults, records) = (Vec::new(), Vec::new());
        Ingest { source, decoder, shared, out, limits, slots, index, last: None, faults, records }
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

    /// One poll, and what it brought handed over.
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
        let ended = matches!(polled, Polled::End) && self.slots.iter().all(|slot| slot.retry_at.is_none());
        Ok(if self.hand_over(batch) && !ended { Step::Polled } else { Step::Ended })
    }

    fn batch(&mut self, records: &mut Vec<Record>) -> Result<Batch, IngestError> {
        let mut batch = Batch::default();
        batch.items.reserve(records.len());
        for record in records.drain(..) {
            let slot = self.slot(&record, &mut batch.new_partitions);
            if let Some(item) = self.item(slot, record)? {
                batch.items.push(item);
            }
        }
        for Fault { partition, reason } in self.source.take_faults() {
            let slot = self.number(partition, &mut batch.new_partitions);
            self.fault(slot, reason)?;
        }
        batch.faults.append(&mut self.faults);
        batch.counts = self.source.take_counts();
        for (slot, index) in self.slots.iter_mut().zip(0..) {
            if slot.redelivered > 0 {
                batch.redelivered.push((index, std::mem::take(&mut slot.redelivered)));
            }
        }
        Ok(batch)
    }

    fn slot(&mut self, record: &Record, new: &mut Vec<TopicPartition>) -> u32 {
        if let Some(last) = self.last {
            let name = &self.slots[last as usize].name;
            if name.partition == record.partition && name.topic == record.topic {
                return last;
            }
        }
        let name = TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition };
        let slot = self.number(name, new);
        self.last = Some(slot);
        slot
    }

    fn number(&mut self, name: TopicPartition, new: &mut Vec<TopicPartition>) -> u32 {
        *self.index.entry(name).or_insert_with_key(|name| {
            new.push(name.clone());
            self.slots.push(Slot {
                name: name.clone(),
                next: 0,
                digest: 0,
                rewind: 0,
                held: false,
                retry_at: None,
                waits: None,
                redelivered: 0,
            });
            (self.slots.len() - 1) as u32
        })
    }

    /// Delivers no more of a partition; the writer holds it with the next batch.
    fn fault(&mut self, number: u32, reason: String) -> Result<(), IngestError> {
        let slot = &mut self.slots[number as usize];
        slot.held = true;
        self.source.pause(&slot.name)?;
        self.faults.push((number, reason));
        Ok(())
    }

    /// The record as the writer takes it; `None` for one that is committed already or must wait.
    fn item(&mut self, number: u32, record: Record) -> Result<Option<Item>, IngestError> {
        let slot = &mut self.slots[number as usize];
        if slot.held || slot.retry_at.is_some() {
            return Ok(None);
        }
        if record.offset < slot.next {
            if record.offset == slot.next - 1 && slot.digest != 0 && slot.digest != digest(&record) {
                let (name, offset) = (&slot.name, record.offset);
                let reason = format!(
                    "log-recreated: the record at offset {offset} of {name} is not the one that was committed there: \
                     the topic was created again, or this is another capture with the same names. Use another --data \
                     directory for it; to go on all the same: nova cdc seek {} {} OFFSET",
                    name.topic, name.partition
                );
                self.fault(number, reason)?;
                return Ok(None);
            }
            slot.redelivered += 1;
            return Ok(None);
        }
        let body = match record.defect.clone() {
            Some(dead) => Body::Dead(dead),
            None => match self.decoder.decode(&record) {
                Decoded::Change(change) => Body::Change(change),
                Decoded::Event(event) => {
                    let identity = client::dedup_key(event.user_id, event.event_id);
                    let payload = client::payload_hash(&event);
                    Body::Event(event, Entry::new(identity, payload))
                }
                Decoded::Ignore(kind) => Body::Ignore(kind),
                Decoded::Dead(dead) => Body::Dead(dead),
                Decoded::Wait(wait) => {
                    slot.retry_at = Some(Instant::now() + WAIT_RETRY);
                    slot.wait(wait, record.offset, &self.shared);
                    self.source.pause(&slot.name)?;
                    return Ok(None);
                }
            },
        };
        slot.go_on(&self.shared);
        slot.next = record.offset + 1;
        slot.digest = digest(&record);
        Ok(Some(Item { slot: number, rewind: slot.rewind, digest: slot.digest, record, body }))
    }

    /// Does what the writer ordered.
    fn obey(&mut self) -> Result<(), IngestError> {
        for order in self.shared.take_orders() {
            match order {
                Order::Hold { slot } => {
                    let slot = &mut self.slots[slot as usize];
                    slot.held = true;
                    self.source.pause(&slot.name)?;
                }
                Order::Release { slot, from, rewind } => {
                    let slot = &mut self.slots[slot as usize];
                    (slot.held, slot.next, slot.rewind, slot.digest) = (false, from, rewind, 0);
                    slot.retry_at = None;
                    slot.go_on(&self.shared);
                    self.source.resume(&slot.name, from)?;
                }
            }
        }
        Ok(())
    }

    fn retry(&mut self) -> Result<(), IngestError> {
        let now = Instant::now();
        for slot in &mut self.slots {
            if slot.retry_at.is_some_and(|at| at <= now) && !slot.held {
                slot.retry_at = None;
                self.source.resume(&slot.name, slot.next)?;
            }
        }
        Ok(())
    }

    /// Blocks while the writer is behind; false when the process stops or the writer is gone.
    fn hand_over(&mut self, batch: Batch) -> bool {
        let Batch { new_partitions, items, redelivered, faults, counts } = &batch;
        let told = !redelivered.is_empty() || !faults.is_empty() || !counts.is_empty();
        if items.is_empty() && new_partitions.is_empty() && !told {
            return true;
        }
        self.shared.sent(batch.items.len());
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

/// Tells one record from another that claims its place: everything the log fixed when it was appended.
fn digest(record: &Record) -> u64 {
    let value = record.value.as_deref().map_or(0, xxh3_64);
    let key = record.key.as_deref().map_or(0, xxh3_64);
    let mut bytes = Vec::with_capacity(32);
    bytes.put_fixed(&value.to_le_bytes());
    bytes.put_fixed(&key.to_le_bytes());
    bytes.put_fixed(&record.timestamp_ms.to_le_bytes());
    // Zero stands for "unknown".
    xxh3_64(&bytes) | 1
}
