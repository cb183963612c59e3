//! What stands still: a partition by a hold, a table by a halt. A halt outlives the process and waits for a person.

use std::sync::Arc;

use crate::event::Table;
use crate::pipeline::progress::Order;

use super::Writer;

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
            && let Some(reason) = meta.repartitioned(table)
        {
            self.halt_all(table, &reason);
        }
    }

    /// Takes no more changes of the table; durable with the commit at hand. Its other partitions stand at their next change.
    pub(super) fn halt(&mut self, table: Table, slot: u32, reason: String) {
        self.meta.tables[table as usize].halt = Some(reason.as_str().into());
        self.hold(slot, reason);
    }

    /// The same where no record is the cause: each of its partitions stands where it is.
    pub(super) fn halt_all(&mut self, table: Table, reason: &str) {
        self.meta.tables[table as usize].halt = Some(reason.into());
        for slot in 0..self.partitions.len() {
            if self.parts.decoder.table(&self.partitions[slot].name.topic) == Some(table) {
                self.hold(slot as u32, reason);
            }
        }
    }

    /// Stops consuming a partition, with the reason for a person.
    pub(super) fn hold(&mut self, slot: u32, reason: impl Into<Arc<str>>) {
        let partition = &mut self.partitions[slot as usize];
        if partition.hold.is_none() {
            let reason = reason.into();
            tracing::error!(partition = %partition.name, next = partition.row.next, "held: {reason}");
            partition.hold = Some(reason);
            partition.touched = true;
            self.parts.shared.order(Order::Hold { slot });
        }
    }

    /// Goes on with a held partition, from the store's next offset.
    pub(super) fn release(&mut self, slot: u32) {
        let partition = &mut self.partitions[slot as usize];
        if partition.hold.take().is_some() {
            partition.rewind += 1;
            partition.dead_in_a_row = 0;
            partition.touched = true;
            let (from, rewind) = (partition.row.next, partition.rewind);
            self.parts.shared.order(Order::Release { slot, from, rewind });
        }
    }

    /// A partition of a table that is still halted is held again by its next change.
    pub(super) fn release_all(&mut self) {
        for slot in 0..self.partitions.len() as u32 {
            if !self.partitions[slot as usize].fault {
                self.release(slot);
            }
        }
    }

    /// Partitions of halted tables stand still from the start, and say so before their next record.
    pub(super) fn hold_halted(&mut self) {
        let (decoder, tables) = (&self.parts.decoder, &self.meta.tables);
        for (partition, slot) in self.partitions.iter_mut().zip(0..) {
            let table = decoder.table(&partition.name.topic);
            let halt = table.and_then(|table| tables[table as usize].halt.as_deref());
            if let Some(halt) = halt {
                partition.hold = Some(halt.into());
                self.parts.shared.order(Order::Hold { slot });
            }
        }
        self.parts.shared.update(|statuses| {
            for (status, partition) in statuses.iter_mut().zip(&self.partitions) {
                status.hold.clone_from(&partition.hold);
            }
        });
    }
}
