//! The origin of a record of PostgreSQL's replication stream or of a snapshot: its position, and how its bytes are
//! read. Kafka's records and captures have no origin.

use std::sync::Arc;

use super::table::Table;

/// The common part of the records of one transaction that are read in the same way. Each record has a reference to this
/// part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub kind: OriginKind,
    /// The time of the commit or of the snapshot, epoch microseconds.
    pub commit_us: i64,
    /// A record's LSN is this plus its [`super::Record::lsn_delta`].
    pub base_lsn: u64,
}

/// How a record's value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// A message of pgoutput that changes a row: `I`, `U` or `D`.
    Change(Arc<Relation>),
    /// A `U` that changes the primary key, as the delete of the row under the old key.
    OldKey(Arc<Relation>),
    /// The same message, as the insert of the row under the new key.
    NewKey(Arc<Relation>),
    /// A `T`, for one of its relations.
    Truncate(Arc<Relation>),
    /// A line of `COPY … TO STDOUT` in text format, with its line feed.
    Copied(Arc<Relation>),
    /// A `C`: the transaction has ended.
    Commit,
    /// The content of an `M` (`pg_logical_emit_message`).
    Message,
    /// A value without bytes: a snapshot begins or has ended.
    Snapshot(SnapshotMark),
}

impl OriginKind {
    /// The relation of the row, if the value is a row.
    pub fn relation(&self) -> Option<&Arc<Relation>> {
        match self {
            OriginKind::Change(relation)
            | OriginKind::OldKey(relation)
            | OriginKind::NewKey(relation)
            | OriginKind::Truncate(relation)
            | OriginKind::Copied(relation) => Some(relation),
            OriginKind::Commit | OriginKind::Message | OriginKind::Snapshot(_) => None,
        }
    }
}

/// A table as the server describes it to a session, or the columns of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's `pg_class.oid`.
    pub oid: u32,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// The columns in the order of the wire.
    pub columns: Box<[WireColumn]>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireColumn {
    pub name: Box<str>,
    /// The type's `pg_type.oid`.
    pub type_oid: u32,
}

/// The beginning or the end of a snapshot of some tables, in the order of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMark {
    /// Reads of these tables follow. From here on, stored rows of these tables belong to an earlier epoch.
    Begin(Tables),
    /// All rows of these tables were read. Stored rows that were not read no longer exist in the source.
    End(Tables),
}

/// A set of tables, with one bit at [`Table::number`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tables(u8);

impl Tables {
    pub const NONE: Tables = Tables(0);
    pub const ALL: Tables = Tables((1 << Table::ALL.len()) - 1);

    /// The set for stored bits. `None` if a bit belongs to no table.
    pub fn from_bits(bits: u8) -> Option<Tables> {
        (bits & !Tables::ALL.0 == 0).then_some(Tables(bits))
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn contains(self, table: Table) -> bool {
        self.0 & 1 << table.number() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn with(self, table: Table) -> Tables {
        Tables(self.0 | 1 << table.number())
    }

    #[must_use]
    pub const fn union(self, other: Tables) -> Tables {
        Tables(self.0 | other.0)
    }

    #[must_use]
    pub const fn without(self, other: Tables) -> Tables {
        Tables(self.0 & !other.0)
    }

    /// The tables in the order of [`Table::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Table> {
        Table::ALL.into_iter().filter(move |table| self.contains(*table))
    }
}

impl FromIterator<Table> for Tables {
    fn from_iter<I: IntoIterator<Item = Table>>(tables: I) -> Tables {
        tables.into_iter().fold(Tables::NONE, Tables::with)
    }
}
