//! Judges a change or a dead letter against the stored rows. The functions of this file change nothing: the writer
//! carries a judgement out, or only reports it.

use std::collections::BTreeSet;

use nova_storage::ReadTxn;
use nova_storage::codec::DeadLetter;

use crate::arrival::Arrival;
use crate::decode::client;
use crate::event::{Change, ChangeBody, ClientEvent, Decoded, Ignored, Outcome, Stage, Table};
use crate::pipeline::TruncatePolicy;
use crate::pipeline::apply::{Judgement, judge_of};
use crate::pipeline::dead;
use crate::pipeline::dedup::{Entry, Seen};
use crate::pipeline::halt::Halt;
use crate::pipeline::stored::Place;

use super::command::{CommandError, Tried};
use super::error::WriterError;
use super::place::place;
use super::structures::Writer;

/// Returns the letter with this id, if a replay can have an effect on it.
pub(super) fn replayable(id: u64, letter: Option<DeadLetter>) -> Result<DeadLetter, CommandError> {
    let letter = letter.ok_or(CommandError::NoSuchLetter(id))?;
    let kept = letter.value.as_ref().map_or(0, Vec::len);
    if (kept as u64) < letter.value_bytes {
        return Err(CommandError::Cut { id, kept, whole: letter.value_bytes });
    }
    if letter.stage == Stage::Warehouse.name() {
        return Err(CommandError::NotARecord(id));
    }
    if letter.stage == Stage::Source.name() {
        return Err(CommandError::NotALine(id));
    }
    Ok(letter)
}

impl Writer {
    /// Returns the judgement about a change. The flag in the pair with the place says whether the change is a replayed
    /// dead letter.
    pub(super) fn judgement(
        &self,
        change: Change,
        place: (Place, bool),
        read: &ReadTxn,
    ) -> Result<Judgement, WriterError> {
        let (table, key) = (change.table, change.key);
        let before = match change.renamed_from() {
            Some(from) => self.rows.with(table, from, read, |stored| stored.map(<[u8]>::to_vec))?,
            None => None,
        };
        let meta = &self.meta.tables[table as usize];
        let judged = |stored: Option<&[u8]>| judge_of(change, place, meta, stored, before.as_deref());
        Ok(self.rows.with(table, key, read, judged)??)
    }

    /// Returns the reason for which nova does not replay the event of a dead letter: nova no longer knows whether it
    /// applied the event. `force` has the letters whose events are already in ClickHouse.
    pub(super) fn unknowable(
        &self,
        id: u64,
        (event, arrival): (&ClientEvent, Arrival),
        force: Option<&BTreeSet<u64>>,
    ) -> Option<CommandError> {
        match force {
            _ if !self.forgotten(event, arrival) => None,
            None => Some(CommandError::BeyondHorizon(id)),
            Some(sent) => sent.contains(&id).then_some(CommandError::Sent(id)),
        }
    }

    /// Returns the outcome of a truncate that is a dead letter. nova never applies a dead truncate. The truncate's
    /// place in the log is lost, so the truncate could delete rows that came after it.
    pub(super) fn dead_truncate(&self, id: u64, table: Table) -> Result<Outcome, CommandError> {
        match self.parts.settings.truncate {
            TruncatePolicy::Ignore => Ok(Outcome::Ignored),
            TruncatePolicy::Apply | TruncatePolicy::Quarantine => Err(CommandError::Truncates(id, table)),
        }
    }

    /// Returns what a replay of only this letter would do now. nova remembers nothing of the letter. nova does not ask
    /// the registry for a schema, because the writer's thread must not wait for the registry.
    pub(super) fn try_dead(
        &self,
        id: u64,
        force: Option<&BTreeSet<u64>>,
        read: &ReadTxn,
    ) -> Result<Result<Tried, CommandError>, WriterError> {
        let letter = match replayable(id, dead::get(read, id)?) {
            Ok(letter) => letter,
            Err(error) => return Ok(Err(error)),
        };
        let record = dead::record(&letter);
        // If a replay is only a trial, its record must not change the watermark.
        let mut time = self.time.clone();
        let arrival = time.record(record.timestamp_ms);
        let gone = |outcome, why: &str| Ok(Ok(Tried { outcome: Some(outcome), why: why.to_owned() }));
        match self.parts.decoder.decode_unremembered(&record) {
            Decoded::Event(event) => {
                let arrival = time.event(arrival, event.event_time_ms);
                if let Some(error) = self.unknowable(id, (&event, arrival), force) {
                    return Ok(Err(error));
                }
                if self.too_old(&event, arrival) {
                    return gone(Outcome::Late, "the event was too old when it arrived");
                }
                let identity = client::dedup_key(event.user_id, event.event_id);
                match self.dedup.check(Entry::new(identity, client::payload_hash(&event)), read)? {
                    Seen::New => gone(Outcome::Applied, "the event counts"),
                    Seen::Duplicate => gone(Outcome::Duplicate, "the event has counted already"),
                    Seen::Conflict => gone(Outcome::Duplicate, "an event of this id has counted, with another payload"),
                }
            }
            Decoded::Change(change) if matches!(change.body, ChangeBody::Truncate) => {
                match self.dead_truncate(id, change.table) {
                    Ok(outcome) => gone(outcome, "cdc.truncate says that a truncate is ignored"),
                    Err(error) => Ok(Err(error)),
                }
            }
            Decoded::Change(change) => {
                let place = (place(&record), true);
                self.try_change(change, place, read)
            }
            Decoded::Ignore(Ignored::UnknownTopic) => Ok(Err(CommandError::NotFollowed(id, letter.topic))),
            Decoded::Ignore(_) | Decoded::Snapshot(_) => gone(Outcome::Ignored, "it means nothing to nova"),
            Decoded::Dead(dead) => Ok(Ok(Tried { outcome: None, why: format!("{}: {}", dead.reason, dead.detail) })),
            Decoded::Wait(wait) => Ok(Ok(Tried { outcome: None, why: format!("{}: {}", wait.reason, wait.detail) })),
        }
    }

    fn try_change(
        &self,
        change: Change,
        place: (Place, bool),
        read: &ReadTxn,
    ) -> Result<Result<Tried, CommandError>, WriterError> {
        let (table, key) = (change.table, change.key);
        let row = format!("{table} {key}");
        let (outcome, why) = match self.judgement(change, place, read)? {
            Judgement::Write(written) if written.new.is_some() => (Outcome::Applied, format!("{row} is written")),
            Judgement::Write(_) => (Outcome::Applied, format!("{row} is deleted")),
            Judgement::Late(_) | Judgement::Skip(Outcome::Stale) => {
                (Outcome::Stale, format!("what is stored of {row} is newer"))
            }
            Judgement::Skip(Outcome::Duplicate) => (Outcome::Duplicate, format!("{row} has this change already")),
            Judgement::Skip(outcome) => (outcome, format!("it changes nothing of {row}")),
            // A person has already decided that a change with this LSN begins a new epoch.
            Judgement::Halt(regression) if self.meta.tables[table as usize].restarts.decided(key, regression.lsn) => {
                (Outcome::Applied, format!("{row} is written in a new epoch of the table"))
            }
            Judgement::Halt(regression) => {
                return Ok(Err(CommandError::Halted(table, Box::new(Halt::LsnRegression(regression)))));
            }
        };
        Ok(Ok(Tried { outcome: Some(outcome), why }))
    }
}
