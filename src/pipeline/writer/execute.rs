//! Executes the commands of people and of the HTTP edge in the present commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use nova_storage::codec::DeadLetter;
use nova_storage::schema::{AUDIT, DEAD, EDGE};
use nova_storage::{ReadTxn, WriteTxn};

use crate::decode::client;
use crate::event::{ChangeBody, Decoded, Ignored, Outcome, Table, TopicPartition};
use crate::pipeline::apply::Regression;
use crate::pipeline::audit::Entry as Deed;
use crate::pipeline::dead;
use crate::pipeline::decided::{Decision, Seek};
use crate::pipeline::dedup::Entry;
use crate::pipeline::halt::{Halt, Hold};
use crate::source::local::LOCAL_PARTITION;
use crate::source::postgres::position;

use super::command::{Audit, Command, CommandError, EdgeEntry, Replayed, SEEK_MAX};
use super::error::WriterError;
use super::fate::Fate;
use super::judging::replayable;
use super::place::place;
use super::structures::Writer;

impl Writer {
    pub(super) fn command(
        &mut self,
        command: Command,
        read: &ReadTxn,
        write: &WriteTxn,
    ) -> Result<Box<dyn FnOnce()>, WriterError> {
        Ok(match command {
            Command::EndRebuild { reply } => {
                let waiting = self.end_rebuild(read, write)?;
                Box::new(move || reply(waiting))
            }
            Command::EndFirstSnapshot { reply } => {
                let deleted = self.end_first_snapshot(read)?;
                Box::new(move || reply(deleted))
            }
            Command::Edge { entries, audit, reply } => {
                for EdgeEntry { kind, name, value } in entries {
                    match value {
                        Some(value) => write.put(EDGE, (kind, &name), &value)?,
                        None => drop(write.remove(EDGE, (kind, &name))?),
                    }
                }
                if let Some(Audit { actor, action, subject, detail }) = audit {
                    self.audit(&actor, action, &subject, &detail, write)?;
                }
                Box::new(move || reply(()))
            }
            Command::ReplayDead { ids, actor, force, reply } => {
                let mut results = Vec::with_capacity(ids.len());
                for id in ids {
                    let result = self.replay_dead(id, force.as_ref(), read, write)?;
                    if let Ok(Replayed::Gone(outcome)) = result {
                        self.audit(&actor, "dlq-replay", &id.to_string(), outcome.name(), write)?;
                    }
                    results.push((id, result));
                }
                Box::new(move || reply(results))
            }
            Command::TryDead { ids, force, reply } => {
                let mut results = Vec::with_capacity(ids.len());
                for id in ids {
                    results.push((id, self.try_dead(id, force.as_ref(), read)?));
                }
                Box::new(move || reply(results))
            }
            Command::DiscardDead { id, actor, reason, reply } => {
                let result = if write.remove(DEAD, id)? {
                    self.unbury(id);
                    self.audit(&actor, "dlq-discard", &id.to_string(), &reason, write)?;
                    Ok(())
                } else {
                    Err(CommandError::NoSuchLetter(id))
                };
                Box::new(move || reply(result))
            }
            Command::Pause { table, actor, reply } => {
                // The table already has a halt, whose reason is more important than a pause.
                if self.meta.tables[table as usize].halt.is_none() {
                    self.halt_all(table, Halt::Paused { table, actor: actor.as_str().into() });
                }
                self.audit(&actor, "cdc-pause", table.name(), "", write)?;
                Box::new(move || reply(()))
            }
            Command::Resume { table, truncate, actor, reply } => {
                let result = self.resume(table, truncate);
                if result.is_ok() {
                    let truncate = truncate.map_or(String::new(), |decision| format!("truncate {decision}"));
                    self.audit(&actor, "cdc-resume", table.name(), &truncate, write)?;
                }
                Box::new(move || reply(result))
            }
            Command::Seek { partition, next, actor, reply } => {
                let result = self.seek(&partition, next);
                if result.is_ok() {
                    self.audit(&actor, "cdc-seek", &partition.to_string(), &next.to_string(), write)?;
                }
                Box::new(move || reply(result))
            }
            Command::Resnapshot { partition, tables, actor, reply } => {
                self.restart(&partition, |cookie| position::again(cookie, tables));
                let names = tables.iter().map(Table::name).collect::<Vec<_>>().join(" ");
                self.audit(&actor, "cdc-resnapshot", &partition.to_string(), &names, write)?;
                Box::new(move || reply(()))
            }
            Command::BumpEpoch { table, actor, reply } => {
                let raised = self.raise_epoch(table);
                let meta = &mut self.meta.tables[table as usize];
                let epoch = raised.unwrap_or(meta.epoch);
                if let Some(Halt::LsnRegression(Regression { key, lsn, .. })) = meta.halt {
                    meta.restarts.decide(key, lsn);
                }
                self.audit(&actor, "cdc-epoch-bump", table.name(), &epoch.to_string(), write)?;
                // If the table is not halted, the command raises the table's epoch and changes nothing else.
                drop(self.resume(table, None));
                Box::new(move || reply(epoch))
            }
        })
    }

    fn resume(&mut self, table: Table, truncate: Option<Decision>) -> Result<(), CommandError> {
        let meta = &mut self.meta.tables[table as usize];
        let Some(halt) = &meta.halt else { return Err(CommandError::NotHalted(table)) };
        match (halt, truncate) {
            (Halt::Truncate { .. }, None) => return Err(CommandError::Undecided(table)),
            (Halt::Truncate { at, .. }, Some(decision)) => meta.decided.decide(at.clone(), decision),
            (halt, Some(_)) => return Err(CommandError::NoTruncate(table, halt.clone().into())),
            (Halt::Partitions(_), None) if meta.without_lsn => {
                return Err(CommandError::NoOrder(table, halt.clone().into()));
            }
            (Halt::Partitions(_), None) => meta.partitions = meta.partitions_found,
            (Halt::LsnRegression(_) | Halt::Paused { .. } | Halt::Other(_), None) => {}
        }
        meta.halt = None;
        let next = meta.repartitioned(table);
        self.release_all();
        if let Some(repartitioned) = next {
            self.halt_all(table, Halt::Partitions(repartitioned));
        }
        Ok(())
    }

