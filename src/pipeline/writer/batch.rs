//! What each record of a batch causes.

use nova_storage::codec::CodecError;
use nova_storage::{ReadTxn, WriteTxn};

use crate::arrival::Arrival;
use crate::decode::facts;
use crate::event::{
    Change, ChangeBody, ClientEvent, Dead, Effect, Facts, Id, Ignored, Op, Outcome, Record, Row, Stage, Table,
};
use crate::mutant::{self, Mutant};
use crate::pipeline::apply::{Judgement, Written, judge_of, truncate_row};
use crate::pipeline::decided::Truncation;
use crate::pipeline::dedup::{Entry, Seen};
use crate::pipeline::halt::{Halt, Hold};
use crate::pipeline::journal::{Step, effects};
use crate::pipeline::meta::Truncated;
use crate::pipeline::progress::Slot;
use crate::pipeline::stored::{Place, StoredRow};
use crate::pipeline::{Batch, Body, Item, TruncatePolicy};

use crate::source::PartitionCount;
use crate::source::local::{self, Settled};
use crate::warehouse::outbox::{DeadRow, Report};
use crate::warehouse::rows::{self as warehouse_rows, EventRow, RowChange};

use super::{CommitFacts, Writer, WriterError, tapped};

/// What became of a record, or that it was not consumed.
pub(super) enum Fate {
    Outcome(Outcome),
    /// Also a duplicate; the id was known with another payload.
    Conflict,
    /// Not consumed: the partition is held.
    Held,
}

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

    /// Records of the local log become durable in the commit that consumes them.
    fn log_local(&self, items: &[Item], write: &WriteTxn) -> Result<(), WriterError> {
        for run in items.chunk_by(|a, b| a.slot == b.slot) {
            let partition = run.first().map(|item| &self.partitions[item.slot.index()]);
            let local = partition.filter(|partition| Writer::is_local(partition));
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
        let watched = self.parts.shared.tap.wanted().then(|| (tapped::what(&body), self.effects.len()));
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
        if Writer::is_local(partition) {
            partition.settled.push((record.offset, Settled { outcome, conflict }));
        }
        if let Some((what, before)) = watched {
            self.tap(&record, outcome, what, before);
        }
        if conflict {
            self.sample_conflict(slot, &record);
        }
        if !self.meta.seeks.is_empty() {
            self.honour_seek(slot);
        }
        Ok(())
    }

    fn change(
        &mut self,
        slot: Slot,
        change: Change,
        (record, arrival): (&Record, Option<Arrival>),
        read: &ReadTxn,
    ) -> Result<Fate, WriterError> {
        let table = change.table;
        if let Some(halt) = &self.meta.tables[table as usize].halt {
            let hold = Hold::Table(halt.clone());
            self.hold(slot, hold);
            return Ok(Fate::Held);
        }
        self.reads += usize::from(change.op == Op::Read);
        self.follow_first(&change, record.partition);
        if matches!(change.body, ChangeBody::Truncate) {
            return self.truncate(slot, &change, place(record), read);
        }
        match self.judged(change, (place(record), false), arrival, read)? {
            Ok(outcome) => Ok(Fate::Outcome(outcome)),
            Err(halt) => {
                self.halt(table, slot, halt);
                Ok(Fate::Held)
            }
        }
    }

    /// Applies a change if it is newer; `Err`: its table must halt. Beside its place: whether it is a dead letter that is
    /// replayed.
    pub(super) fn judged(
        &mut self,
        change: Change,
        place: (Place, bool),
        arrival: Option<Arrival>,
        read: &ReadTxn,
    ) -> Result<Result<Outcome, Halt>, WriterError> {
        let (table, key) = (change.table, change.key);
        let told = (change.op, change.source_ts_us);
        let numbered = change.lsn.is_some() || change.op == Op::Read;
        // A key of several columns may change and keep the row's id: then the tombstone keeps the image for itself.
        let other = |id: Option<Id>| id.filter(|id| *id != key);
        let renamed = (other(change.renamed_from()), other(change.renamed_to()));
        let meta = &self.meta.tables[table as usize];
        let again = (!meta.restarts.is_empty()).then(|| change.clone());
        let before = match change.renamed_from() {
            Some(from) => self.rows.with(table, from, read, |stored| stored.map(<[u8]>::to_vec))?,
            None => None,
        };
        let judged = |stored: Option<&[u8]>| judge_of(change, place, meta, stored, before.as_deref());
        let judgement = self.rows.with(table, key, read, judged)??;
        Ok(match judgement {
            Judgement::Skip(outcome) => Ok(outcome),
            Judgement::Late(late) => {
                self.late(table, key, *late, read)?;
                Ok(Outcome::Stale)
            }
            Judgement::Halt(regression) => match again.filter(|_| meta.restarts.decided(key, regression.lsn)) {
                Some(change) if self.raise_epoch(table).is_some() => {
                    let lsn = regression.lsn;
                    tracing::warn!(
                        "{table}: the source's log began again at LSN {lsn}, as decided before: a new epoch"
                    );
                    // Once: no change is a regression to a row of an earlier epoch.
                    return self.judged(change, place, arrival, read);
                }
                _ => Err(Halt::LsnRegression(regression)),
            },
            Judgement::Write(written) => {
                self.meta.tables[table as usize].without_lsn |= !numbered;
                let mut written = *written;
                let (lsn, image) = (written.lsn, written.image.take());
                self.write_row(table, key, written, told, arrival);
                match renamed {
                    (_, Some(to)) => self.moved(table, (key, to), image, read)?,
                    (Some(from), _) => self.drop_image(table, (from, key), lsn, read)?,
                    (None, None) => {}
                }
                Ok(Outcome::Applied)
            }
        })
    }

    /// Follows the reads that stand before a partition's first streamed change.
    fn follow_first(&mut self, change: &Change, partition: i32) {
        let first = &mut self.meta.tables[change.table as usize].first;
        match (change.op, change.lsn) {
            (Op::Read, Some(lsn)) => {
                first.read(partition, lsn);
                if change.ends_snapshot {
                    first.whole(lsn);
                }
            }
            // A read of an incremental snapshot stands in the stream, but nothing says that it does.
            (Op::Read | Op::Unknown, None) => {}
            _ => first.streamed(partition),
        }
    }

    /// `told` is the operation and the time of the source's commit, as the record had them.
    pub(super) fn write_row(
        &mut self,
        table: Table,
        key: Id,
        written: Written,
        told: (Op, Option<i64>),
        arrival: Option<Arrival>,
    ) {
        let of = |row: Option<&Row>| row.and_then(|row| facts(table, row));
        let (mut old, new) = (of(written.old.as_ref()), of(written.new.as_ref()));
        if mutant::is(Mutant::TrustBefore) && new.is_none() {
            old = None;
        }
        if old != new {
            let counted = new.as_ref().and_then(Facts::counted);
            let ahead = counted.and_then(|(_, at_us)| self.time.ahead(arrival, at_us.div_euclid(1_000)));
            let ahead = ahead.map(Arrival::ms);
            ahead.into_iter().for_each(|at_ms| self.journal.push(Step::Dated { at_ms }));
            effects((key, old, new), ahead, |effect| self.effects.push(effect));
        }
        if let Some(outbox) = &mut self.outbox {
            let change = RowChange {
                table,
                key,
                row: written.new.as_ref().or(written.old.as_ref()),
                deleted: written.new.is_none(),
                op: told.0,
                version: written.version.number(),
                lsn: written.lsn,
                source_ts_us: told.1.unwrap_or(0),
            };
            outbox.change(&change, self.parts.clock.now_ms());
        }
        self.toast_unfilled += u64::from(written.unfilled);
        self.journal.push(Step::Row { table, key, stored: &written.stored });
        self.rows.put(table, key, written.stored);
    }

    fn truncate(&mut self, slot: Slot, change: &Change, place: Place, read: &ReadTxn) -> Result<Fate, WriterError> {
        let table = change.table;
        let partition = self.partitions[slot.index()].name.clone();
        let (lsn, source_ts_us) = (change.lsn, change.source_ts_us);
        let at = Truncation { partition, offset: place.offset, lsn, source_ts_us };
        let decided = self.meta.tables[table as usize].decided.decided(&at);
        match decided.map_or(self.parts.settings.truncate, TruncatePolicy::from) {
            TruncatePolicy::Ignore => {
                tracing::warn!(%table, kind = ?Ignored::Truncate, "a truncate of the source table was ignored");
                Ok(Fate::Outcome(Outcome::Ignored))
            }
            TruncatePolicy::Quarantine => {
                self.halt(table, slot, Halt::Truncate { table, at: Some(at) });
                Ok(Fate::Held)
            }
            TruncatePolicy::Apply => {
                if let Err(halt) = self.apply_truncate(change, place, read)? {
                    self.halt(table, slot, halt);
                    return Ok(Fate::Held);
                }
                Ok(Fate::Outcome(Outcome::Applied))
            }
        }
    }

    /// Deletes every row of the table that is older than the truncate; `Err`: the table must halt.
    fn apply_truncate(
        &mut self,
        change: &Change,
        place: Place,
        read: &ReadTxn,
    ) -> Result<Result<(), Halt>, WriterError> {
        let table = change.table;
        let meta = &self.meta.tables[table as usize];
        let epoch = meta.epoch;
        // Told again: what it deletes is gone, and what is there is newer.
        let known = |truncated: Truncated| {
            truncated.epoch == epoch
                && change.lsn.is_some_and(|lsn| lsn <= truncated.lsn)
                && change.source_ts_us <= truncated.source_ts_us
        };
        if meta.truncated.is_some_and(known) {
            return Ok(Ok(()));
        }
        let (mut gone, mut halt, mut failed) = (Vec::new(), None, None);
        let mut decided = false;
        self.rows.scan(table, read, |key, stored| match truncate_row((table, key), stored, change, place, meta) {
            Ok(Judgement::Write(written)) => gone.push((key, *written)),
            Ok(Judgement::Skip(_) | Judgement::Late(_)) => {}
            Ok(Judgement::Halt(regression)) => {
                decided |= meta.restarts.decided(regression.key, regression.lsn);
                halt = Some(Halt::LsnRegression(regression));
            }
            Err(error) => failed = Some(error),
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if let Some(halt) = halt {
            // Decided before a rebuild. Once: no truncate is a regression to a row of an earlier epoch.
            return match decided && self.raise_epoch(table).is_some() {
                true => self.apply_truncate(change, place, read),
                false => Ok(Err(halt)),
            };
        }
        for (key, written) in gone {
            self.write_row(table, key, written, (change.op, change.source_ts_us), None);
        }
        if let Some(lsn) = change.lsn {
            let latest = &mut self.meta.tables[table as usize].truncated;
            let truncated = Truncated { epoch, lsn, source_ts_us: change.source_ts_us, partition: place.partition };
            *latest = (*latest).max(Some(truncated));
        }
        Ok(Ok(()))
    }

    /// Whether the event was late at its arrival.
    pub(super) fn too_old(&self, event: &ClientEvent, arrival: Arrival) -> bool {
        arrival.ms().saturating_sub(event.event_time_ms) > self.parts.settings.event_max_age_ms
    }

    /// Whether the event may be a copy of one whose key is forgotten: copies arrive no earlier than their time.
    pub(super) fn forgotten(&self, event: &ClientEvent, arrival: Arrival) -> bool {
        event.event_time_ms.min(arrival.ms()) < self.meta.dedup_floor_ms
    }

    /// An event that is not late. `emit`: the row goes to ClickHouse too.
    pub(super) fn event(
        &mut self,
        event: &ClientEvent,
        entry: Entry,
        arrival_ms: i64,
        emit: bool,
        read: &ReadTxn,
    ) -> Result<Fate, WriterError> {
        match self.dedup.check(entry, read)? {
            Seen::Duplicate => return Ok(Fate::Outcome(Outcome::Duplicate)),
            Seen::Conflict => return Ok(Fate::Conflict),
            Seen::New => {}
        }
        // One that arrived before the floor is here by force, and remembered from now on.
        self.dedup.insert(entry, arrival_ms.max(self.meta.dedup_floor_ms));
        let at_ms = event.event_time_ms.min(arrival_ms);
        let ClientEvent { user_id: user, post_id: post, action, dwell_ms, .. } = *event;
        self.journal.push(Step::Event { user, post, action, at_ms, dwell_ms });
        self.effects.push(Effect::Event { user, post, action, at_ms, dwell_ms });
        if emit && self.outbox.is_some() && !self.dedup.delivered(entry, read)? {
            let author = self.author(event, read)?;
            let row = EventRow { event, author, at_ms, arrival_ms, store: 0, batch: 0 };
            let now_ms = self.parts.clock.now_ms();
            if let Some(outbox) = &mut self.outbox {
                outbox.event(&row, now_ms);
            }
        }
        Ok(Fate::Outcome(Outcome::Applied))
    }

    /// The author of an event's post: the row's, else what the client said, else nobody.
    fn author(&self, event: &ClientEvent, read: &ReadTxn) -> Result<Id, WriterError> {
        {
            let state = self.parts.state.read();
            let author = state.post_ids.number(event.post_id).and_then(|post| state.posts.author(post));
            if let Some(author) = author {
                return Ok(state.users.id(author));
            }
        }
        // The post may have come in the commit at hand.
        let of = |bytes: Option<&[u8]>| -> Result<_, CodecError> {
            let Some(bytes) = bytes else { return Ok(None) };
            Ok(StoredRow::decode(bytes)?.row()?.and_then(|row| facts(Table::Posts, &row)))
        };
        Ok(match self.rows.with(Table::Posts, event.post_id, read, of)?? {
            Some(Facts::Post { author, .. }) => author,
            _ => event.author_id.unwrap_or(Id::NIL),
        })
    }

    /// A batch of the outbox goes out in pieces, or is in ClickHouse; rows that it refused become dead letters.
    pub(super) fn delivered(&mut self, report: &Report, write: &WriteTxn) -> Result<(), WriterError> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        let delivered = match report {
            Report::InPieces { batch } => return Ok(outbox.in_pieces(*batch, write)?),
            Report::Settled(settled) => settled,
        };
        if !outbox.settle(delivered, write, self.parts.clock.now_ms())? {
            return Ok(());
        }
        for DeadRow { row, detail } in &delivered.dead {
            let record = Record {
                topic: delivered.target.name().into(),
                partition: 0,
                offset: delivered.batch as i64,
                timestamp_ms: self.parts.clock.now_ms(),
                key: Some(warehouse_rows::id(row).to_string().into()),
                value: Some(row.clone()),
                headers: Vec::new(),
                defect: None,
                origin: None,
                lsn_delta: 0,
            };
            let dead = Dead { stage: Stage::Warehouse, reason: "row-refused", detail: detail.clone() };
            let letter = self.letter(dead, &record);
            self.bury(letter);
        }
        Ok(())
    }
}

pub(super) fn place(record: &Record) -> Place {
    // A row that came over Kafka stands elsewhere: offsets of the two say nothing about each other.
    let partition = if record.origin.is_some() { REPLICATION_PLACE } else { record.partition };
    Place { partition: Some(partition), offset: record.offset }
}

/// The partition in the place of a row that PostgreSQL itself told: one that no broker and no local log has.
const REPLICATION_PLACE: i32 = -2;
