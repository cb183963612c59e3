//! The state of the server, the slot and the publication, and what the state means for a position of nova. The module
//! does no input or output. `fitness` reports the problems that do not depend on the position.

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{Table, Tables};

use super::finding::{Code, Finding};
use super::lsn::lsn_text;
use super::position::{Phase, Position};

/// The state of a PostgreSQL server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The server's `server_version_num`.
    pub version: u32,
    pub system_id: u64,
    /// The timeline of the server, or 0 if it is unknown because the server is a standby.
    pub timeline: u32,
    pub database: String,
    pub in_recovery: bool,
    /// The server's `effective_wal_level` if the server has the setting, otherwise its `wal_level`.
    pub wal_level: String,
    pub may_replicate: bool,
    /// The end of the log that the server has flushed, or 0 on a standby.
    pub flush_lsn: u64,
    pub slot: Option<SlotRow>,
    pub publication: Option<Publication>,
    /// The published tables that nova follows, including their partitions.
    pub tables: Vec<Published>,
    pub around: Around,
    pub limits: Limits,
}

/// The surroundings of a publication: the tables of the database (published or not), and the encoding of texts.
/// [`super::around`] reports problems of these tables and of the encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// The server's setting `server_encoding`. The text is empty if the server was not asked for its encoding.
    pub encoding: String,
    pub tables: Vec<Place>,
}

/// A table of the database that has the name of a followed table, and that is not a partition of another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub table: Table,
    pub namespace: String,
    pub partitioned: bool,
    /// All columns of the table except those that PostgreSQL computes.
    pub columns: Vec<String>,
    /// The tables that inherit from the table, by their names in SQL. The list has at most one table more than
    /// [`CHILDREN_MAX`].
    pub children: Vec<String>,
    /// Whether row-level security of the table applies to the role.
    pub hides_rows: bool,
}

/// The maximum number of inheriting tables that a finding names.
pub const CHILDREN_MAX: usize = 3;

/// The settings of the server on which a slot depends, and how much of the server's limits is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The role with which nova is connected.
    pub role: String,
    /// `max_slot_wal_keep_size` in MiB, where -1 means no limit.
    pub keep_mib: i64,
    /// `idle_replication_slot_timeout` in seconds, from PostgreSQL 18 on, where 0 means no timeout.
    pub idle_timeout_s: i64,
    pub slots: Used,
    pub senders: Used,
    /// `logical_decoding_work_mem` in bytes.
    pub work_mem_bytes: i64,
    /// Whether a standby follows this server, as far as the role can see it.
    pub has_standby: bool,
    /// The oldest transaction that has written something or is prepared.
    pub oldest: Option<OpenTransaction>,
}

impl Default for Limits {
    fn default() -> Limits {
        let plenty = Used { used: 0, most: 10 };
        Limits {
            role: String::new(),
            keep_mib: 8 << 10,
            idle_timeout_s: 0,
            slots: plenty,
            senders: plenty,
            work_mem_bytes: 64 << 20,
            has_standby: false,
            oldest: None,
        }
    }
}

/// How much of a limit is used, and the limit itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub used: i64,
    pub most: i64,
}

impl Used {
    pub const fn is_full(self) -> bool {
        self.used >= self.most
    }
}

/// An open transaction of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// A description of the session that has the open transaction.
    pub who: String,
    pub age_s: i64,
}

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotRow {
    pub plugin: String,
    pub database: String,
    pub logical: bool,
    pub active_pid: Option<i64>,
    /// The `application_name` and the address of the session that reads the slot.
    pub active_by: String,
    /// The end of the log that the server has sent to the session that reads the slot (`pg_stat_replication.sent_lsn`).
    /// `None` means that no session streams from the slot, or that the role may not see the session.
    pub sent_lsn: Option<u64>,
    pub restart_lsn: Option<u64>,
    pub confirmed_lsn: Option<u64>,
    /// The slot's `wal_status`: `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// The number of bytes that the log may grow until the slot is lost. `None` means that the server has no limit.
    pub safe_wal_bytes: Option<i64>,
    /// Why the server invalidated the slot, from PostgreSQL 17 on.
    pub invalidation: Option<String>,
    pub failover: bool,
    /// The bytes of transactions that did not fit into `logical_decoding_work_mem` and went through the server's disk.
    pub spilled_bytes: i64,
}

