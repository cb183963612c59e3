//! Everything that may be wrong with a PostgreSQL server, a slot or a publication, in one table of codes.
//! `/health/ready`, `/metrics`, `nova check` and `nova postgres status` report the findings, and `docs/postgres.md` has
//! a row for each code.

use crate::event::Tables;

/// The effect of a finding on nova.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// nova does not read, and is not ready, while the problem lasts.
    Stops,
    /// nova continues to read, and somebody should look at the problem.
    Warns,
}

/// The code of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Unreachable,
    Refused,
    Pooler,
    Version,
    MinorVersion,
    Standby,
    WalLevel,
    NoReplicationRight,
    NoTableRight,
    SlotsFull,
    SendersFull,
    PublicationMissing,
    PublicationYounger,
    PublicationLeaf,
    PublicationEmpty,
    PublicationIncomplete,
    PublicationAmbiguous,
    PublicationNoDeletes,
    PublicationNoTruncate,
    PublicationColumns,
    ColumnsLeftOut,
    PublicationChanged,
    TableRedefined,
    PrivateColumns,
    NoReplicaIdentity,
    IdentityUncovered,
    GeneratedIdentity,
    IdentityWithoutKey,
    Inheritance,
    RowSecurity,
    Encoding,
    SlotLost,
    SlotAhead,
    SlotForeign,
    SlotInUse,
    OtherSystem,
    Timeline,
    Behind,
    Position,
    HeldWal,
    KeepSize,
    IdleTimeout,
    NoFailover,
    Spilling,
    OldTransaction,
}

/// Every code with its name and effect, in the order of [`Code`].
pub const TABLE: [(Code, &str, Effect); 45] = [
    (Code::Unreachable, "pg-unreachable", Effect::Stops),
    (Code::Refused, "pg-refused", Effect::Stops),
    (Code::Pooler, "pg-pooler", Effect::Stops),
    (Code::Version, "pg-version", Effect::Stops),
    (Code::MinorVersion, "pg-minor-version", Effect::Warns),
    (Code::Standby, "pg-standby", Effect::Stops),
    (Code::WalLevel, "pg-wal-level", Effect::Stops),
    (Code::NoReplicationRight, "pg-no-replication-right", Effect::Stops),
    // `pg-no-table-right` stops nova if rows must be copied.
    (Code::NoTableRight, "pg-no-table-right", Effect::Warns),
    // `pg-slots-full` stops nova if a slot must be made.
    (Code::SlotsFull, "pg-slots-full", Effect::Warns),
    (Code::SendersFull, "pg-senders-full", Effect::Warns),
    (Code::PublicationMissing, "pg-publication-missing", Effect::Stops),
    // `pg-publication-younger` stops nova if the server cannot find the publication.
    (Code::PublicationYounger, "pg-publication-younger", Effect::Warns),
    (Code::PublicationLeaf, "pg-publication-leaf", Effect::Stops),
    (Code::PublicationEmpty, "pg-publication-empty", Effect::Stops),
    (Code::PublicationIncomplete, "pg-publication-incomplete", Effect::Warns),
    (Code::PublicationAmbiguous, "pg-publication-ambiguous", Effect::Stops),
    (Code::PublicationNoDeletes, "pg-publication-no-deletes", Effect::Stops),
    (Code::PublicationNoTruncate, "pg-publication-no-truncate", Effect::Warns),
    (Code::PublicationColumns, "pg-publication-columns", Effect::Stops),
    (Code::ColumnsLeftOut, "pg-columns-left-out", Effect::Warns),
    (Code::PublicationChanged, "pg-publication-changed", Effect::Stops),
    (Code::TableRedefined, "pg-table-redefined", Effect::Warns),
    (Code::PrivateColumns, "pg-private-columns", Effect::Warns),
    (Code::NoReplicaIdentity, "pg-no-replica-identity", Effect::Warns),
    (Code::IdentityUncovered, "pg-identity-uncovered", Effect::Warns),
    (Code::GeneratedIdentity, "pg-generated-identity", Effect::Warns),
    (Code::IdentityWithoutKey, "pg-identity-without-key", Effect::Warns),
    (Code::Inheritance, "pg-inheritance", Effect::Stops),
    // `pg-row-security` stops nova if rows must be copied.
    (Code::RowSecurity, "pg-row-security", Effect::Warns),
    (Code::Encoding, "pg-encoding", Effect::Warns),
    (Code::SlotLost, "pg-slot-lost", Effect::Stops),
    (Code::SlotAhead, "pg-slot-ahead", Effect::Stops),
    (Code::SlotForeign, "pg-slot-foreign", Effect::Stops),
    (Code::SlotInUse, "pg-slot-in-use", Effect::Stops),
    (Code::OtherSystem, "pg-other-system", Effect::Stops),
    (Code::Timeline, "pg-timeline", Effect::Stops),
    (Code::Behind, "pg-behind", Effect::Stops),
    (Code::Position, "pg-position", Effect::Stops),
    (Code::HeldWal, "pg-held-wal", Effect::Stops),
    // `pg-keep-size` stops nova if a snapshot uses up `max_slot_wal_keep_size`.
    (Code::KeepSize, "pg-keep-size", Effect::Warns),
    (Code::IdleTimeout, "pg-idle-timeout", Effect::Warns),
    (Code::NoFailover, "pg-no-failover", Effect::Warns),
    (Code::Spilling, "pg-spilling", Effect::Warns),
    (Code::OldTransaction, "pg-old-transaction", Effect::Warns),
];

impl Code {
    /// The stable name of the code, as nova prints it.
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The effect of the code when nova checks the server.
    pub const fn effect(self) -> Effect {
        TABLE[self as usize].2
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A problem: its code, a description, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub detail: String,
    pub remedy: String,
    /// The tables that nova must read again in order to repair the problem. [`Tables::ALL`] means that nova reads all
    /// tables with a new slot. The set is empty if reading tables again does not repair the problem, or if only a
    /// person may decide to read them.
    pub repair: Tables,
}

impl Finding {
    /// Makes a finding that reading tables again does not repair.
    pub fn new(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { code, detail: detail.into(), remedy: remedy.into(), repair: Tables::NONE }
    }

    /// Adds the tables that nova must read again to repair the problem.
    pub fn repaired_by(self, repair: Tables) -> Finding {
        Finding { repair, ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}. {}", self.code, self.detail, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/postgres.md");

    #[test]
    fn each_code_is_at_its_place_has_a_name_of_its_own_and_a_row_in_the_document() {
        for (place, (code, name, _)) in TABLE.iter().enumerate() {
            assert_eq!((*code as usize, code.name()), (place, *name));
            assert_eq!(TABLE.iter().filter(|(_, other, _)| other == name).count(), 1, "{name}");
            let rows = DOCUMENT.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).count();
            assert_eq!(rows, 1, "docs/postgres.md has no row of its own for {name}");
        }
    }

    #[test]
    fn the_document_has_no_code_that_is_none() {
        let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `pg-")?.split('`').next());
        for name in rows {
            let name = format!("pg-{name}");
            assert!(TABLE.iter().any(|(_, known, _)| *known == name), "{name}");
        }
    }
}
