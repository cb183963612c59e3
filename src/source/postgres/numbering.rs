//! Numbers the events of a replication stream: the events become records with offsets that have no gaps. The module
//! does no input or output. Every change of a followed table, every commit and every logical message takes one offset.
//! An update that changes a key takes two offsets, and a truncate takes one offset for each table. A change that a copy
//! of its table already contains takes no offset.

use std::sync::Arc;

use bytes::Bytes;

use crate::decode::changes_key;
use crate::decode::pgoutput::{self, Message};
use crate::event::{Origin, OriginKind, Record, Relation, Table, Tables, TopicPartition};

use super::finding::{Code, Finding};
use super::server::{Event, Failure};

/// The maximum number of relations that one session may describe. The session fails if the publication has more tables
/// than `RELATIONS_MAX`.
const RELATIONS_MAX: usize = 4_096;

/// How nova treats a relation of the stream.
#[derive(Clone, Debug)]
enum Described {
    Other,
    Followed(Table, Arc<Relation>),
    /// A followed table under a wrong name, or a foreign table under the name of a followed table. The text describes
    /// the problem.
    Astray(Table, String),
}

/// Numbers the events of one replication session.
pub struct Numbering {
    partition: TopicPartition,
    /// The offset of the next record of the partition.
    next: i64,
    /// The schema of each followed table's relation, in the order of [`Table::ALL`].
    followed: [Option<String>; Table::ALL.len()],
    /// The `pg_class.oid` of each followed table's relation, in the order of [`Table::ALL`]. 0 means that any relation
    /// with the table's name is accepted.
    oids: [u32; Table::ALL.len()],
    /// The positions at which tables were copied; see [`super::position::Position::copied`].
    copied: [u64; Table::ALL.len()],
    /// The relations of the session by their `pg_class.oid`.
    relations: Vec<(u32, Described)>,
    /// The commit LSN of the present transaction.
    commit_lsn: u64,
    commit_us: i64,
    open: bool,
    origins: Vec<Arc<Origin>>,
}

impl Numbering {
    /// Makes a numbering that begins at the start of a transaction, with `next` as the offset of the transaction's
    /// first record.
    pub fn new(partition: TopicPartition, next: i64, followed: [Option<String>; Table::ALL.len()]) -> Numbering {
        let (oids, copied) = ([0; Table::ALL.len()], [0; Table::ALL.len()]);
        let (relations, origins) = (Vec::new(), Vec::new());
        Numbering {
            partition,
            next,
            followed,
            oids,
            copied,
            relations,
            commit_lsn: 0,
            commit_us: 0,
            open: false,
            origins,
        }
    }

    /// Sets the relations of the followed tables, and the positions at which the tables were copied.
    #[must_use]
    pub fn of(self, oids: [u32; Table::ALL.len()], copied: [u64; Table::ALL.len()]) -> Numbering {
        Numbering { oids, copied, ..self }
    }

    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether a transaction has begun and has not ended.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Appends the records that an event becomes.
    pub fn take(&mut self, event: Event, out: &mut Vec<Record>) -> Result<(), Failure> {
        match event {
            Event::Begin { commit_lsn, commit_us } => {
                (self.commit_lsn, self.commit_us, self.open) = (commit_lsn, commit_us, true);
                self.origins.clear();
            }
            Event::Commit { lsn, .. } => {
                self.push(OriginKind::Commit, lsn, None, out);
                self.open = false;
                self.origins.clear();
            }
            Event::Message { lsn, content } => {
                self.push(OriginKind::Message, lsn, Some(content), out);
                if !self.open {
                    self.origins.clear();
                }
            }
            Event::Change { lsn, message } => self.change(lsn, message, out)?,
            Event::KeepAlive { .. } => {}
        }
        Ok(())
    }

    /// Appends a record for a row of a snapshot.
    pub fn read(&mut self, origin: &Arc<Origin>, value: Option<Bytes>, out: &mut Vec<Record>) {
        let (origin, lsn_delta) = (Arc::clone(origin), 0);
        self.append(origin, lsn_delta, value, out);
    }

    fn change(&mut self, lsn: u64, message: Bytes, out: &mut Vec<Record>) -> Result<(), Failure> {
        match message.first() {
            Some(b'R') => self.describe(&message),
            Some(b'Y' | b'O') => Ok(()),
            Some(b'T') => self.truncate(lsn, &message, out),
            _ => {
                let oid = message.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
                let Some(described) = oid.and_then(|oid| self.described(oid)) else {
                    return Err(Failure::Away(format!(
                        "the server sent a message of a relation that it did not describe ({oid:?}); the session begins again"
                    )));
                };
                let Some(relation) = self.taken(described)? else { return Ok(()) };
                if changes_key(&relation, &message) {
                    self.push(OriginKind::OldKey(Arc::clone(&relation)), lsn, Some(message.clone()), out);
                    self.push(OriginKind::NewKey(relation), lsn, Some(message), out);
                } else {
                    self.push(OriginKind::Change(relation), lsn, Some(message), out);
                }
                Ok(())
            }
        }
    }

    fn described(&self, oid: u32) -> Option<&Described> {
        self.relations.iter().find(|(known, _)| *known == oid).map(|(_, described)| described)
    }

