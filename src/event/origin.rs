//! Describes the origin of a record of PostgreSQL's replication stream or of a snapshot: the position of the record,
//! and how its bytes are read. Records of Kafka and of captures have no origin.

use std::sync::Arc;

use super::table::Table;

/// The part of a record that all records of the same transaction and the same kind share. Each record has a reference
/// to its shared part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub kind: OriginKind,
    /// The time of the commit or of the snapshot, in epoch microseconds.
    pub commit_us: i64,
    /// The LSN of a record is this LSN plus the record's [`super::Record::lsn_delta`].
    pub base_lsn: u64,
}

/// Says how the value of a record is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// The value is a message of pgoutput that changes a row: `I`, `U` or `D`.
    Change(Arc<Relation>),
    /// The value is a message `U` that changes the primary key. The record is the delete of the row under the old key.
    OldKey(Arc<Relation>),
    /// The value is a message `U` that changes the primary key. The record is the insert of the row under the new key.
    NewKey(Arc<Relation>),
    /// The value is a message `T`. The record is for one of the relations that the message names.
    Truncate(Arc<Relation>),
    /// The value is a line of `COPY … TO STDOUT` in text format, with its line feed.
    Copied(Arc<Relation>),
    /// The value is a message `C`, with which a transaction ends.
    Commit,
    /// The value is the content of a message `M` (`pg_logical_emit_message`).
    Message,
    /// The record has no bytes, and says that a snapshot begins or has ended.
    Snapshot(SnapshotMark),
}

impl OriginKind {
    /// Returns the relation of the row, if the value is a row.
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

/// A table as PostgreSQL describes it in a session, or the columns of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The `pg_class.oid` of the table.
    pub oid: u32,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// The columns, in the order in which PostgreSQL sends their values.
    pub columns: Box<[WireColumn]>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireColumn {
    pub name: Box<str>,
    /// The `pg_type.oid` of the column's type.
    pub type_oid: u32,
}

/// The beginning or the end of a snapshot of some tables. The mark has its place in the order of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMark {
    /// The snapshot's reads of the tables follow in the stream. After the mark, all rows of the tables that are already
    /// stored belong to an earlier epoch.
    Begin(Tables),
    /// The snapshot has read all rows of the tables. Stored rows that the snapshot did not read no longer exist in the
    /// source.
    End(Tables),
}

/// A set of tables. Each table has the bit [`Table::number`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tables(u8);

impl Tables {
    pub const NONE: Tables = Tables(0);
    pub const ALL: Tables = Tables((1 << Table::ALL.len()) - 1);

    /// Returns the set of tables that stored bits stand for. Returns `None` if a bit does not belong to a table.
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

    /// Returns the tables of the set, in the order of [`Table::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Table> {
        Table::ALL.into_iter().filter(move |table| self.contains(*table))
    }
}

impl FromIterator<Table> for Tables {
    fn from_iter<I: IntoIterator<Item = Table>>(tables: I) -> Tables {
        tables.into_iter().fold(Tables::NONE, Tables::with)
    }
}
