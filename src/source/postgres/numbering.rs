//! From the events of a replication stream to records with dense offsets: pure. Every change of a followed table, every
//! commit and every logical message takes one; an update that changes a key takes two, a truncate one for each table.

use std::sync::Arc;

use bytes::Bytes;

use crate::decode::changes_key;
use crate::decode::pgoutput::{self, Message};
use crate::event::{Origin, OriginKind, Record, Relation, Table, TopicPartition};

use super::server::{Event, Failure};

/// Relations that a session describes and nova does not follow; beyond this they are forgotten, and described again.
const RELATIONS_MAX: usize = 4_096;

/// See the module.
pub struct Numbering {
    partition: TopicPartition,
    /// The offset of the next record.
    next: i64,
    /// Namespace of each table's relation, in the order of [`Table::ALL`].
    followed: [Option<String>; Table::ALL.len()],
    /// By `pg_class.oid`; `None` is not followed.
    relations: Vec<(u32, Option<Arc<Relation>>)>,
    /// Of the transaction at hand.
    commit_us: i64,
    open: bool,
    origins: Vec<Arc<Origin>>,
}

impl Numbering {
    /// Begins at a transaction's begin, with `next` as the offset of its first record.
    pub fn new(partition: TopicPartition, next: i64, followed: [Option<String>; Table::ALL.len()]) -> Numbering {
        Numbering { partition, next, followed, relations: Vec::new(), commit_us: 0, open: false, origins: Vec::new() }
    }

    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether a transaction has begun and not ended.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Appends the records of an event.
    pub fn take(&mut self, event: Event, out: &mut Vec<Record>) -> Result<(), Failure> {
        match event {
            Event::Begin { commit_us, .. } => {
                (self.commit_us, self.open) = (commit_us, true);
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

    /// A record of a snapshot.
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
                match oid.and_then(|oid| self.relations.iter().find(|(known, _)| *known == oid)) {
                    Some((_, Some(relation))) => {
                        let relation = Arc::clone(relation);
                        if changes_key(&relation, &message) {
                            self.push(OriginKind::OldKey(Arc::clone(&relation)), lsn, Some(message.clone()), out);
                            self.push(OriginKind::NewKey(relation), lsn, Some(message), out);
                        } else {
                            self.push(OriginKind::Change(relation), lsn, Some(message), out);
                        }
                        Ok(())
                    }
                    Some((_, None)) => Ok(()),
                    None => Err(Failure::Away(format!(
                        "the server sent a message of a relation that it did not describe ({oid:?}); the session begins again"
                    ))),
                }
            }
        }
    }

    /// A relation as it is from here on; one that did not change keeps its description, which decoders know.
    fn describe(&mut self, message: &[u8]) -> Result<(), Failure> {
        let described = match pgoutput::message(message) {
            Ok(Message::Relation(relation)) => relation,
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::Away(format!("{error}; the session begins again"))),
        };
        let oid = described.oid;
        let table = Table::from_name(&described.name);
        let namespace = table.and_then(|table| self.followed[table as usize].as_deref());
        let followed = namespace.is_some_and(|namespace| *namespace == *described.namespace);
        let known = self.relations.iter_mut().find(|(known, _)| *known == oid);
        match (known, followed) {
            (Some((_, known)), true) if known.as_deref() == Some(&described) => {}
            (Some((_, known)), followed) => *known = followed.then(|| Arc::new(described)),
            (None, followed) => {
                if self.relations.len() >= RELATIONS_MAX {
                    return Err(Failure::Wrong(format!(
                        "the publication has more than {RELATIONS_MAX} tables: give nova one of its own"
                    )));
                }
                self.relations.push((oid, followed.then(|| Arc::new(described))));
            }
        }
        Ok(())
    }

    fn truncate(&mut self, lsn: u64, message: &Bytes, out: &mut Vec<Record>) -> Result<(), Failure> {
        let oids = match pgoutput::message(message) {
            Ok(Message::Truncate { oids }) => oids,
            _ => {
                return Err(Failure::Away("the server sent a malformed Truncate; the session begins again".to_owned()));
            }
        };
        for oid in oids {
            let known =
                self.relations.iter().find(|(known, _)| *known == oid).and_then(|(_, relation)| relation.clone());
            if let Some(relation) = known {
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
                // A message outside of a transaction has no time.
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

/// Whether two records share an origin but for the LSN. A relation that was described again is another one.
fn is_same(one: &OriginKind, other: &OriginKind) -> bool {
    let relations = match (one.relation(), other.relation()) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    relations && std::mem::discriminant(one) == std::mem::discriminant(other)
}
