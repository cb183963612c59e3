//! What is known of the server, the slot and the publication, and what it means for a position: pure. What is wrong whatever
//! the position is, `fitness` says.

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{Table, Tables};

use super::finding::{Code, Finding};
use super::lsn::lsn_text;
use super::position::{Phase, Position};

/// A server as it was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `server_version_num`.
    pub version: u32,
    pub system_id: u64,
    /// 0 where it is not known, on a standby.
    pub timeline: u32,
    pub database: String,
    pub in_recovery: bool,
    /// `effective_wal_level` where there is one, else `wal_level`.
    pub wal_level: String,
    /// Whether the role may replicate, and is a superuser or owns what it needs.
    pub may_replicate: bool,
    /// End of the flushed log; 0 on a standby.
    pub flush_lsn: u64,
    pub slot: Option<SlotRow>,
    pub publication: Option<Publication>,
    /// What is published of the tables that nova follows, partitions of theirs included.
    pub tables: Vec<Published>,
    pub around: Around,
    pub limits: Limits,
}

/// What stands around a publication: the tables as they are in the database, published or not, and how texts are stored.
/// [`super::around`] says what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// `server_encoding`; empty where it was not asked.
    pub encoding: String,
    pub tables: Vec<Place>,
}

/// A table of the database that has the name of one that nova follows. No partition of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub table: Table,
    pub namespace: String,
    pub partitioned: bool,
    /// All columns but those that PostgreSQL computes.
    pub columns: Vec<String>,
    /// Tables that inherit from it, as SQL names them; not more than one above [`CHILDREN_MAX`].
    pub children: Vec<String>,
    /// Row-level security holds for the role.
    pub hides_rows: bool,
}

/// Tables that inherit from another are named up to this number.
pub const CHILDREN_MAX: usize = 3;

/// Settings of the server that a slot depends on, and how much of them is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// As whom nova is connected.
    pub role: String,
    /// `max_slot_wal_keep_size`; -1 is no limit.
    pub keep_mib: i64,
    /// `idle_replication_slot_timeout`, from PostgreSQL 18 on; 0 is none.
    pub idle_timeout_s: i64,
    pub slots: Used,
    pub senders: Used,
    /// `logical_decoding_work_mem`.
    pub work_mem_bytes: i64,
    /// Whether a standby follows this server, as far as it can be seen.
    pub has_standby: bool,
    /// The oldest transaction that has written something, or is prepared.
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

/// How many there are, and may be.
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

/// A transaction that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// In words.
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
    /// `application_name` and address of who reads it.
    pub active_by: String,
    pub restart_lsn: Option<u64>,
    pub confirmed_lsn: Option<u64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// Bytes until the slot is lost; `None` without a limit.
    pub safe_wal_bytes: Option<i64>,
    /// Why the server gave it up, from PostgreSQL 17 on.
    pub invalidation: Option<String>,
    pub failover: bool,
    /// Bytes of transactions that did not fit into `logical_decoding_work_mem` and went through the server's disk.
    pub spilled_bytes: i64,
}

impl SlotRow {
    /// Why nothing can be read from it any more.
    pub fn lost(&self) -> Option<&str> {
        match &self.invalidation {
            Some(reason) => Some(reason),
            None if self.wal_status == "lost" => Some("wal_removed"),
            None if self.restart_lsn.is_none() => Some("it has no restart_lsn"),
            None => None,
        }
    }

    /// Bytes of the log that the server keeps for it.
    pub fn held_bytes(&self, flush_lsn: u64) -> u64 {
        self.restart_lsn.map_or(0, |restart_lsn| flush_lsn.saturating_sub(restart_lsn))
    }
}

/// A row of `pg_publication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    pub oid: u32,
    /// Inserts, updates, deletes, truncates.
    pub inserts: bool,
    pub updates: bool,
    pub deletes: bool,
    pub truncates: bool,
    pub via_root: bool,
    /// It has every table of the database, so that none has a column list.
    pub all_tables: bool,
    /// Its row was written by a transaction after those that the slot still needs.
    pub is_younger: bool,
}

