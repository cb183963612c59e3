//! Says why nova does not apply records. A [`Halt`] of a table is stored and waits for a person. A [`Hold`] of a
//! partition lasts as long as its cause. The code compares `Halt` and `Hold` as values, and only this file turns them
//! into sentences for people. Each sentence contains the command for the repair.

use std::fmt;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Id, Table, TopicPartition};

use super::decided::{Decision, Truncation};
use super::regression::Regression;

const WHAT: &str = "halt";

/// The reason for which a table takes no more changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The source truncated the table. The truncate is `None` if an earlier version of nova stored the halt.
    Truncate { table: Table, at: Option<Truncation> },
    /// The source's log began again.
    LsnRegression(Regression),
    /// The number of partitions of the table's topic has changed. So the changes of one key may be in several
    /// partitions and come in any order.
    Partitions(Repartitioned),
    /// A person paused the table.
    Paused { table: Table, actor: Box<str> },
    /// The sentence of a halt that an earlier version of nova stored, and for which this version has no value.
    Other(Box<str>),
}

/// The number of partitions of a topic before and after this number changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repartitioned {
    pub table: Table,
    pub read: u32,
    pub found: u32,
    /// Whether every change of the table had an LSN. If so, rows converge although a key's changes are in several
    /// partitions.
    pub ordered: bool,
}

/// The number with which each kind of halt is stored. A number is never used for another kind of halt.
const TRUNCATE: u8 = 1;
const LSN_REGRESSION: u8 = 2;
const PARTITIONS: u8 = 3;
const PAUSED: u8 = 4;
const OTHER: u8 = 5;

impl Halt {
    /// Whether the halt waits for a person's decision about a truncate.
    pub fn needs_decision(&self) -> bool {
        matches!(self, Halt::Truncate { .. })
    }

    /// Whether the table can continue only in a new epoch.
    pub fn needs_epoch(&self) -> bool {
        matches!(self, Halt::LsnRegression(_))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Halt::Truncate { at, .. } => {
                out.put_u8(TRUNCATE);
                out.put_u8(u8::from(at.is_some()));
                at.iter().for_each(|at| at.encode(out));
            }
            Halt::LsnRegression(Regression { key, lsn, stored_lsn, .. }) => {
                out.put_u8(LSN_REGRESSION);
                out.put_id(*key);
                out.put_varint(*lsn);
                out.put_varint(*stored_lsn);
            }
            Halt::Partitions(Repartitioned { read, found, ordered, .. }) => {
                out.put_u8(PARTITIONS);
                out.put_varint(u64::from(*read));
                out.put_varint(u64::from(*found));
                out.put_u8(u8::from(*ordered));
            }
            Halt::Paused { actor, .. } => {
                out.put_u8(PAUSED);
                out.put_bytes(actor.as_bytes());
            }
            Halt::Other(words) => {
                out.put_u8(OTHER);
                out.put_bytes(words.as_bytes());
            }
        }
    }

    /// Decodes the halt that is stored for `table`.
    pub fn decode(table: Table, reader: &mut Reader<'_>) -> Result<Halt, CodecError> {
        Ok(match reader.u8()? {
            TRUNCATE => {
                let at = reader.flag()?.then(|| Truncation::decode(reader)).transpose()?;
                Halt::Truncate { table, at }
            }
            LSN_REGRESSION => {
                let (key, lsn, stored_lsn) = (reader.id()?, reader.varint()?, reader.varint()?);
                Halt::LsnRegression(Regression { table, key, lsn, stored_lsn })
            }
            PARTITIONS => {
                let (read, found, ordered) = (reader.varint_u32()?, reader.varint_u32()?, reader.flag()?);
                Halt::Partitions(Repartitioned { table, read, found, ordered })
            }
            PAUSED => Halt::Paused { table, actor: reader.text()?.into() },
            OTHER => Halt::Other(reader.text()?.into()),
            number => return Err(CodecError::Unknown { what: WHAT, number: number.into() }),
        })
    }

    /// Makes a halt from the sentence that an earlier version of nova stored. The beginning of the sentence decides the
    /// kind of the halt.
    pub fn of_words(table: Table, words: &str, read: u32, found: u32, ordered: bool) -> Halt {
        if words.starts_with("truncate:") {
            return Halt::Truncate { table, at: None };
        }
        if words.starts_with("partitions:") {
            return Halt::Partitions(Repartitioned { table, read, found, ordered });
        }
        if let Some(actor) = words.strip_prefix("paused by ") {
            return Halt::Paused { table, actor: actor.into() };
        }
        regression(table, words).unwrap_or_else(|| Halt::Other(words.into()))
    }
}