    fn seek(&mut self, name: &TopicPartition, next: i64) -> Result<(), CommandError> {
        self.check_seek(name, next)?;
        let slot = self.parts.shared.slot(name);
        self.catch_up();
        let partition = &self.partitions[slot.index()];
        if partition.hold.as_ref().is_some_and(Hold::needs_seek) {
            // The partition has a different log than before, and a rebuild reads the new log from its beginning.
            self.meta.seeks.forget(name);
        } else {
            let (from, digest) = (partition.row.next, partition.row.digest);
            self.meta.seeks.decide(Seek { partition: name.clone(), from, to: next, digest });
        }
        self.go_to(slot, next);
        Ok(())
    }

    fn check_seek(&self, name: &TopicPartition, next: i64) -> Result<(), CommandError> {
        let TopicPartition { topic, partition } = name;
        let known = self.partitions.iter().find(|one| one.name == *name);
        if known.is_none() && !self.parts.decoder.follows(topic) {
            return Err(CommandError::NoSuchPartition(name.clone()));
        }
        let local = known.filter(|_| *partition == LOCAL_PARTITION);
        if *partition < 0 && local.is_none() {
            return Err(CommandError::Partition(*partition));
        }
        let found =
            self.parts.decoder.table(topic).map_or(0, |table| self.meta.tables[table as usize].partitions_found);
        if found > 0 && i64::from(*partition) >= i64::from(found) {
            return Err(CommandError::PartitionBeyond { topic: Arc::clone(topic), partition: *partition, found });
        }
        if !(0..=SEEK_MAX).contains(&next) {
            return Err(CommandError::Offset(next));
        }
        match local.map(|log| log.row.next) {
            Some(end) if next < end => Err(CommandError::LocalOffset { next, end }),
            _ => Ok(()),
        }
    }

    fn replay_dead(
        &mut self,
        id: u64,
        force: Option<&BTreeSet<u64>>,
        read: &ReadTxn,
        write: &WriteTxn,
    ) -> Result<Result<Replayed, CommandError>, WriterError> {
        let letter = match replayable(id, dead::get(read, id)?) {
            Ok(letter) => letter,
            Err(error) => return Ok(Err(error)),
        };
        let record = dead::record(&letter);
        let arrival = self.time.record(record.timestamp_ms);
        let outcome = match self.parts.decoder.decode(&record) {
            Decoded::Event(event) => {
                let arrival = self.time.event(arrival, event.event_time_ms);
                if let Some(error) = self.unknowable(id, (&event, arrival), force) {
                    return Ok(Err(error));
                }
                let identity = client::dedup_key(event.user_id, event.event_id);
                let entry = Entry::new(identity, client::payload_hash(&event));
                let arrival_ms = arrival.ms().max(self.meta.dedup_floor_ms);
                match self.too_old(&event, arrival) {
                    true => Some(Outcome::Late),
                    false => match self.event(&event, entry, arrival_ms, true, read)? {
                        Fate::Outcome(outcome) => Some(outcome),
                        Fate::Conflict | Fate::Held => Some(Outcome::Duplicate),
                    },
                }
            }
            Decoded::Change(change) if matches!(change.body, ChangeBody::Truncate) => {
                match self.dead_truncate(id, change.table) {
                    Ok(outcome) => Some(outcome),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Decoded::Change(change) => {
                let table = change.table;
                match self.judged(change, (place(&record), true), arrival, read)? {
                    Ok(outcome) => Some(outcome),
                    Err(halt) => return Ok(Err(CommandError::Halted(table, halt.into()))),
                }
            }
            // nova followed the topic when the record became a dead letter, so the record must not be ignored now.
            Decoded::Ignore(Ignored::UnknownTopic) => return Ok(Err(CommandError::NotFollowed(id, letter.topic))),
            Decoded::Ignore(_) | Decoded::Snapshot(_) => Some(Outcome::Ignored),
            Decoded::Dead(_) | Decoded::Wait(_) => None,
        };
        Ok(Ok(match outcome {
            Some(outcome) => {
                // If one command names a letter twice, the second mention still finds the letter in the snapshot of the
                // store that the command reads.
                if !write.remove(DEAD, id)? {
                    return Ok(Err(CommandError::NoSuchLetter(id)));
                }
                self.unbury(id);
                Replayed::Gone(outcome)
            }
            None => {
                let again = DeadLetter { attempts: letter.attempts.saturating_add(1), ..letter };
                write.put(DEAD, id, &again.encode())?;
                Replayed::StillDead
            }
        }))
    }

    /// Adds an entry to the audit log. Entries of the audit log are kept for ever.
    fn audit(
        &mut self,
        actor: &str,
        action: &str,
        subject: &str,
        detail: &str,
        write: &WriteTxn,
    ) -> Result<(), WriterError> {
        let [actor, action, subject, detail] = [actor, action, subject, detail].map(str::to_owned);
        let deed = Deed { at_ms: self.parts.clock.now_ms(), actor, action, subject, detail };
        write.put(AUDIT, self.meta.audit_next, &deed.encode())?;
        self.meta.audit_next += 1;
        Ok(())
    }
}
