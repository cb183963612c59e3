//! What is known of the server, the slot and the publication, and what it means for a position: pure. `nova check`, the
//! status command and the follower ask the same.

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{Table, Tables};

use super::lsn::lsn_text;
use super::position::{Phase, Position};

/// The oldest version that nova follows: column lists of publications begin there.
pub const VERSION_MIN: u32 = 15_00_00;

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
}

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotRow {
    pub plugin: String,
    pub database: String,
    pub logical: bool,
    pub active_pid: Option<i64>,
    pub restart_lsn: Option<u64>,
    pub confirmed_lsn: Option<u64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// Bytes until the slot is lost; `None` without a limit.
    pub safe_wal_bytes: Option<i64>,
    /// Why the server gave it up, from PostgreSQL 17 on.
    pub invalidation: Option<String>,
    pub failover: bool,
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
    /// `pg_class.reltuples`; negative where it is not known.
    pub estimated_rows: i64,
    /// Of the rows of `pg_publication_rel` and `pg_publication`, and when those were written: another one means that
    /// the table was away for a time.
    pub membership: String,
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
    pub fn published(&self, table: Table) -> Option<&Published> {
        self.tables.iter().find(|one| one.table == Some(table) && !one.is_leaf)
    }

    /// The identity of each table, in the order of [`Table::ALL`]; 0 of one that is not published.
    pub fn identities(&self) -> [u64; Table::ALL.len()] {
        Table::ALL.map(|table| self.published(table).map_or(0, Published::identity))
    }
}

/// Something that keeps nova from reading on: a stable code, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
    /// Tables that are to be read again; [`Tables::ALL`] with a new slot. None where that repairs nothing, or where only a
    /// person may say so.
    pub repair: Tables,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}. {}", self.code, self.detail, self.remedy)
    }
}

/// What is wrong with the server or the publication, whatever the store has: it goes away when it is corrected.
pub fn unfit(seen: &Seen, slot: &str, publication: &str) -> Option<Finding> {
    let finding = |code, detail: String, remedy: String| Some(Finding { code, detail, remedy, repair: Tables::NONE });
    if seen.version < VERSION_MIN {
        let detail = format!("the server has version {}", seen.version);
        return finding("pg-version", detail, "nova follows PostgreSQL 15 and later".to_owned());
    }
    if seen.in_recovery {
        let detail = "the server is a standby".to_owned();
        return finding(
            "pg-standby",
            detail,
            "Name the primary in postgres.url, or every host of the cluster".to_owned(),
        );
    }
    if seen.wal_level != "logical" {
        let detail = format!("wal_level is {}", seen.wal_level);
        let remedy = "Set wal_level = logical in postgresql.conf and restart the server; managed services have a switch \
                      for it (rds.logical_replication, cloudsql.logical_decoding)";
        return finding("pg-wal-level", detail, remedy.to_owned());
    }
    if !seen.may_replicate {
        let detail = "the role may not replicate".to_owned();
        let remedy = "ALTER ROLE … REPLICATION; on Amazon RDS GRANT rds_replication TO …";
        return finding("pg-no-replication-right", detail, remedy.to_owned());
    }
    unpublished(seen, slot, publication)
}

fn unpublished(seen: &Seen, slot: &str, publication: &str) -> Option<Finding> {
    let finding = |code, detail: String, remedy: String| Some(Finding { code, detail, remedy, repair: Tables::NONE });
    let names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
    let Some(row) = &seen.publication else {
        let detail = format!("there is no publication {publication} in the database {}", seen.database);
        let remedy = match seen.slot {
            // PostgreSQL looks a publication up as of the log's place, which is before a publication that is younger.
            Some(_) => format!(
                "Make it: CREATE PUBLICATION {publication} FOR TABLE {}; then a slot that is younger than it: nova cdc \
                 resnapshot (it drops the slot {slot})",
                followed()
            ),
            None => format!("Make it: CREATE PUBLICATION {publication} FOR TABLE {}", followed()),
        };
        return finding("pg-publication-missing", detail, remedy);
    };
    if let Some(leaf) = seen.tables.iter().find(|one| one.is_leaf) {
        let detail = format!("changes of the partition {}.{} come under its own name", leaf.namespace, leaf.name);
        let remedy = format!("ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)");
        return finding("pg-publication-leaf", detail, remedy);
    }
    let missing: Vec<_> =
        Table::ALL.iter().filter(|table| seen.published(**table).is_none()).map(|table| table.name()).collect();
    if missing.len() == Table::ALL.len() {
        let detail = format!("the publication {publication} has none of the tables {}", names.join(", "));
        let remedy = format!("ALTER PUBLICATION {publication} ADD TABLE {}", followed());
        return finding("pg-publication-empty", detail, remedy);
    }
    if let Some(table) = Table::ALL
        .into_iter()
        .find(|table| seen.tables.iter().filter(|one| one.table == Some(*table) && !one.is_leaf).count() > 1)
    {
        let detail = format!("the publication {publication} has several tables {table}, in different schemas");
        let remedy = format!("Leave one of them: ALTER PUBLICATION {publication} DROP TABLE …");
        return finding("pg-publication-ambiguous", detail, remedy);
    }
    let silent = [("insert", row.inserts), ("update", row.updates), ("delete", row.deletes)];
    let silent: Vec<_> = silent.iter().filter(|(_, publishes)| !publishes).map(|(name, _)| *name).collect();
    if !silent.is_empty() {
        let detail = format!("the publication {publication} does not publish: {}", silent.join(", "));
        let remedy = format!("ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')");
        return finding("pg-publication-no-deletes", detail, remedy);
    }
    uncovered(seen, publication)
}

