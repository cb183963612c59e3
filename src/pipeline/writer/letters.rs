//! Dead letters are records that nova cannot apply. This file stores dead letters with their reasons, and logs them.

use std::sync::Arc;

use nova_storage::codec::DeadLetter;

use crate::decode::Part;
use crate::decode::origin::{self, ORIGIN_HEADER};
use crate::event::{DEAD_VALUE_MAX_BYTES, Dead, Outcome, Record, Stage};
use crate::pipeline::halt::Hold;
use crate::pipeline::progress::{LastDead, Slot};

use super::fate::Fate;
use super::structures::Writer;

/// Each of this many first conflicts of a partition becomes a dead letter. After that, only every
/// [`CONFLICT_SAMPLE_EVERY`]th conflict becomes a dead letter.
const CONFLICT_SAMPLE_FIRST: u64 = 1_000;
const CONFLICT_SAMPLE_EVERY: u64 = 1_000;
/// The length in bytes at which nova cuts the detail of a dead letter.
const DETAIL_MAX_BYTES: usize = 1_000;

impl Writer {
    /// Makes a record a dead letter, or holds the record's partition if there are too many dead letters.
    pub(super) fn dead(&mut self, slot: Slot, dead: Dead, record: &Record) -> Fate {
        if self.dead_letters >= self.parts.settings.dead_max_letters {
            self.hold(slot, Hold::DeadLetterQuota { waiting: self.dead_letters });
            return Fate::Held;
        }
        let name = self.partitions[slot.index()].name.clone();
        // The breaker counts the records of the whole topic, because a broken topic is broken in all its partitions at
        // once.
        let of_topic = self.partitions.iter().filter(|partition| partition.name.topic == name.topic);
        let in_a_row: u32 = of_topic.map(|partition| partition.dead_in_a_row).sum();
        if self.parts.settings.breaker_dead_in_a_row.is_some_and(|limit| in_a_row >= limit) {
            let (next, reason, detail) = (record.offset, dead.reason, dead.detail.into());
            self.hold(slot, Hold::TopicBreaker { partition: name, next, in_a_row, reason, detail });
            return Fate::Held;
        }
        let reason = dead.reason;
        let letter = self.letter(dead, record);
        let last = LastDead { id: self.meta.dead_next, offset: record.offset, reason, detail: letter.detail.clone() };
        self.bury(letter);
        let partition = &mut self.partitions[slot.index()];
        partition.dead_in_a_row += 1;
        // nova logs one line for each reason and not for each dead letter, and there are few reasons.
        if !partition.told.contains(&reason) {
            partition.told.push(reason);
            tracing::error!(partition = %partition.name, "a record was put aside: {last}");
        }
        partition.last_dead = Some(Arc::new(last));
        Fate::Outcome(Outcome::Dead)
    }

    pub(super) fn sample_conflict(&mut self, slot: Slot, record: &Record) {
        let count = self.partitions[slot.index()].row.conflicts;
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

    pub(super) fn letter(&self, dead: Dead, record: &Record) -> DeadLetter {
        // A row that ClickHouse refused is in nova's own encoding, which has no private values.
        let masks = dead.stage != Stage::Warehouse;
        // nova masks the bytes before it cuts them, because the meaning of a cut text is uncertain.
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(DEAD_VALUE_MAX_BYTES)].to_vec();
        let kept = |part: Part<'_>, bytes: &bytes::Bytes| match masks {
            true => cut(&self.parts.decoder.masked(record, part, bytes)),
            false => cut(bytes),
        };
        let origin = origin::encode(record).map(|bytes| (ORIGIN_HEADER.to_owned(), bytes));
        let headers = record.headers.iter().map(|(name, value)| (name.to_string(), kept(Part::Header(name), value)));
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
            key: record.key.as_ref().map(|key| kept(Part::Key, key)),
            value: record.value.as_ref().map(|value| kept(Part::Value, value)),
            key_bytes: length(&record.key),
            value_bytes: length(&record.value),
            headers: headers.chain(origin).collect(),
        }
    }

    /// Gives a dead letter its id and puts the letter into the present commit.
    pub(super) fn bury(&mut self, letter: DeadLetter) {
        self.letters.push((self.meta.dead_next, letter));
        self.meta.dead_next += 1;
        self.dead_letters += 1;
    }

    /// Notes that a dead letter was removed, because it was applied or because a person discarded it.
    pub(super) fn unbury(&mut self, id: u64) {
        self.dead_letters -= 1;
        for partition in &mut self.partitions {
            if partition.last_dead.take_if(|last| last.id == id).is_some() {
                partition.touched = true;
            }
        }
    }
}
