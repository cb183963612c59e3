//! What each record of a batch causes.

use nova_storage::codec::{CodecError, DeadLetter};
use nova_storage::{ReadTxn, WriteTxn};

use crate::decode::facts;
use crate::event::{
    Change, ChangeBody, ClientEvent, DEAD_VALUE_MAX_BYTES, Dead, Effect, Facts, Id, Ignored, Op, Outcome, Record, Row,
    Stage, Table, TopicPartition,
};
use crate::pipeline::apply::{Judgement, Written, judge, truncate_row};
use crate::pipeline::dedup::{Entry, Seen};
use crate::pipeline::journal::Step;
use crate::pipeline::meta::Truncated;
use crate::pipeline::rows::{StoredRow, Version};
use crate::pipeline::{Batch, Body, Item, TruncatePolicy};

use crate::source::PartitionCount;
use crate::source::local::{self, Settled};
use crate::warehouse::outbox::{DeadRow, Settled as Delivered};
use crate::warehouse::rows::{self as warehouse_rows, EventRow, RowChange};

use super::{CommitFacts, Writer, WriterError};

/// Conflicts of a partition that all go to the dead letters; of later ones every [`CONFLICT_SAMPLE_EVERY`]th.
const CONFLICT_SAMPLE_FIRST: u64 = 1_000;
const CONFLICT_SAMPLE_EVERY: u64 = 1_000;
/// Detail of a dead letter, cut beyond this.
const DETAIL_MAX_BYTES: usize = 1_000;

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
        for name in batch.new_partitions {
            self.add_partition(name, Default::default());
        }
        for (slot, count) in batch.redelivered {
            let partition = &mut self.partitions[slot as usize];
            partition.redelivered += count;
            partition.touched = true;
        }
        for (slot, reason) in batch.faults {
            self.partitions[slot as usize].fault = true;
            self.hold(slot, reason);
        }
        for PartitionCount { topic, partitions } in batch.counts {
            self.counted(&topic, partitions);
        }
        self.log_local(&batch.items, write)?;
        for item in batch.items {
            let partition = &self.partitions[item.slot as usize];
            if partition.hold.is_some() || partition.rewind != item.rewind {
                continue;
            }
            let arrival_ms = item.record.timestamp_ms;
            facts.oldest_arrival_ms = Some(facts.oldest_arrival_ms.map_or(arrival_ms, |old| old.min(arrival_ms)));
            facts.newest_arrival_ms = Some(facts.newest_arrival_ms.map_or(arrival_ms, |new| new.max(arrival_ms)));
            self.item(item, read)?;
        }
        Ok(())
    }

    /// Records of the local log become durable in the commit that consumes them.
    fn log_local(&self, items: &[Item], write: &WriteTxn) -> Result<(), WriterError> {
        for run in items.chunk_by(|a, b| a.slot == b.slot) {
            let partition = run.first().map(|item| &self.partitions[item.slot as usize]);
            if partition.is_some_and(Writer::is_local) {
                local::put_log(write, run.iter().map(|item| &item.record))?;
            }
        }
        Ok(())
    }

    fn item(&mut self, item: Item, read: &ReadTxn) -> Result<(), WriterError> {
        let Item { slot, digest, record, body, .. } = item;
        let is_event = matches!(body, Body::Event(..));
        let fate = match body {
            Body::Change(change) => self.change(slot, change, &record, read)?,
            Body::Event(event, entry) => {
                let name = &self.partitions[slot as usize].name;
                let emit = self.emitted.get(name).is_none_or(|until| record.offset >= *until);
                match self.too_old(&event, &record) || self.forgotten(&event, &record) {
                    true => Fate::Outcome(Outcome::Late),
                    false => self.event(&event, entry, record.timestamp_ms, emit, read)?,
                }
            }
            Body::Ignore(_) => Fate::Outcome(Outcome::Ignored),
            Body::Dead(dead) => self.dead(slot, dead, &record),
        };
        let (outcome, conflict) = match fate {
            Fate::Held => return Ok(()),
            Fate::Outcome(outcome) => (outcome, false),
            Fate::Conflict => (Outcome::Duplicate, true),
        };
        let partition = &mut self.partitions[slot as usize];
        let row = &mut partition.row;
        row.next = record.offset + 1;
        row.consumed += 1;
        row.outcomes[outcome as usize] += 1;
        row.conflicts += u64::from(conflict);
        row.digest = digest;
        row.arrival_ms = row.arrival_ms.max(record.timestamp_ms);
        row.carries_events |= is_event;
        partition.touched = true;
        if outcome != Outcome::Dead {
            partition.dead_in_a_row = 0;
        }
        if Writer::is_local(partition) {
            partition.settled.push((record.offset, Settled { outcome, conflict }));
        }
        if conflict {
            self.sample_conflict(slot, &record);
        }
        Ok(())
    }

    fn change(&mut self, slot: u32, change: Change, record: &Record, read: &ReadTxn) -> Result<Fate, WriterError> {
        let table = change.table;
        if let Some(reason) = &self.meta.tables[table as usize].halt {
            let reason = reason.to_string();
            self.hold(slot, reason);
            return Ok(Fate::Held);
        }
        if matches!(change.body, ChangeBody::Truncate) {
            return self.truncate(slot, &change, record.offset, read);
        }
        match self.judged(change, record.offset, read)? {
            Ok(outcome) => Ok(Fate::Outcome(outcome)),
            Err(reason) => {
                self.halt(table, slot, reason);
                Ok(Fate::Held)
            }
        }
    }

    /// Applies a change if it is newer; `Err` is the reason for which its table must halt.
    pub(super) fn judged(
        &mut self,
        change: Change,
        offset: i64,
        read: &ReadTxn,
    ) -> Result<Result<Outcome, String>, WriterError> {
        let (table, key) = (change.table, change.key);
        let (told, without_lsn) = ((change.op, change.source_ts_us), change.lsn.is_none());
        let meta = &self.meta.tables[table as usize];
        let judgement = self.rows.with(table, key, read, |stored| judge(change, offset, meta, stored))??;
        Ok(match judgement {
            Judgement::Skip(outcome) => Ok(outcome),
            Judgement::Halt(reason) => Err(reason.to_string()),
            Judgement::Write(written) => {
                self.meta.tables[table as usize].without_lsn |= without_lsn;
                self.write_row(table, key, *written, told);
                Ok(Outcome::Applied)
            }
        })
    }

    /// `told` is the operation and the time of the source's commit, as the record had them.
    fn write_row(&mut self, table: Table, key: Id, written: Written, told: (Op, Option<i64>)) {
        let of = |row: Option<&Row>| row.and_then(|row| facts(table, row));
        let (old, new) = (of(written.old.as_ref()), of(written.new.as_ref()));
        if old != new {
            self.effects.push(Effect::Row { key, old, new });
        }
        if let Some(outbox) = &mut self.outbox {
            let change = RowChange {
                table,
                key,
                row: written.new.as_ref().or(written.old.as_ref()),
                deleted: written.new.is_none(),
                op: told.0,
                version: written.version.number(),
                lsn: written.version.lsn,
                source_ts_us: told.1.unwrap_or(0),
            };
            outbox.change(&change, self.parts.clock.now_ms());
        }
        self.toast_unfilled += u64::from(written.unfilled);
        self.journal.push(Step::Row { table, key, stored: &written.stored });
        self.rows.put(table, key, written.stored);
    }

    fn truncate(&mut self, slot: u32, change: &Change, offset: i64, read: &ReadTxn) -> Result<Fate, WriterError> {
        let table = change.table;
        let decided = self.meta.tables[table as usize].truncate_once.take();
        match decided.unwrap_or(self.parts.settings.truncate) {
            TruncatePolicy::Ignore => {
                tracing::warn!(%table, kind = ?Ignored::Truncate, "a truncate of the source table was ignored");
                Ok(Fate::Outcome(Outcome::Ignored))
            }
            TruncatePolicy::Quarantine => {
                let reason = format!(
                    "truncate: the source truncated {table}. To delete its rows here too: nova cdc resume {table} \
                     --truncate apply; to keep them: nova cdc resume {table} --truncate ignore"
                );
                self.halt(table, slot, reason);
                Ok(Fate::Held)
            }
            TruncatePolicy::Apply => {
                if let Err(reason) = self.apply_truncate(change, offset, read)? {
                    self.halt(table, slot, reason);
                    return Ok(Fate::Held);
                }
                Ok(Fate::Outcome(Outcome::Applied))
            }
        }
    }

    /// Deletes every row of the table that is older than the truncate; `Err` is the reason for which it must halt.
    fn apply_truncate(
        &mut self,
        change: &Change,
        offset: i64,
        read: &ReadTxn,
    ) -> Result<Result<(), String>, WriterError> {
        let table = change.table;
        let epoch = self.meta.tables[table as usize].epoch;
        let version = Version { epoch, lsn: change.lsn.unwrap_or(u64::MAX), offset };
        let (mut gone, mut halt, mut failed) = (Vec::new(), None, None);
        self.rows.scan(table, read, |key, stored| {
            match truncate_row((table, key), stored, version, change.source_ts_us) {
                Ok(Judgement::Write(written)) => gone.push((key, *written)),
                Ok(Judgement::Skip(_)) => {}
                Ok(Judgement::Halt(reason)) => halt = Some(reason.to_string()),
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(reason) = halt {
            return Ok(Err(reason));
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        for (key, written) in gone {
            self.write_row(table, key, written, (change.op, change.source_ts_us));
        }
        if let Some(lsn) = change.lsn {
            let latest = &mut self.meta.tables[table as usize].truncated;
            *latest = (*latest).max(Some(Truncated { epoch, lsn, source_ts_us: change.source_ts_us }));
        }
        Ok(Ok(()))
    }

    /// Whether the event was late at its arrival.
    pub(super) fn too_old(&self, event: &ClientEvent, record: &Record) -> bool {
        record.timestamp_ms.saturating_sub(event.event_time_ms) > self.parts.settings.event_max_age_ms
    }

    /// Whether the event may be a copy of one whose key is forgotten: copies arrive no earlier than their time.
    pub(super) fn forgotten(&self, event: &ClientEvent, record: &Record) -> bool {
        event.event_time_ms.min(record.timestamp_ms) < self.meta.dedup_floor_ms
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

    /// A batch of the outbox is in ClickHouse; rows that it refused become dead letters.
    pub(super) fn delivered(&mut self, delivered: &Delivered, write: &WriteTxn) -> Result<(), WriterError> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
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
            };
            let dead = Dead { stage: Stage::Warehouse, reason: "row-refused", detail: detail.clone() };
            let letter = self.letter(dead, &record);
            self.bury(letter);
        }
        Ok(())
    }

    fn dead(&mut self, slot: u32, dead: Dead, record: &Record) -> Fate {
        if self.dead_letters >= self.parts.settings.dead_max_letters {
            let reason = format!(
                "dead-letter-quota: {} dead letters wait; replay or discard some (nova dlq list), then start again",
                self.dead_letters
            );
            self.hold(slot, reason);
            return Fate::Held;
        }
        let name = self.partitions[slot as usize].name.clone();
        // Of the whole topic: it is broken in all its partitions at once.
        let of_topic = self.partitions.iter().filter(|partition| partition.name.topic == name.topic);
        let in_a_row: u32 = of_topic.map(|partition| partition.dead_in_a_row).sum();
        if self.parts.settings.breaker_dead_in_a_row.is_some_and(|limit| in_a_row >= limit) {
            let TopicPartition { topic, partition } = &name;
            let reason = format!(
                "topic-breaker: {in_a_row} undecodable records of {topic} in a row, the last because of {} ({}); repair the \
                 producer or the connector, then start again; to give up records that stay undecodable: nova cdc seek \
                 {topic} {partition} OFFSET",
                dead.reason, dead.detail
            );
            self.hold(slot, reason);
            return Fate::Held;
        }
        self.partitions[slot as usize].dead_in_a_row += 1;
        let letter = self.letter(dead, record);
        self.bury(letter);
        Fate::Outcome(Outcome::Dead)
    }

    fn sample_conflict(&mut self, slot: u32, record: &Record) {
        let count = self.partitions[slot as usize].row.conflicts;
        if count <= CONFLICT_SAMPLE_FIRST || count.is_multiple_of(CONFLICT_SAMPLE_EVERY) {
            let dead = Dead {
                stage: Stage::Dedup,
                reason: "conflict",
                detail: "event_id: known with another payload; the first one was kept".to_owned(),
            };
            let letter = self.letter(dead, record);
            self.bury(letter);
        }
    }

    fn letter(&self, dead: Dead, record: &Record) -> DeadLetter {
        // A row that ClickHouse refused is nova's own encoding, which holds nothing private.
        let masks = dead.stage != Stage::Warehouse;
        let kept = |bytes: &bytes::Bytes| match (&bytes[..bytes.len().min(DEAD_VALUE_MAX_BYTES)], masks) {
            (bytes, true) => self.parts.decoder.mask(&record.topic, bytes).into_owned(),
            (bytes, false) => bytes.to_vec(),
        };
        let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let mut detail = dead.detail;
        if detail.len() > DETAIL_MAX_BYTES {
            detail.truncate(detail.floor_char_boundary(DETAIL_MAX_BYTES));
        }
        DeadLetter {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            died_at_ms: self.parts.clock.now_ms(),
            stage: dead.stage.name().to_owned(),
            reason: dead.reason.to_owned(),
            detail,
            attempts: 1,
            key: record.key.as_ref().map(kept),
            value: record.value.as_ref().map(kept),
            key_bytes: length(&record.key),
            value_bytes: length(&record.value),
            headers: record.headers.iter().map(|(name, value)| (name.to_string(), kept(value))).collect(),
        }
    }
}
