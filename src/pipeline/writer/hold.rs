//! Holds of partitions and halts of tables. A halt stays after a restart and waits for a person.

use std::sync::Arc;

use nova_storage::codec::OffsetRow;

use crate::event::Table;
use crate::mutant::{self, Mutant};
use crate::pipeline::halt::{Halt, Hold};
use crate::pipeline::progress::{Order, Slot};

use super::partition::Partition;
use super::structures::Writer;

impl Writer {
    /// Notes the number of partitions that a topic has.
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

    /// Raises the epoch of a table, because the LSNs of two logs cannot be compared and the following records are from
    /// the later log. Returns `None` if there is no higher epoch.
    pub(super) fn raise_epoch(&mut self, table: Table) -> Option<u16> {
        let meta = &mut self.meta.tables[table as usize];
        let raised = meta.epoch.checked_add(1).filter(|_| !mutant::is(Mutant::KeepEpoch))?;
        meta.epoch = raised;
        Some(raised)
    }

    /// Halts a table, so that nova applies no more of its changes. The halt is durable with the present commit. Other
    /// partitions of the table stop at their next change.
    pub(super) fn halt(&mut self, table: Table, slot: Slot, halt: Halt) {
        self.meta.tables[table as usize].halt = Some(halt.clone());
        self.hold(slot, Hold::Table(halt));
    }

    /// Halts a table although no record is the cause. Each partition of the table stops at its present offset.
    pub(super) fn halt_all(&mut self, table: Table, halt: Halt) {
        for (slot, name) in self.parts.shared.numbered_from(0).into_iter().take(self.partitions.len()) {
            if self.parts.decoder.table(&name.topic) == Some(table) {
                self.hold(slot, Hold::Table(halt.clone()));
            }
        }
        self.meta.tables[table as usize].halt = Some(halt);
    }

    /// Stops consuming a partition, and gives the reason for a person.
    pub(super) fn hold(&mut self, slot: Slot, hold: Hold) {
        let partition = &mut self.partitions[slot.index()];
        if partition.hold.is_none() {
            tracing::error!(partition = %partition.name, next = partition.row.next, "held: {hold}");
            partition.hold = Some(hold);
            partition.touched = true;
            self.orders.push(Order::Hold { slot });
        }
    }

    /// Lets a partition continue from the store's next offset. Records of the partition that were polled before the
    /// release are dropped.
    pub(super) fn release(&mut self, slot: Slot) {
        let partition = &mut self.partitions[slot.index()];
        partition.hold = None;
        partition.rewind += 1;
        partition.dead_in_a_row = 0;
        partition.touched = true;
        let (from, rewind) = (partition.row.next, partition.rewind);
        self.orders.push(Order::Release { slot, from, rewind });
    }

    /// Lets all held partitions continue. If the table of a partition is still halted, the next change holds the
    /// partition again.
    pub(super) fn release_all(&mut self) {
        for (slot, _) in self.parts.shared.numbered_from(0).into_iter().take(self.partitions.len()) {
            let hold = self.partitions[slot.index()].hold.as_ref();
            if hold.is_some_and(|hold| !hold.needs_seek()) {
                self.release(slot);
            }
        }
    }

    /// Moves a partition to the offset `next`.
    pub(super) fn go_to(&mut self, slot: Slot, next: i64) {
        let row = &mut self.partitions[slot.index()].row;
        // nova has not read the record before the new offset, so its digest is unknown.
        (row.next, row.digest) = (next, 0);
        // The circuit breaker counts the dead letters of all partitions of a topic, so the counts of all partitions of
        // the topic begin at 0 again.
        let topic = Arc::clone(&self.partitions[slot.index()].name.topic);
        let of_topic = self.partitions.iter_mut().filter(|partition| partition.name.topic == topic);
        of_topic.for_each(|partition| partition.dead_in_a_row = 0);
        self.release(slot);
    }

    /// Adds the partitions that ingest or a seek has numbered since the last call.
    pub(super) fn catch_up(&mut self) {
        for (slot, name) in self.parts.shared.numbered_from(self.partitions.len()) {
            debug_assert_eq!(slot.index(), self.partitions.len(), "slots have no gaps");
            self.partitions.push(Partition::new(name, OffsetRow::default(), &[]));
            self.honour_seek(slot);
        }
    }

    /// Skips a range of the partition again, if a person has decided to skip the range before.
    pub(super) fn honour_seek(&mut self, slot: Slot) {
        let partition = &self.partitions[slot.index()];
        let (name, row) = (&partition.name, &partition.row);
        let Some(to) = self.meta.seeks.decided(name, row.next, row.digest) else { return };
        tracing::warn!(partition = %name, from = row.next, to, "passed over, as was decided before (nova cdc seek)");
        self.go_to(slot, to);
    }

    /// Holds the partitions of halted tables from the start on, so that nova reports the halts before the next record
    /// of these tables comes.
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