impl SlotRow {
    /// Returns why nothing can be read from the slot any more, or `None` if the slot can be read.
    pub fn lost(&self) -> Option<&str> {
        match &self.invalidation {
            Some(reason) => Some(reason),
            None if self.wal_status == "lost" => Some("wal_removed"),
            None if self.restart_lsn.is_none() => Some("it has no restart_lsn"),
            None => None,
        }
    }

    /// Returns the number of bytes of the log that the server keeps for the slot.
    pub fn held_bytes(&self, flush_lsn: u64) -> u64 {
        self.restart_lsn.map_or(0, |restart_lsn| flush_lsn.saturating_sub(restart_lsn))
    }
}

/// A row of `pg_publication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    pub oid: u32,
    /// Whether the publication publishes inserts. `updates`, `deletes` and `truncates` say whether the publication
    /// publishes updates, deletes and truncates.
    pub inserts: bool,
    pub updates: bool,
    pub deletes: bool,
    pub truncates: bool,
    pub via_root: bool,
    /// Whether the publication has every table of the database, so that no table has a column list.
    pub all_tables: bool,
    /// Whether the publication was last changed by a transaction that is later than all transactions that the slot
    /// still needs.
    pub is_younger: bool,
}

/// A table of the publication, or a partition of a published table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// nova's table. The followed table; for a partition it is the table of the partition's root.
    pub table: Option<Table>,
    pub oid: u32,
    pub namespace: String,
    pub name: String,
    pub partitioned: bool,
    /// Whether the table is a partition whose changes come under the partition's own name.
    pub is_leaf: bool,
    /// The published columns with their types in the table's order, without columns that PostgreSQL does not send.
    pub columns: Vec<(String, u32)>,
    /// The row filter of the table in SQL.
    pub filter: Option<String>,
    /// The table's `pg_class.relreplident`: `d`, `i`, `f` or `n`.
    pub replica_identity: char,
    pub has_primary_key: bool,
    /// The columns of the replica identity.
    pub identity_columns: Vec<IdentityColumn>,
    /// The published columns that the role may not read.
    pub unreadable: Vec<String>,
    /// The value of `pg_class.reltuples`, which is negative if it is unknown.
    pub estimated_rows: i64,
    /// The `pg_class.oid` of each partition, and of the partitions of partitions. The flag of a partition is true if it
    /// was a table of its own before it was attached.
    pub partitions: Vec<(u32, bool)>,
    /// The table's rows in `pg_publication_rel` and `pg_publication_namespace`, and the publication's row, each with
    /// its `xmin`. If the membership changes, the table may have left the publication for a time.
    pub membership: String,
}

/// A column of a replica identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityColumn {
    pub name: String,
    pub generated: bool,
    pub published: bool,
}

impl Published {
    /// Returns a hash that changes if the table is removed from the publication and added again, even with the same
    /// columns.
    pub fn identity(&self) -> u64 {
        let filter = self.filter.as_deref().unwrap_or_default();
        // The lowest bit is set because 0 means that the table is not published.
        xxh3_64(format!("{}\0{}\0{filter}", self.oid, self.membership).as_bytes()) | 1
    }
}

impl Seen {
    /// Returns the server's version as text: `180006` is 18.6.
    pub fn version_text(&self) -> String {
        format!("{}.{}", self.version / 10_000, self.version % 10_000)
    }

    pub fn published(&self, table: Table) -> Option<&Published> {
        self.tables.iter().find(|one| one.table == Some(table) && !one.is_leaf)
    }

    /// Returns the tables among `tables` that are published.
    pub fn published_of(&self, tables: Tables) -> Tables {
        tables.iter().filter(|table| self.published(*table).is_some()).collect()
    }

    /// Returns the identity of each table's publication, in the order of [`Table::ALL`]. The identity is 0 if the table
    /// is not published.
    pub fn identities(&self) -> [u64; Table::ALL.len()] {
        Table::ALL.map(|table| self.published(table).map_or(0, Published::identity))
    }
}

/// The command that repairs every position that does not fit the slot.
pub const ALL_AGAIN: &str =
    "To read all tables again, with a new slot, while nova goes on serving: nova cdc resnapshot";

/// What nova does with a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read on. nova first reads the tables `wanted` that a person has ordered to be read, and then continues to read
    /// the stream.
    GoOn { wanted: Tables },
    /// nova makes the slot, and reads every table.
    Snapshot,
    /// nova's position does not belong to the slot of the server. A person or a setting decides how nova continues.
    Stop(Finding),
}

