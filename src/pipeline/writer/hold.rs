//! What stands still: a partition by a hold, a table by a halt. A halt outlives the process and waits for a person.

use std::sync::Arc;

use nova_storage::codec::OffsetRow;

use crate::event::Table;
use crate::mutant::{self, Mutant};
use crate::pipeline::halt::{Halt, Hold};
use crate::pipeline::progress::{Order, Slot};

use super::partition::Partition;
use super::structures::Writer;

impl Writer {
    /// A topic has so many partitions.
    pub(super) fn counted(&mut self, topic: &str, partitions: u32) {
        let Some(table) = self.parts.decoder.table(topic) else { return };
        let was_read = self.partitions.iter().any(|one| *one.name.topic == *topic && one.row.consumed > 0);
        let meta = &mut self.meta.tables[table as usize];
        meta.partitions_found = partitions;
        if meta.partitions == 0 || !was_read {
            meta.partitions = partitions;
        } else if meta.halt.is_none()
            && let Some(repartitioned) = meta.repartitioned(table)
        {
            self.halt_all(table, Halt::Partitions(repartitioned));
        }
    }

    /// Of two logs whose LSNs say nothing about each other, the records from now on are the later one's. `None`: there is no
    /// higher epoch.
    pub(super) fn raise_epoch(&mut self, table: Table) -> Option<u16> {
        let meta = &mut self.meta.tables[table as usize];
        let raised = meta.epoch.checked_add(1).filter(|_| !mutant::is(Mutant::KeepEpoch))?;
        meta.epoch = raised;
        Some(raised)
    }

    /// Takes no more changes of the table; durable with the commit at hand. Its other partitions stand at their next change.
    pub(super) fn halt(&mut self, table: Table, slot: Slot, halt: Halt) {
        self.meta.tables[table as usize].halt = Some(halt.clone());
        self.hold(slot, Hold::Table(halt));
    }

    /// The same where no record is the cause: each of its partitions stands where it is.
    pub(super) fn halt_all(&mut self, table: Table, halt: Halt) {
        for (slot, name) in self.parts.shared.numbered_from(0).into_iter().take(self.partitions.len()) {
            if self.parts.decoder.table(&name.topic) == Some(table) {
                self.hold(slot, Hold::Table(halt.clone()));
            }
        }
        self.meta.tables[table as usize].halt = Some(halt);
    }

    /// Stops consuming a partition, with the reason for a person.
    pub(super) fn hold(&mut self, slot: Slot, hold: Hold) {
        let partition = &mut self.partitions[slot.index()];
        if partition.hold.is_none() {
            tracing::error!(partition = %partition.name, next = partition.row.next, "held: {hold}");
            partition.hold = Some(hold);
            partition.touched = true;
            self.orders.push(Order::Hold { slot });
        }
    }

    /// Goes on with a partition, from the store's next offset; what was polled before is void.
    pub(super) fn release(&mut self, slot: Slot) {
        let partition = &mut self.partitions[slot.index()];
        partition.hold = None;
        partition.rewind += 1;
        partition.dead_in_a_row = 0;
        partition.touched = true;
        let (from, rewind) = (partition.row.next, partition.rewind);
        self.orders.push(Order::Release { slot, from, rewind });
    }

    /// A partition of a table that is still halted is held again by its next change.
    pub(super) fn release_all(&mut self) {
        for (slot, _) in self.parts.shared.numbered_from(0).into_iter().take(self.partitions.len()) {
            let hold = self.partitions[slot.index()].hold.as_ref();
            if hold.is_some_and(|hold| !hold.needs_seek()) {
                self.release(slot);
            }
        }
    }

    /// Goes on with a partition at another offset.
    pub(super) fn go_to(&mut self, slot: Slot, next: i64) {
        let row = &mut self.partitions[slot.index()].row;
        // The record before the new offset is not one that was read.
        (row.next, row.digest) = (next, 0);
        // The topic's other partitions count for its breaker as well.
        let topic = Arc::clone(&self.partitions[slot.index()].name.topic);
        let of_topic = self.partitions.iter_mut().filter(|partition| partition.name.topic == topic);
        of_topic.for_each(|partition| partition.dead_in_a_row = 0);
        self.release(slot);
    }

    /// Takes in partitions that were numbered since, by ingest or by a seek.
    pub(super) fn catch_up(&mut self) {
        for (slot, name) in self.parts.shared.numbered_from(self.partitions.len()) {
            self.partitions.push(Partition::new(name, OffsetRow::default(), &[]));
            self.honour_seek(slot);
        }
    }

    /// Goes on behind a stretch that a person gave up earlier, when a partition that is read again comes to it.
    pub(super) fn honour_seek(&mut self, slot: Slot) {
        let partition = &self.partitions[slot.index()];
        let (name, row) = (&partition.name, &partition.row);
        let Some(to) = self.meta.seeks.decided(name, row.next, row.digest) else { return };
        tracing::warn!(partition = %name, from = row.next, to, "passed over, as was decided before (nova cdc seek)");
        self.go_to(slot, to);
    }

    /// Partitions of halted tables stand still from the start, and say so before their next record.
    pub(super) fn hold_halted(&mut self) {
        for (slot, name) in self.parts.shared.numbered_from(0) {
            let table = self.parts.decoder.table(&name.topic);
            let halt = table.and_then(|table| self.meta.tables[table as usize].halt.clone());
            if let Some(halt) = halt {
                self.partitions[slot.index()].hold = Some(Hold::Table(halt));
                self.parts.shared.order(Order::Hold { slot });
            }
        }
        self.parts.shared.update(|statuses| {
            for (status, partition) in statuses.iter_mut().zip(&self.partitions) {
                status.hold = partition.hold.as_ref().map(|hold| hold.to_string().into());
            }
        });
    }
}
