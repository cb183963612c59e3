//! What people and the HTTP edge ask of the writer, each in the commit at hand and answered after it.

use std::collections::BTreeSet;

use nova_storage::codec::{DeadLetter, OffsetRow};
use nova_storage::schema::{AUDIT, DEAD, EDGE};
use nova_storage::{ReadTxn, WriteTxn};

use crate::decode::client;
use crate::event::{Decoded, Ignored, Outcome, Stage, Table, TopicPartition};
use crate::pipeline::TruncatePolicy;
use crate::pipeline::audit::Entry as Deed;
use crate::pipeline::dead;
use crate::pipeline::dedup::Entry;

use super::batch::{Fate, place};
use super::{Writer, WriterError};

/// How an answer is given, after the commit.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// See the module.
pub enum Command {
    /// Puts and removes entries of the edge's table, with who did it where that is kept.
    Edge { entries: Vec<EdgeEntry>, audit: Option<Audit>, reply: Reply<()> },
    /// Decodes dead letters again and applies them; those that succeed are gone in the same commit.
    ReplayDead {
        ids: Vec<u64>,
        actor: String,
        /// Also events from before the dedup horizon, without these letters, whose events were sent
        /// (`pipeline/sent.rs`).
        force: Option<BTreeSet<u64>>,
        reply: Reply<Vec<(u64, Result<Replayed, CommandError>)>>,
    },
    /// Removes a dead letter for ever.
    DiscardDead { id: u64, actor: String, reason: String, reply: Reply<Result<(), CommandError>> },
    /// Halts a table until it is resumed.
    Pause { table: Table, actor: String, reply: Reply<()> },
    /// Goes on with a halted table.
    Resume { table: Table, truncate: Option<TruncatePolicy>, actor: String, reply: Reply<Result<(), CommandError>> },
    /// Goes on with a partition at another offset: what lies between is given up, or read again.
    Seek { partition: TopicPartition, next: i64, actor: String, reply: Reply<Result<(), CommandError>> },
    /// Raises the table's epoch after `lsn_regression`, and goes on.
    BumpEpoch { table: Table, actor: String, reply: Reply<u16> },
}

/// One entry of the edge's table.
#[derive(Clone, Debug)]
pub struct EdgeEntry {
    pub kind: &'static str,
    pub name: Vec<u8>,
    /// `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// Who did what to what.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    pub actor: String,
    pub action: &'static str,
    pub subject: String,
    pub detail: String,
}

/// What became of a replayed dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is gone from the queue.
    Gone(Outcome),
    /// It still cannot be applied; its attempts were counted.
    StillDead,
}

/// Why a command was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("there is no dead letter {0}; nova dlq list shows those that wait")]
    NoSuchLetter(u64),
    #[error("dead letter {id} was cut to {kept} of {whole} bytes when it was stored: it can only be discarded")]
    Cut { id: u64, kept: usize, whole: u64 },
    #[error(
        "dead letter {0} is a row that ClickHouse refused: repair the table and produce the row again, or discard it"
    )]
    NotARecord(u64),
    #[error(
        "dead letter {0} is a line of a capture and no record: repair the capture and replay it into another --data, or \
         discard the letter"
    )]
    NotALine(u64),
    #[error(
        "dead letter {0} came from the topic {1}, which this configuration does not follow: set kafka.topic_prefix and \
         kafka.events_topic to what they were"
    )]
    NotFollowed(u64, String),
    #[error(
        "dead letter {0} is an event from before the dedup horizon: whether it was applied meanwhile is not known any \
         more; --force looks for its id in post_events, and replays it if ClickHouse has none"
    )]
    BeyondHorizon(u64),
    #[error("dead letter {0} is an event that post_events has already: discard it")]
    Sent(u64),
    #[error("table {0} would halt again: {1}")]
    Halted(Table, String),
    #[error("{0} is none of the topics that nova reads: kafka.topic_prefix and kafka.events_topic say which those are")]
    NoSuchPartition(TopicPartition),
    #[error("{0} is not halted")]
    NotHalted(Table),
    #[error("{0} cannot go on: {1}")]
    NoOrder(Table, String),
}