/// Compares a position with the state of the server, after [`super::fitness::unfit`] has found no problem. Only the
/// store's position counts: a slot that is ahead of the store has skipped changes that nova does not have. `forked`
/// says whether the server's timeline branched off before the position.
pub fn judge(position: Option<&Position>, seen: &Seen, forked: bool, slot: &str) -> Verdict {
    let stop = |code, detail: String| Verdict::Stop(Finding::new(code, detail, ALL_AGAIN).repaired_by(Tables::ALL));
    let Some(position) = position else {
        return match &seen.slot {
            None => Verdict::Snapshot,
            Some(_) => foreign(format!(
                "the slot {slot} is there, and this store did not make it: somebody else may be reading it"
            )),
        };
    };
    if position.phase == Phase::Snapshot {
        return Verdict::Snapshot;
    }
    if position.system_id != seen.system_id {
        return stop(
            Code::OtherSystem,
            format!(
                "the server has the system identifier {}, and the store has followed {}: it is another database",
                seen.system_id, position.system_id
            ),
        );
    }
    if forked {
        return stop(
            Code::Timeline,
            format!(
                "the server is on timeline {}, which left timeline {} before the store's position {}: it was restored or \
                 promoted without changes that nova has",
                seen.timeline,
                position.timeline,
                lsn_text(position.end_lsn)
            ),
        );
    }
    if position.end_lsn > seen.flush_lsn {
        let what = format!("the server's log ends at {}", lsn_text(seen.flush_lsn));
        return Verdict::Stop(other_log(&what, position));
    }
    let Some(row) = &seen.slot else {
        return stop(Code::SlotLost, format!("the slot {slot} is gone"));
    };
    if !row.logical || row.plugin != "pgoutput" || row.database != seen.database {
        let (database, plugin) = (&row.database, &row.plugin);
        return foreign(format!("the slot {slot} is one of the database {database} and the plugin {plugin}"));
    }
    if let Some(reason) = row.lost() {
        return stop(Code::SlotLost, format!("the server has given up the slot {slot}: {reason}"));
    }
    if let Some(confirmed_lsn) = row.confirmed_lsn.filter(|confirmed_lsn| *confirmed_lsn > position.end_lsn) {
        return stop(
            Code::SlotAhead,
            format!(
                "the slot {slot} is at {}, ahead of the store's position {}: it was moved or made again by somebody else, or \
                 the store is a restored one",
                lsn_text(confirmed_lsn),
                lsn_text(position.end_lsn)
            ),
        );
    }
    membership(position, seen)
}

/// Returns the finding that the server's log is not the log that nova has read, because somebody restored an earlier
/// copy of the server.
pub fn other_log(what: &str, position: &Position) -> Finding {
    let detail = format!(
        "{what}, and the store has read up to {}: the server was restored from a copy without changes that nova has",
        lsn_text(position.end_lsn)
    );
    Finding::new(Code::Behind, detail, ALL_AGAIN).repaired_by(Tables::ALL)
}

/// Returns the verdict for a slot that is not nova's. nova never drops a foreign slot without a person's order.
fn foreign(detail: String) -> Verdict {
    let remedy = "Give nova a slot of its own: postgres.slot. To drop this one, make it again and read all tables, while nova \
                  goes on serving: nova cdc resnapshot";
    Verdict::Stop(Finding::new(Code::SlotForeign, detail, remedy))
}

/// Returns the verdict for tables that were published differently when the position was taken.
pub fn membership(position: &Position, seen: &Seen) -> Verdict {
    let now = seen.identities();
    let differs = |table: &Table| position.published[*table as usize] != now[*table as usize];
    let changed: Tables = Table::ALL.into_iter().filter(differs).collect();
    let away: Tables = changed.iter().filter(|table| now[*table as usize] == 0).collect();
    let repaired = changed.without(position.wanted).union(away);
    if repaired.is_empty() {
        return Verdict::GoOn { wanted: position.wanted };
    }
    let names = |tables: Tables| tables.iter().map(Table::name).collect::<Vec<_>>().join(" ");
    let (detail, remedy) = match away.is_empty() {
        false => (
            format!("the publication has no more: {}", names(away)),
            format!("Put them back and read them again: nova cdc resnapshot {}", names(repaired)),
        ),
        true => (
            format!(
                "{} came into the publication after the store's position, or were taken out and put back, or are other \
                 tables of the same name: changes may be missing",
                names(repaired)
            ),
            format!("Read them again while nova goes on serving: nova cdc resnapshot {}", names(repaired)),
        ),
    };
    let repair = if away.is_empty() { repaired } else { Tables::NONE };
    Verdict::Stop(Finding::new(Code::PublicationChanged, detail, remedy).repaired_by(repair))
}
