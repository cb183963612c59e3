//! The outbox: the part of the delivery that runs on the writer's thread. Each commit appends its rows to batches, as
//! chunks. A full or old batch is sealed, and its bytes never change again (N8). The counts in a `ledger` balance at
//! every commit (N3). After a restore of the store, `reconcile` removes the rows that ClickHouse already has.

mod chunks;
mod error;
mod ledger;
mod pieces;
pub mod reconcile;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nova_storage::codec::OutboxBatch;
use nova_storage::schema::{META, OUTBOX_BATCH, OUTBOX_SEGMENT};
use nova_storage::{ReadTxn, WriteError, WriteTxn};

use crate::mutant::{self, Mutant};

use super::columns::Columns;
use super::rows::{self, EventRow, RowChange};
use super::status::{Status, TargetStatus};
use super::target::Target;

use self::chunks::{Open, reopen};
use self::ledger::{Ledger, Ledgers};

pub use self::chunks::{BATCH_MAX_BYTES, BATCH_MAX_ROWS, Body, body};
pub use self::error::OutboxError;
pub use self::pieces::pieces;
pub use self::report::{DeadRow, Report, Settled};
pub use super::mark::Mark;

/// A batch of this age is sealed, even if it is not full.
pub const BATCH_MAX_AGE_MS: i64 = 1_000;
/// A table that is behind gets fewer and larger batches. If a table is behind, its batches that are not full are sealed
/// only at this age.
pub const BATCH_MAX_AGE_BEHIND_MS: i64 = 30_000;
/// The maximum number of a table's batches that are being sent, or are delivered and not yet removed by a commit. A
/// table with this number of sealed batches is behind.
pub const AHEAD_MAX_BATCHES: usize = 4;
/// The maximum number of open batches of all tables and partition values. If the maximum number of open batches is
/// exceeded, a commit seals all of them.
pub(super) const OPEN_MAX: usize = 16;
const KEY: &str = "outbox";

struct Sealed {
    rows: u32,
    bytes: u64,
    partition: u32,
    began_ms: i64,
}

/// The outbox as the writer keeps it in memory.
pub struct Outbox {
    store_id: u64,
    ledgers: Ledgers,
    open: Vec<(Target, Open)>,
    sealed: BTreeMap<(Target, u64), Sealed>,
    pieces: BTreeSet<u64>,
    changed: bool,
    pub status: Arc<Status>,
}