/// Parses a sentence of version 0.1.0: `lsn_regression: row KEY came with LSN N below the stored N …`.
fn regression(table: Table, words: &str) -> Option<Halt> {
    let (key, rest) = words.strip_prefix("lsn_regression: row ")?.split_once(" came with LSN ")?;
    let (lsn, rest) = rest.split_once(" below the stored ")?;
    let (stored_lsn, _) = rest.split_once(' ')?;
    let key = Id::parse(key.as_bytes()).ok()?;
    let (lsn, stored_lsn) = (lsn.parse().ok()?, stored_lsn.parse().ok()?);
    Some(Halt::LsnRegression(Regression { table, key, lsn, stored_lsn }))
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Truncate { table, at } => {
                f.write_str("truncate: the source truncated ")?;
                match at {
                    Some(at) => write!(f, "{table} ({at})")?,
                    None => write!(f, "{table}")?,
                }
                write!(
                    f,
                    ". To delete its rows here too: nova cdc resume {table} --truncate {}; to keep them: nova cdc resume \
                     {table} --truncate {}",
                    Decision::Apply,
                    Decision::Ignore
                )
            }
            Halt::LsnRegression(regression) => regression.fmt(f),
            Halt::Partitions(repartitioned) => repartitioned.fmt(f),
            Halt::Paused { table, actor } => {
                write!(f, "paused by {actor}; to go on: nova cdc resume {table}")
            }
            Halt::Other(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for Repartitioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repartitioned { table, read, found, ordered } = self;
        write!(
            f,
            "partitions: the topic of {table} has {found} partitions and was read with {read}: keys have moved between \
             them; "
        )?;
        match ordered {
            true => {
                write!(f, "its changes carry the LSN, by which rows converge all the same: nova cdc resume {table}")
            }
            false => f.write_str(
                "its changes carry no LSN, and nothing else tells which of two is later: give the topic a new snapshot, \
                 stop nova, and read it with nova rebuild (docs/cdc.md)",
            ),
        }
    }
}

/// The reason for which nova does not read a partition. When the process starts, only the partitions of halted tables
/// are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The partition's table is halted.
    Table(Halt),
    /// The log of the source is not the log that nova read before, for the reason that the source gives.
    Log(Box<str>),
    /// The log is not the log that nova read before, because the record at a committed offset is not the record that
    /// nova committed.
    OtherRecord { partition: TopicPartition, offset: i64 },
    /// The number of dead letters has reached its limit.
    DeadLetterQuota { waiting: u64 },
    /// The last `in_a_row` records of the partition's topic could not be decoded. `reason` belongs to the newest of
    /// these records. `next` is the offset of the partition's next unread record.
    TopicBreaker { partition: TopicPartition, next: i64, in_a_row: u32, reason: &'static str, detail: Box<str> },
}

impl Hold {
    /// Whether only a decision of a person about the offset can release the partition.
    pub fn needs_seek(&self) -> bool {
        matches!(self, Hold::Log(_) | Hold::OtherRecord { .. })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Table(halt) => halt.fmt(f),
            Hold::Log(words) => f.write_str(words),
            Hold::OtherRecord { partition: name, offset } => write!(
                f,
                "log-recreated: the record at offset {offset} of {name} is not the one that was committed there: the topic \
                 was created again, or this is another capture with the same names. Use another --data directory for it; \
                 to go on all the same: nova cdc seek {} {} {}",
                name.topic,
                name.partition,
                offset.saturating_add(1)
            ),
            Hold::DeadLetterQuota { waiting } => write!(
                f,
                "dead-letter-quota: {waiting} dead letters wait; replay or discard some (nova dlq list), then start nova again"
            ),
            Hold::TopicBreaker { partition: TopicPartition { topic, partition }, next, in_a_row, reason, detail } => {
                write!(
                    f,
                    "topic-breaker: {in_a_row} undecodable records of {topic} in a row, the last because of {reason} \
                     ({detail}); repair the producer or the connector, then go on: nova cdc seek {topic} {partition} \
                     {next}; a greater offset gives up records that stay undecodable"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 0.1.0 stored the sentences of this test.
    #[test]
    fn words_of_the_first_version_become_values_and_unknown_ones_stay_words() {
        let table = Table::Likes;
        let key = Id::from_u128(7);
        for (words, halt) in [
            (
                format!(
                    "lsn_regression: row {key} came with LSN 5 below the stored 90 although its commit is newer: the source's \
                     log began again (a restored or promoted server). If that is so, raise the table's epoch and go on: nova \
                     cdc epoch bump likes"
                ),
                Halt::LsnRegression(Regression { table, key, lsn: 5, stored_lsn: 90 }),
            ),
            (
                "partitions: the topic of likes has 3 partitions and was read with 2: keys have moved".to_owned(),
                Halt::Partitions(Repartitioned { table, read: 2, found: 3, ordered: true }),
            ),
            ("paused by user 1".to_owned(), Halt::Paused { table, actor: "user 1".into() }),
            ("truncate: the source truncated likes. To delete".to_owned(), Halt::Truncate { table, at: None }),
            ("something new".to_owned(), Halt::Other("something new".into())),
        ] {
            assert_eq!(Halt::of_words(table, &words, 2, 3, true), halt, "{words}");
        }
        for words in ["", "lsn_regression: row x came", "lsn_regression: row 7 came with LSN a below the stored b "] {
            assert_eq!(Halt::of_words(table, words, 0, 0, true), Halt::Other(words.into()));
        }
    }

    #[test]
    fn every_halt_that_waits_for_a_person_names_the_command() {
        let table = Table::Posts;
        let regression = Regression { table, key: Id::NIL, lsn: 1, stored_lsn: 2 };
        assert!(Halt::LsnRegression(regression).to_string().contains("nova cdc epoch bump posts"));
        let truncate = Halt::Truncate { table, at: None }.to_string();
        assert!(truncate.contains("nova cdc resume posts --truncate apply") && truncate.contains("--truncate ignore"));
        let repartitioned = |ordered| Halt::Partitions(Repartitioned { table, read: 1, found: 2, ordered }).to_string();
        assert!(repartitioned(true).contains("nova cdc resume posts"));
        assert!(repartitioned(false).contains("nova rebuild"));
    }
}