impl Writer {
    pub(super) fn command(
        &mut self,
        command: Command,
        read: &ReadTxn,
        write: &WriteTxn,
    ) -> Result<Box<dyn FnOnce()>, WriterError> {
        Ok(match command {
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
            Command::DiscardDead { id, actor, reason, reply } => {
                let result = if write.remove(DEAD, id)? {
                    self.dead_letters -= 1;
                    self.audit(&actor, "dlq-discard", &id.to_string(), &reason, write)?;
                    Ok(())
                } else {
                    Err(CommandError::NoSuchLetter(id))
                };
                Box::new(move || reply(result))
            }
            Command::Pause { table, actor, reply } => {
                // A halt that is there already has the better reason.
                if self.meta.tables[table as usize].halt.is_none() {
                    self.halt_all(table, &format!("paused by {actor}"));
                }
                self.audit(&actor, "cdc-pause", table.name(), "", write)?;
                Box::new(move || reply(()))
            }
            Command::Resume { table, truncate, actor, reply } => {
                let result = self.resume(table, truncate);
                if result.is_ok() {
                    let truncate = truncate.map_or(String::new(), |policy| format!("truncate {policy:?}"));
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
            Command::BumpEpoch { table, actor, reply } => {
                let meta = &mut self.meta.tables[table as usize];
                meta.epoch = meta.epoch.saturating_add(1);
                let epoch = meta.epoch;
                self.audit(&actor, "cdc-epoch-bump", table.name(), &epoch.to_string(), write)?;
                // A table that was not halted simply has a new epoch.
                drop(self.resume(table, None));
                Box::new(move || reply(epoch))
            }
        })
    }

    fn resume(&mut self, table: Table, truncate: Option<TruncatePolicy>) -> Result<(), CommandError> {
        let meta = &mut self.meta.tables[table as usize];
        let awaited = meta.awaits_partitions();
        match meta.halt.take() {
            None => return Err(CommandError::NotHalted(table)),
            Some(halt) if awaited && meta.without_lsn => {
                meta.halt = Some(halt.clone());
                return Err(CommandError::NoOrder(table, halt.into()));
            }
            Some(_) => meta.truncate_once = truncate,
        }
        if awaited {
            meta.partitions = meta.partitions_found;
        }
        let next = meta.repartitioned(table);
        self.release_all();
        if let Some(reason) = next {
            self.halt_all(table, &reason);
        }
        Ok(())
    }

    fn seek(&mut self, name: &TopicPartition, next: i64) -> Result<(), CommandError> {
        if !self.parts.decoder.follows(&name.topic) {
            return Err(CommandError::NoSuchPartition(name.clone()));
        }
        let slot = self.index.get(name).copied().unwrap_or_else(|| {
            // One that waits at its first record was never read.
            self.add_partition(name.clone(), OffsetRow::default());
            self.partitions.len() as u32 - 1
        });
        let partition = &mut self.partitions[slot as usize];
        // The record before the new offset is not one that was read.
        (partition.row.next, partition.row.digest) = (next, 0);
        (partition.fault, partition.touched) = (false, true);
        partition.hold.get_or_insert_with(|| "seek".into());
        self.release(slot);
        Ok(())
    }

    fn replay_dead(
        &mut self,
        id: u64,
        force: Option<&BTreeSet<u64>>,
        read: &ReadTxn,
        write: &WriteTxn,
    ) -> Result<Result<Replayed, CommandError>, WriterError> {
        let Some(letter) = read.get_with(DEAD, id, DeadLetter::decode)?.transpose()? else {
            return Ok(Err(CommandError::NoSuchLetter(id)));
        };
        let kept = letter.value.as_ref().map_or(0, Vec::len);
        if (kept as u64) < letter.value_bytes {
            return Ok(Err(CommandError::Cut { id, kept, whole: letter.value_bytes }));
        }
        if letter.stage == Stage::Warehouse.name() {
            return Ok(Err(CommandError::NotARecord(id)));
        }
        if letter.stage == Stage::Source.name() {
            return Ok(Err(CommandError::NotALine(id)));
        }
        let record = dead::record(&letter);
        let outcome = match self.parts.decoder.decode(&record) {
            Decoded::Event(event) => {
                if self.forgotten(&event, &record) {
                    match force {
                        None => return Ok(Err(CommandError::BeyondHorizon(id))),
                        Some(sent) if sent.contains(&id) => return Ok(Err(CommandError::Sent(id))),
                        Some(_) => {}
                    }
                }
                let identity = client::dedup_key(event.user_id, event.event_id);
                let entry = Entry::new(identity, client::payload_hash(&event));
                let arrival_ms = record.timestamp_ms.max(self.meta.dedup_floor_ms);
                match self.too_old(&event, &record) {
                    true => Some(Outcome::Late),
                    false => match self.event(&event, entry, arrival_ms, true, read)? {
                        Fate::Outcome(outcome) => Some(outcome),
                        Fate::Conflict | Fate::Held => Some(Outcome::Duplicate),
                    },
                }
            }
            Decoded::Change(change) => {
                let table = change.table;
                match self.judged(change, place(&record), read)? {
                    Ok(outcome) => Some(outcome),
                    Err(reason) => return Ok(Err(CommandError::Halted(table, reason))),
                }
            }
            // It was followed when it died, so it is not for nobody.
            Decoded::Ignore(Ignored::UnknownTopic) => return Ok(Err(CommandError::NotFollowed(id, letter.topic))),
            Decoded::Ignore(_) => Some(Outcome::Ignored),
            Decoded::Dead(_) | Decoded::Wait(_) => None,
        };
        Ok(Ok(match outcome {
            Some(outcome) => {
                // Given twice in one command, the second finds it still in the snapshot that was read.
                if !write.remove(DEAD, id)? {
                    return Ok(Err(CommandError::NoSuchLetter(id)));
                }
                self.dead_letters -= 1;
                Replayed::Gone(outcome)
            }
            None => {
                let again = DeadLetter { attempts: letter.attempts.saturating_add(1), ..letter };
                write.put(DEAD, id, &again.encode())?;
                Replayed::StillDead
            }
        }))
    }

    /// Who did what to what, for ever.
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