impl Outbox {
    /// Loads the outbox as of the last commit.
    pub fn load(read: &ReadTxn, store_id: u64, status: Arc<Status>) -> Result<Outbox, OutboxError> {
        let (ledgers, unsealed) = read.get_with(META, KEY, ledger::decode)?.transpose()?.unwrap_or_default();
        let (open, sealed, pieces) = (Vec::new(), BTreeMap::new(), pieces::pieces(read)?);
        let mut outbox = Outbox { store_id, ledgers, open, sealed, pieces, changed: false, status };
        let mut failed = None;
        read.scan(OUTBOX_BATCH, (0u8, 0u64).., |(number, batch), bytes| {
            let sealed = Target::numbered(number).and_then(|target| Ok((target, OutboxBatch::decode(bytes)?)));
            match sealed {
                Ok((target, OutboxBatch { rows, bytes, partition, sealed_at_ms, .. })) => {
                    let sealed = Sealed { rows, bytes, partition, began_ms: sealed_at_ms };
                    outbox.sealed.insert((target, batch), sealed);
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        for (target, batch) in unsealed {
            outbox.open.push((target, reopen(read, target, batch)?));
        }
        outbox.check()?;
        outbox.publish();
        Ok(outbox)
    }

    /// Adds the row of an accepted client event to a batch. `row.author` is the post's author, or
    /// [`crate::event::Id::NIL`] if the author is unknown.
    pub fn event(&mut self, row: &EventRow<'_>, now_ms: i64) {
        let store = self.store_id;
        let open = self.open(Target::Events, Target::Events.columns(), rows::month(row.at_ms), now_ms);
        let row = EventRow { store, batch: open.batch, ..*row };
        rows::put_event(&mut open.pending, &row);
        self.pushed(Target::Events);
    }

    /// Adds the row of an applied change to a batch.
    pub fn change(&mut self, change: &RowChange<'_>, now_ms: i64) {
        let target = Target::Rows(change.table);
        rows::put_change(&mut self.open(target, target.columns(), 0, now_ms).pending, change);
        self.pushed(target);
    }

    /// Returns the open batch for the next row with the given columns, and moves this batch to the end of the list.
    fn open(&mut self, target: Target, columns: &Columns, partition: u32, now_ms: i64) -> &mut Open {
        let fits = |(of, open): &(Target, Open)| {
            *of == target && open.partition == partition && open.columns == *columns && !open.full()
        };
        let index = self.open.iter().rposition(fits).unwrap_or_else(|| {
            let batch = self.ledgers.of(target).take_number();
            self.open.push((target, Open::new(batch, columns.clone(), partition, now_ms)));
            self.open.len() - 1
        });
        let last = self.open.len() - 1;
        self.open.swap(index, last);
        &mut self.open[last].1
    }

    /// Counts the row that was just added to the last open batch.
    fn pushed(&mut self, target: Target) {
        if let Some((_, open)) = self.open.last_mut() {
            open.pending_rows += 1;
        }
        self.ledgers.of(target).emitted += 1;
        self.changed = true;
    }

    /// Whether a commit is due to seal a batch, even if no record came.
    pub fn due(&self, now_ms: i64) -> bool {
        self.open.iter().any(|(target, open)| self.ripe(*target, open, now_ms))
    }

    fn ripe(&self, target: Target, open: &Open, now_ms: i64) -> bool {
        let behind = self.sealed.range((target, 0)..=(target, u64::MAX)).take(AHEAD_MAX_BATCHES).count();
        let age_ms = if behind < AHEAD_MAX_BATCHES { BATCH_MAX_AGE_MS } else { BATCH_MAX_AGE_BEHIND_MS };
        // If the clock was set back, a batch would have a negative age, so it is sealed at once.
        open.full() || !(0..age_ms).contains(&(now_ms - open.began_ms))
    }

    /// Writes the new rows in the present commit, and seals batches that are full or old. If `seal_all` is set, `write`
    /// seals all batches.
    pub fn write(&mut self, write: &WriteTxn, now_ms: i64, seal_all: bool) -> Result<(), WriteError> {
        for (target, open) in &mut self.open {
            open.flush(*target, write)?;
        }
        let (mut left, open) = (Vec::new(), std::mem::take(&mut self.open));
        let seal_all = seal_all || open.len() > OPEN_MAX;
        for (target, open) in open {
            if seal_all || self.ripe(target, &open, now_ms) {
                self.seal(target, open, write, now_ms)?;
            } else {
                left.push((target, open));
            }
        }
        self.open = left;
        if std::mem::take(&mut self.changed) {
            let open = self.open.iter().map(|(target, open)| (*target, open.batch));
            write.put(META, KEY, &self.ledgers.encode(open))?;
        }
        Ok(())
    }

    fn seal(&mut self, target: Target, open: Open, write: &WriteTxn, now_ms: i64) -> Result<(), WriteError> {
        let Open { batch, partition, rows, bytes, chunks, hash, began_ms, .. } = open;
        let sealed = OutboxBatch { rows, bytes, hash: hash.digest128(), chunks, partition, sealed_at_ms: now_ms };
        write.put(OUTBOX_BATCH, (target.number(), batch), &sealed.encode())?;
        self.sealed.insert((target, batch), Sealed { rows, bytes, partition, began_ms });
        self.changed = true;
        Ok(())
    }

    /// Removes a delivered batch in the present commit. Returns false if the batch was already removed.
    pub fn settle(&mut self, settled: &Settled, write: &WriteTxn, now_ms: i64) -> Result<bool, WriteError> {
        let Settled { target, batch, dead } = settled;
        let Some(sealed) = self.remove(*target, *batch, write)? else { return Ok(false) };
        let stored = u64::from(sealed.rows) - dead.len() as u64;
        let ledger = self.ledgers.of(*target);
        ledger.acknowledged += if mutant::is(Mutant::SkipLedger) { 0 } else { stored };
        ledger.dead += dead.len() as u64;
        if *target == Target::Events && stored > 0 {
            self.ledgers.mark(Mark { batch: *batch, partition: sealed.partition, at_ms: now_ms });
        }
        self.changed = true;
        Ok(true)
    }

    /// Notes in the present commit that a batch of client events is sent in pieces.
    pub fn in_pieces(&mut self, batch: u64, write: &WriteTxn) -> Result<(), WriteError> {
        if self.sealed.contains_key(&(Target::Events, batch)) && self.pieces.insert(batch) {
            pieces::save(&self.pieces, write)?;
        }
        Ok(())
    }

    fn remove(&mut self, target: Target, batch: u64, write: &WriteTxn) -> Result<Option<Sealed>, WriteError> {
        let key = (target.number(), batch);
        let Some(sealed) = self.sealed.remove(&(target, batch)) else { return Ok(None) };
        write.remove(OUTBOX_BATCH, key)?;
        if target == Target::Events && self.pieces.remove(&batch) {
            pieces::save(&self.pieces, write)?;
        }
        write.remove_range(OUTBOX_SEGMENT, (key.0, key.1, 0)..=(key.0, key.1, u32::MAX))?;
        Ok(Some(sealed))
    }

    /// Checks N3 for every table: emitted = acknowledged + dead + waiting.
    pub fn check(&self) -> Result<(), OutboxError> {
        for (target, counts) in Target::ALL.iter().zip(self.counts()) {
            let found = counts.acknowledged + counts.dead + counts.waiting_rows;
            if counts.emitted != found {
                let (table, emitted) = (target.name(), counts.emitted);
                return Err(OutboxError::Imbalance { table, emitted, found });
            }
        }
        Ok(())
    }

    /// Reports the last commit to the sender, and to the modules that report the state of the delivery.
    pub fn publish(&self) {
        self.status.committed(self.counts(), self.ledgers.marks());
    }

    fn counts(&self) -> [TargetStatus; Target::COUNT] {
        let mut counts = self.ledgers.tables.each_ref().map(|ledger: &Ledger| TargetStatus {
            emitted: ledger.emitted,
            acknowledged: ledger.acknowledged,
            dead: ledger.dead,
            next_batch: ledger.next,
            ..TargetStatus::default()
        });
        let mut add = |target: Target, batch: u64, rows: u32, bytes: u64, began_ms: i64| {
            let counts = &mut counts[target.index()];
            counts.first_waiting_batch = Some(counts.first_waiting_batch.map_or(batch, |first| first.min(batch)));
            counts.waiting_rows += u64::from(rows);
            counts.waiting_bytes += bytes;
            counts.oldest_ms = Some(counts.oldest_ms.map_or(began_ms, |oldest| oldest.min(began_ms)));
        };
        for ((target, batch), one) in &self.sealed {
            add(*target, *batch, one.rows, one.bytes, one.began_ms);
        }
        for (target, open) in &self.open {
            let (rows, bytes) = (open.rows + open.pending_rows, open.bytes + open.pending.len() as u64);
            add(*target, open.batch, rows, bytes, open.began_ms);
        }
        counts
    }
}

/// Returns the first sealed batches of a table, at most `limit` batches.
pub fn sealed(read: &ReadTxn, target: Target, limit: usize) -> Result<Vec<(u64, OutboxBatch)>, OutboxError> {
    let number = target.number();
    let (mut found, mut failed) = (Vec::new(), None);
    read.scan(OUTBOX_BATCH, (number, 0u64)..=(number, u64::MAX), |(_, batch), bytes| {
        match OutboxBatch::decode(bytes) {
            Ok(sealed) => found.push((batch, sealed)),
            Err(error) => failed = Some(error),
        }
        failed.is_none() && found.len() < limit
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// Whether the outbox has a sealed batch with this number.
pub fn is_sealed(read: &ReadTxn, target: Target, batch: u64) -> Result<bool, OutboxError> {
    Ok(read.get_with(OUTBOX_BATCH, (target.number(), batch), |_| ())?.is_some())
}

#[cfg(test)]
mod tests;