    /// Returns the relation of a change, or `None` if the change is skipped. A change is skipped if it was committed
    /// before its table was copied, because the copy already has the change. The stream's version of the change may be
    /// outdated, because the table may have left the publication for a time.
    fn taken(&self, described: &Described) -> Result<Option<Arc<Relation>>, Failure> {
        match described {
            Described::Other => Ok(None),
            Described::Followed(table, _) | Described::Astray(table, _)
                if self.commit_lsn < self.copied[*table as usize] =>
            {
                Ok(None)
            }
            Described::Followed(_, relation) => Ok(Some(Arc::clone(relation))),
            Described::Astray(table, what) => Err(astray(*table, what).into()),
        }
    }

    /// Takes a new description of a relation from the stream. If the description did not change, the old object is
    /// kept, because decoders know it.
    fn describe(&mut self, message: &[u8]) -> Result<(), Failure> {
        let described = match pgoutput::message(message) {
            Ok(Message::Relation(relation)) => relation,
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::Away(format!("{error}; the session begins again"))),
        };
        let (oid, described) = (described.oid, self.place(described));
        match self.relations.iter().position(|(known, _)| *known == oid) {
            Some(at) => {
                let known = &mut self.relations[at].1;
                let same = match (&*known, &described) {
                    (Described::Followed(_, known), Described::Followed(_, described)) => **known == **described,
                    _ => false,
                };
                if !same {
                    *known = described;
                }
            }
            None if self.relations.len() >= RELATIONS_MAX => {
                return Err(Failure::Wrong(format!(
                    "the publication has more than {RELATIONS_MAX} tables: give nova one of its own"
                )));
            }
            None => self.relations.push((oid, described)),
        }
        Ok(())
    }

    /// Decides which followed table a relation of the stream is. The name of a relation is not enough, because a
    /// foreign table may have had the name of a followed table for a time.
    fn place(&self, relation: Relation) -> Described {
        let is_its_name = |table: &Table| {
            let namespace = self.followed[*table as usize].as_deref();
            namespace.is_some_and(|namespace| *namespace == *relation.namespace)
        };
        let named = Table::from_name(&relation.name).filter(is_its_name);
        let known =
            Table::ALL.into_iter().find(|table| relation.oid != 0 && self.oids[*table as usize] == relation.oid);
        match (named, known) {
            (None, None) => Described::Other,
            (Some(table), None) if self.oids[table as usize] == 0 => Described::Followed(table, Arc::new(relation)),
            (Some(table), Some(known)) if table == known => Described::Followed(table, Arc::new(relation)),
            (_, Some(table)) => {
                let what = format!("{table} is or was {}.{}", relation.namespace, relation.name);
                Described::Astray(table, what)
            }
            (Some(table), None) => {
                let what = format!("another table is or was {}.{}", relation.namespace, relation.name);
                Described::Astray(table, what)
            }
        }
    }

    fn truncate(&mut self, lsn: u64, message: &Bytes, out: &mut Vec<Record>) -> Result<(), Failure> {
        let oids = match pgoutput::message(message) {
            Ok(Message::Truncate { oids }) => oids,
            _ => {
                return Err(Failure::Away("the server sent a malformed Truncate; the session begins again".to_owned()));
            }
        };
        for oid in oids {
            let relation = self.described(oid).map_or(Ok(None), |described| self.taken(described))?;
            if let Some(relation) = relation {
                self.push(OriginKind::Truncate(relation), lsn, Some(message.clone()), out);
            }
        }
        Ok(())
    }

    fn push(&mut self, kind: OriginKind, lsn: u64, value: Option<Bytes>, out: &mut Vec<Record>) {
        let same = |origin: &&Arc<Origin>| {
            is_same(&origin.kind, &kind) && lsn.wrapping_sub(origin.base_lsn) <= u32::MAX.into()
        };
        let origin = match self.origins.iter().rev().find(same) {
            Some(origin) => Arc::clone(origin),
            None => {
                // A logical message outside of a transaction has no commit time.
                let commit_us = if self.open { self.commit_us } else { 0 };
                let origin = Arc::new(Origin { kind, commit_us, base_lsn: lsn });
                self.origins.push(Arc::clone(&origin));
                origin
            }
        };
        let lsn_delta = u32::try_from(lsn.saturating_sub(origin.base_lsn)).unwrap_or(u32::MAX);
        self.append(origin, lsn_delta, value, out);
    }

    fn append(&mut self, origin: Arc<Origin>, lsn_delta: u32, value: Option<Bytes>, out: &mut Vec<Record>) {
        out.push(Record {
            topic: Arc::clone(&self.partition.topic),
            partition: self.partition.partition,
            offset: self.next,
            timestamp_ms: origin.commit_us.div_euclid(1_000),
            key: None,
            value,
            headers: Vec::new(),
            defect: None,
            origin: Some(origin),
            lsn_delta,
        });
        self.next += 1;
    }
}

fn astray(table: Table, what: &str) -> Finding {
    let detail = format!("{what} while it was changed: changes of {table} may be missing");
    let remedy = format!("Read it again while nova goes on serving: nova cdc resnapshot {table}");
    Finding::new(Code::PublicationChanged, detail, remedy).repaired_by(Tables::NONE.with(table))
}

/// Whether two records have the same origin except for the LSN. Two descriptions of a relation count as two relations.
fn is_same(one: &OriginKind, other: &OriginKind) -> bool {
    let relations = match (one.relation(), other.relation()) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    relations && std::mem::discriminant(one) == std::mem::discriminant(other)
}