/// The followed tables as a publication names them. Of users only the columns that nova keeps leave the server, so that
/// private ones do not (column lists: PostgreSQL 15 and later).
fn followed() -> String {
    let table = |table: &Table| match table {
        Table::Users => {
            let columns: Vec<_> = table.columns().iter().map(|column| column.name).collect();
            format!("{table} ({})", columns.join(", "))
        }
        _ => table.name().to_owned(),
    };
    Table::ALL.iter().map(table).collect::<Vec<_>>().join(", ")
}

/// A table whose published columns lack some that nova needs.
fn uncovered(seen: &Seen, publication: &str) -> Option<Finding> {
    for table in Table::ALL {
        let Some(published) = seen.published(table) else { continue };
        let lacks = |name: &str| !published.columns.iter().any(|(known, _)| known == name);
        let missing: Vec<_> = table
            .columns()
            .iter()
            .filter(|column| !column.nullable && lacks(column.name))
            .map(|one| one.name)
            .collect();
        if !missing.is_empty() {
            let detail = format!("the publication {publication} leaves out {table}.{}", missing.join(", "));
            let columns: Vec<_> = table.columns().iter().map(|column| column.name).collect();
            let remedy = format!(
                "Add them to the column list of the table (ALTER PUBLICATION {publication} SET TABLE … names all tables \
                 again); nova needs {table} ({})",
                columns.join(", ")
            );
            return Some(Finding { code: "pg-publication-columns", detail, remedy, repair: Tables::NONE });
        }
    }
    None
}

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

/// Compares a position with what was seen, where [`unfit`] found nothing. The store's position alone decides: a slot that
/// is ahead of it has passed over changes that nova does not have. `forked`: the server's timeline left that of the position
/// before it.
pub fn judge(position: Option<&Position>, seen: &Seen, forked: bool, slot: &str) -> Verdict {
    let stop = |code, detail: String| {
        let remedy =
            "To read all tables again, with a new slot, while nova goes on serving: nova cdc resnapshot".to_owned();
        Verdict::Stop(Finding { code, detail, remedy, repair: Tables::ALL })
    };
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
            "pg-other-system",
            format!(
                "the server has the system identifier {}, and the store has followed {}: it is another database",
                seen.system_id, position.system_id
            ),
        );
    }
    if forked {
        return stop(
            "pg-timeline",
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
        return stop("pg-slot-lost", format!("the slot {slot} is gone"));
    };
    if !row.logical || row.plugin != "pgoutput" || row.database != seen.database {
        let (database, plugin) = (&row.database, &row.plugin);
        return foreign(format!("the slot {slot} is one of the database {database} and the plugin {plugin}"));
    }
    if let Some(reason) = row.lost() {
        return stop("pg-slot-lost", format!("the server has given up the slot {slot}: {reason}"));
    }
    if let Some(confirmed_lsn) = row.confirmed_lsn.filter(|confirmed_lsn| *confirmed_lsn > position.end_lsn) {
        return stop(
            "pg-slot-ahead",
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

/// The code of [`other_log`].
pub const OTHER_LOG: &str = "pg-behind";

/// The server is the same, and its log is another one than was read: a copy of it from before was put back.
pub fn other_log(what: &str, position: &Position) -> Finding {
    let detail = format!(
        "{what}, and the store has read up to {}: the server was restored from a copy without changes that nova has",
        lsn_text(position.end_lsn)
    );
    let remedy =
        "To read all tables again, with a new slot, while nova goes on serving: nova cdc resnapshot".to_owned();
    Finding { code: OTHER_LOG, detail, remedy, repair: Tables::ALL }
}

/// A slot that is not nova's is never dropped without a person's order.
fn foreign(detail: String) -> Verdict {
    let remedy = "Give nova a slot of its own: postgres.slot. To drop this one, make it again and read all tables, while nova \
                  goes on serving: nova cdc resnapshot";
    Verdict::Stop(Finding { code: "pg-slot-foreign", detail, remedy: remedy.to_owned(), repair: Tables::NONE })
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
    Verdict::Stop(Finding { code: "pg-publication-changed", detail, remedy, repair })
}
