//! Collects the effects of each record of a batch.

use nova_storage::{ReadTxn, WriteTxn};

use crate::arrival::Arrival;
use crate::event::Outcome;
use crate::pipeline::{Batch, Body, Item};
use crate::source::PartitionCount;
use crate::source::local::{self, Settled};

use super::error::WriterError;
use super::fate::Fate;
use super::parts::CommitFacts;
use super::structures::Writer;
use super::tapped;

impl Writer {
    pub(super) fn batch(
        &mut self,
        batch: Batch,
        read: &ReadTxn,
        write: &WriteTxn,
        facts: &mut CommitFacts,
    ) -> Result<(), WriterError> {
        self.catch_up();
        for (slot, count) in batch.redelivered {
            let partition = &mut self.partitions[slot.index()];
            partition.redelivered += count;
            partition.touched = true;
        }
        for (slot, hold) in batch.faults {
            self.hold(slot, hold);
        }
        for PartitionCount { topic, partitions } in batch.counts {
            self.counted(&topic, partitions);
        }
        self.log_local(&batch.items, write)?;
        for item in batch.items {
            let partition = &self.partitions[item.slot.index()];
            if partition.hold.is_some() || partition.rewind != item.rewind {
                continue;
            }
            let arrival = self.time.record(item.record.timestamp_ms);
            if let Some(arrival_ms) = arrival.map(Arrival::ms) {
                facts.oldest_arrival_ms = Some(facts.oldest_arrival_ms.map_or(arrival_ms, |old| old.min(arrival_ms)));
                facts.newest_arrival_ms = Some(facts.newest_arrival_ms.map_or(arrival_ms, |new| new.max(arrival_ms)));
            }
            self.item(item, arrival, read)?;
        }
        for (slot, rewind, cookie) in batch.cookies {
            self.keep(slot, rewind, cookie);
        }
        Ok(())
    }

    /// Writes records to the local log. The records become durable in the same commit that consumes them.
    fn log_local(&self, items: &[Item], write: &WriteTxn) -> Result<(), WriterError> {
        for run in items.chunk_by(|a, b| a.slot == b.slot) {
            let partition = run.first().map(|item| &self.partitions[item.slot.index()]);
            let local = partition.filter(|partition| partition.is_local());
            if local.zip(self.parts.local.as_ref()).is_some_and(|(of, local)| local.logs(&of.name.topic)) {
                local::put_log(write, run.iter().map(|item| &item.record))?;
            }
        }
        Ok(())
    }

    fn item(&mut self, item: Item, arrival: Option<Arrival>, read: &ReadTxn) -> Result<(), WriterError> {
        let Item { slot, digest, record, body, .. } = item;
        let is_event = matches!(body, Body::Event(..));
        let unfilled_before = self.toast_unfilled;
        let watched = self.parts.shared.tap.wanted().then(|| tapped::watched(&body, self.effects.len()));
        let fate = match body {
            Body::Change(change) => self.change(slot, change, (&record, arrival), read)?,
            Body::Event(event, entry) => {
                let arrival = self.time.event(arrival, event.event_time_ms);
                let name = &self.partitions[slot.index()].name;
                let emit = self.emitted.get(name).is_none_or(|until| record.offset >= *until);
                match self.too_old(&event, arrival) || self.forgotten(&event, arrival) {
                    true => Fate::Outcome(Outcome::Late),
                    false => self.event(&event, entry, arrival.ms(), emit, read)?,
                }
            }
            Body::Ignore(_) => Fate::Outcome(Outcome::Ignored),
            Body::Snapshot(mark) => self.snapshot(mark, &record)?,
            Body::Dead(dead) => self.dead(slot, dead, &record),
        };
        let (outcome, conflict) = match fate {
            Fate::Held => return Ok(()),
            Fate::Outcome(outcome) => (outcome, false),
            Fate::Conflict => (Outcome::Duplicate, true),
        };
        let partition = &mut self.partitions[slot.index()];
        partition.unfilled += self.toast_unfilled - unfilled_before;
        let row = &mut partition.row;
        debug_assert!(record.offset >= row.next, "the offsets of a partition rise");
        row.next = record.offset + 1;
        row.consumed += 1;
        row.outcomes[outcome as usize] += 1;
        row.conflicts += u64::from(conflict);
        row.digest = digest;
        row.arrival_ms = arrival.map_or(row.arrival_ms, Arrival::ms);
        row.carries_events |= is_event;
        partition.touched = true;
        if outcome != Outcome::Dead {
            partition.dead_in_a_row = 0;
        }
        if partition.is_local() {
            partition.settled.push((record.offset, Settled { outcome, conflict }));
        }
        if let Some(watched) = watched {
            let (effects, tables) = (&self.effects, &self.meta.tables);
            self.tapped.keep(&record, outcome, watched, effects, tables, self.parts.shared.tap.wants_raw());
        }
        if conflict {
            self.sample_conflict(slot, &record);
        }
        if !self.meta.seeks.is_empty() {
            self.honour_seek(slot);
        }
        Ok(())
    }
}
