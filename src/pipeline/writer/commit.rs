//! Makes a commit. After the commit, the writer first changes memory, and then answers everyone who waits for the
//! commit.

use std::sync::Arc;

use nova_storage::WriteTxn;
use nova_storage::schema::{DEAD, JOURNAL, OFFSETS};
use parking_lot::RwLockWriteGuard;

use crate::clock::monotonic_now;
use crate::mutant::{self, Mutant};

use super::error::WriterError;
use super::parts::CommitFacts;
use super::structures::Writer;

/// The number of effects that are applied to memory under one lock. This number of effects limits how long a reader
/// waits for the lock.
const APPLY_SLICE: usize = 32;

impl Writer {
    pub(super) fn commit(&mut self, write: WriteTxn, facts: &mut CommitFacts) -> Result<(), WriterError> {
        let started = monotonic_now();
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

    /// Applies the committed effects to memory, and then answers everyone who waits for the commit.
    pub(super) fn publish(&mut self, began: std::time::Instant, facts: &mut CommitFacts) {
        let committed = monotonic_now();
        let now_ms = self.parts.clock.now_ms();
        for (slice, first) in self.effects.chunks(APPLY_SLICE).zip((0..).step_by(APPLY_SLICE)) {
            let mut state = self.parts.state.write();
            self.tapped.apply(&mut state, slice, first, now_ms);
            // A fair unlock gives the lock to the waiting threads first. After an unfair unlock, this thread could take
            // the lock again before the readers wake.
            RwLockWriteGuard::unlock_fair(state);
        }
        self.effects.clear();
        self.tapped.tell(&self.parts.shared.tap, &self.parts.decoder, committed);
        facts.publish_ms = committed.elapsed().as_secs_f64() * 1e3;
        facts.process_ms = began.elapsed().as_secs_f64() * 1e3;
        // The outbox is updated before the positions, so that whoever sees a record as consumed also sees the rows of
        // this record that wait for delivery.
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
}
