//! The facts about a record that the record's row does not contain.

use crate::event::Op;
use crate::pipeline::order::{Incoming, Kind};
use crate::pipeline::stored::Place;

/// The facts about a record that the record's row does not contain.
pub(super) struct Told {
    pub lsn: Option<u64>,
    pub ts_us: Option<i64>,
    pub op: Op,
    pub place: Place,
    pub epoch: u16,
    pub mixed: bool,
    /// Whether the table's topic has several partitions.
    pub divided: bool,
    /// Whether the record is the insert of a changed key, so that its row has values of the row under the old key.
    pub renamed: bool,
    /// Whether the record is a replayed dead letter.
    pub replayed: bool,
}

impl Told {
    pub fn kind(&self, upsert: bool) -> Kind {
        match (self.op, upsert) {
            (Op::Read, _) => Kind::Read,
            (_, true) => Kind::Upsert,
            (_, false) => Kind::Delete,
        }
    }

    pub fn incoming(&self, kind: Kind, same: bool) -> Incoming {
        let Told { lsn, ts_us, place, epoch, mixed, divided, replayed, .. } = *self;
        Incoming { kind, lsn, ts_us, place, epoch, mixed, divided, replayed, same }
    }
}