/// A published table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The table that it is to nova. Of a partition: that of its root.
    pub table: Option<Table>,
    pub oid: u32,
    pub namespace: String,
    pub name: String,
    pub partitioned: bool,
    /// It is a partition whose changes come under its own name.
    pub is_leaf: bool,
    /// Published columns and their types, in the table's order, without those that PostgreSQL does not send.
    pub columns: Vec<(String, u32)>,
    /// The row filter, as SQL.
    pub filter: Option<String>,
    /// `pg_class.relreplident`: `d`, `i`, `f` or `n`.
    pub replica_identity: char,
    pub has_primary_key: bool,
    /// The columns of the replica identity.
    pub identity_columns: Vec<IdentityColumn>,
    /// Published columns that the role may not read.
    pub unreadable: Vec<String>,
    /// `pg_class.reltuples`; negative where it is not known.
    pub estimated_rows: i64,
    /// `pg_class.oid` of each partition, and of those of its partitions; true of one that was a table before it was attached.
    pub partitions: Vec<(u32, bool)>,
    /// Of the rows of `pg_publication_rel` and `pg_publication`, and when those were written: another one means that
    /// the table was away for a time.
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
    /// Tells a publication of the table from every other one, also of the same table with the same columns.
    pub fn identity(&self) -> u64 {
        let filter = self.filter.as_deref().unwrap_or_default();
        // Zero stands for "not published".
        xxh3_64(format!("{}\0{}\0{filter}", self.oid, self.membership).as_bytes()) | 1
    }
}

impl Seen {
    /// `180006` is 18.6.
    pub fn version_text(&self) -> String {
        format!("{}.{}", self.version / 10_000, self.version % 10_000)
    }

    pub fn published(&self, table: Table) -> Option<&Published> {
        self.tables.iter().find(|one| one.table == Some(table) && !one.is_leaf)
    }

    /// Those of some tables that are published.
    pub fn published_of(&self, tables: Tables) -> Tables {
        tables.iter().filter(|table| self.published(*table).is_some()).collect()
    }

    /// The identity of each table, in the order of [`Table::ALL`]; 0 of one that is not published.
    pub fn identities(&self) -> [u64; Table::ALL.len()] {
        Table::ALL.map(|table| self.published(table).map_or(0, Published::identity))
    }
}

/// What repairs every position that does not fit.
pub const ALL_AGAIN: &str =
    "To read all tables again, with a new slot, while nova goes on serving: nova cdc resnapshot";

/// What to do about a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read on; these tables first, where a person said so.
    GoOn { wanted: Tables },
    /// Make the slot, and read every table.
    Snapshot,
    /// The position is not this slot's. A person decides, or the setting does.
    Stop(Finding),
}

/// Compares a position with what was seen, where [`super::fitness::unfit`] found nothing. The store's position alone
/// decides: a slot that is ahead of it has passed over changes that nova does not have. `forked`: the server's timeline left
/// that of the position before it.
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

/// The server is the same, and its log is another one than was read: a copy of it from before was put back.
pub fn other_log(what: &str, position: &Position) -> Finding {
    let detail = format!(
        "{what}, and the store has read up to {}: the server was restored from a copy without changes that nova has",
        lsn_text(position.end_lsn)
    );
    Finding::new(Code::Behind, detail, ALL_AGAIN).repaired_by(Tables::ALL)
}

/// A slot that is not nova's is never dropped without a person's order.
fn foreign(detail: String) -> Verdict {
    let remedy = "Give nova a slot of its own: postgres.slot. To drop this one, make it again and read all tables, while nova \
                  goes on serving: nova cdc resnapshot";
    Verdict::Stop(Finding::new(Code::SlotForeign, detail, remedy))
}

/// Tables that were published otherwise when the position was taken.
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
