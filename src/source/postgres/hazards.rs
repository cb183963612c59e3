//! Finds problems that do not stop nova but will do harm: a disk that fills, a slot that is lost while nova does not
//! run, an UPDATE of the application that PostgreSQL refuses.

use crate::event::Table;

use super::around;
use super::finding::{Code, Finding};
use super::publication::{self, Listed, Through, quoted, through};
use super::slot::{Published, Seen};

/// The lowest useful `max_slot_wal_keep_size` in MiB: one bulk load uses up a lower limit.
const KEEP_MIN_MIB: i64 = 1_024;
/// The longest time (in seconds) for which a transaction may be open: a longer transaction delays the slot's restart
/// position and the beginning of a snapshot.
const OLD_TRANSACTION_S: i64 = 300;
/// Spilled bytes are a problem if they reach this multiple of `logical_decoding_work_mem`.
const SPILLED_TIMES: i64 = 4;
/// For each major version, the two minor versions in which PostgreSQL repaired logical decoding. The first minor
/// version ends a loss of changes (release notes of 2025-05-08, "Fix data loss in logical replication"). The second
/// minor version ends an exhaustion of memory (2025-08-14, "Fix re-distribution of invalidation messages").
const MINOR_MIN: [(u32, u32, u32); 3] = [(15, 13, 14), (16, 9, 10), (17, 5, 6)];

pub fn findings(seen: &Seen, slot: &str, publication: &str) -> Vec<Finding> {
    let mut found: Vec<_> = minor_version(seen).into_iter().collect();
    found.extend(no_room(seen));
    found.extend(seen.publication.iter().filter(|row| row.is_younger).map(|_| younger(publication)));
    found.extend(of_limits(seen, slot));
    found.extend(of_slot(seen, slot));
    for published in seen.tables.iter().filter(|one| !one.is_leaf) {
        found.extend(of_table(published, seen, publication));
        found.extend(unreadable(published, &seen.limits.role));
    }
    found
}

fn minor_version(seen: &Seen) -> Option<Finding> {
    let (major, minor) = (seen.version / 10_000, seen.version % 10_000);
    let (_, no_loss, no_bloat) = MINOR_MIN.into_iter().find(|(known, ..)| *known == major)?;
    let what = match minor {
        _ if minor < no_loss => "may lose changes in logical decoding while a publication or a type is altered",
        _ if minor < no_bloat => "may use up memory in logical decoding while publications are altered",
        _ => return None,
    };
    let detail = format!("PostgreSQL {} {what}", seen.version_text());
    Some(Finding::new(Code::MinorVersion, detail, format!("Update the server to {major}.{no_bloat} or later")))
}

/// Returns the finding that the server lacks a free slot or a free WAL sender, although nova will need one next.
pub fn no_room(seen: &Seen) -> Option<Finding> {
    let slot_is_read = seen.slot.as_ref().is_some_and(|slot| slot.active_pid.is_some());
    if seen.slot.is_none() && seen.limits.slots.is_full() {
        return Some(slots_full());
    }
    (!slot_is_read && seen.limits.senders.is_full()).then(senders_full)
}

pub fn slots_full() -> Finding {
    let detail = "all replication slots of the server are in use (max_replication_slots)";
    let remedy = "Drop one that nobody reads (SELECT slot_name, active FROM pg_replication_slots), or raise \
                  max_replication_slots and restart the server";
    Finding::new(Code::SlotsFull, detail, remedy)
}

pub fn senders_full() -> Finding {
    let detail = "all replication sessions of the server are in use (max_wal_senders)";
    let remedy = "End one that nobody needs (SELECT pid, application_name FROM pg_stat_replication), or raise \
                  max_wal_senders and restart the server";
    Finding::new(Code::SendersFull, detail, remedy)
}

/// Returns the finding for a publication that is younger than the slot's position. PostgreSQL looks the publication up
/// as of this position.
pub fn younger(publication: &str) -> Finding {
    let detail = format!(
        "the publication {publication} was made or altered after changes that the slot still has to read; where it did not \
         exist, PostgreSQL 15 to 17 end the stream, and 18 sends nothing"
    );
    let remedy = "Where the stream does not go on, a slot that is younger than the publication: nova cdc resnapshot";
    Finding::new(Code::PublicationYounger, detail, remedy)
}

fn of_limits(seen: &Seen, slot: &str) -> Vec<Finding> {
    let (limits, mut found) = (&seen.limits, Vec::new());
    let keep = "ALTER SYSTEM SET max_slot_wal_keep_size = '8GB'; SELECT pg_reload_conf()";
    match limits.keep_mib {
        ..0 => {
            let detail =
                "max_slot_wal_keep_size is -1: while nova does not read, the server's disk fills without a limit";
            found.push(Finding::new(Code::KeepSize, detail, format!("Set a limit that the disk has room for: {keep}")));
        }
        mib @ 0..KEEP_MIN_MIB => {
            let detail = format!("max_slot_wal_keep_size is {mib} MiB: a short stop of nova loses the slot {slot}");
            found.push(Finding::new(Code::KeepSize, detail, format!("Set more: {keep}")));
        }
        KEEP_MIN_MIB.. => {}
    }
    if limits.idle_timeout_s > 0 {
        let hours = limits.idle_timeout_s as f64 / 3_600.0;
        let detail = format!(
            "idle_replication_slot_timeout is {} s: the slot {slot} is lost when nova stands for {hours:.1} hours",
            limits.idle_timeout_s
        );
        let remedy = "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(), or never stop nova for so \
                      long";
        found.push(Finding::new(Code::IdleTimeout, detail, remedy));
    }
    if let Some(oldest) = limits.oldest.as_ref().filter(|oldest| oldest.age_s >= OLD_TRANSACTION_S) {
        let detail = format!(
            "a transaction is open for {} s: {}; the server keeps its log from there on, and a snapshot waits for its end",
            oldest.age_s, oldest.who
        );
        let remedy =
            "End it: COMMIT or ROLLBACK in its session, SELECT pg_terminate_backend(pid), or ROLLBACK PREPARED";
        found.push(Finding::new(Code::OldTransaction, detail, remedy));
    }
    found
}

fn of_slot(seen: &Seen, slot: &str) -> Vec<Finding> {
    let Some(row) = &seen.slot else { return Vec::new() };
    let mut found = Vec::new();
    if seen.version >= 17_00_00 && seen.limits.has_standby && !row.failover {
        let detail = format!("a standby follows the server, and the slot {slot} is not one that it keeps");
        let remedy = "Stop nova, then in a replication session (psql \"… replication=database\"): ALTER_REPLICATION_SLOT … \
                      (FAILOVER true); docs/postgres.md, \"Standbys\". Else a promotion needs nova cdc resnapshot";
        found.push(Finding::new(Code::NoFailover, detail, remedy));
    }
    let most = seen.limits.work_mem_bytes.saturating_mul(SPILLED_TIMES);
    if row.spilled_bytes >= most && most > 0 {
        let detail = format!(
            "{} MiB of transactions went through the server's disk, as logical_decoding_work_mem is {} kB",
            row.spilled_bytes >> 20,
            seen.limits.work_mem_bytes >> 10
        );
        let remedy = format!(
            "ALTER SYSTEM SET logical_decoding_work_mem = '256MB'; SELECT pg_reload_conf(); then SELECT \
             pg_stat_reset_replication_slot('{slot}')"
        );
        found.push(Finding::new(Code::Spilling, detail, remedy));
    }
    found
}

/// Returns the findings for a table: PostgreSQL refuses the application's own UPDATE and DELETE, or the server sends
/// more data than nova keeps.
fn of_table(published: &Published, seen: &Seen, publication: &str) -> Vec<Finding> {
    let mut found: Vec<_> = no_identity(published, seen, publication).into_iter().collect();
    let name = format!("{}.{}", quoted(&published.namespace), quoted(&published.name));
    let lacks = |generated: bool| {
        let columns = published.identity_columns.iter();
        let columns = columns.filter(move |one| !one.published && one.generated == generated);
        columns.map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let uncovered = lacks(false);
    if !uncovered.is_empty() {
        let detail = format!(
            "the column list of {name} leaves out {uncovered} of its replica identity: PostgreSQL refuses the application's \
             UPDATE and DELETE"
        );
        let remedy = match published.replica_identity {
            'f' => format!(
                "A column list and REPLICA IDENTITY FULL exclude each other: ALTER TABLE {name} REPLICA IDENTITY DEFAULT"
            ),
            _ => format!("Add them to the list: ALTER PUBLICATION {publication} SET TABLE … names all tables again"),
        };
        found.push(Finding::new(Code::IdentityUncovered, detail, remedy));
    }
    let generated = lacks(true);
    if !generated.is_empty() && seen.version >= 18_00_00 {
        let detail = format!(
            "the replica identity of {name} has the generated columns {generated}, which are not published: PostgreSQL \
             refuses the application's UPDATE and DELETE"
        );
        let remedy = format!(
            "ALTER TABLE {name} REPLICA IDENTITY DEFAULT, or ALTER PUBLICATION {publication} SET (publish_generated_columns \
             = stored)"
        );
        found.push(Finding::new(Code::GeneratedIdentity, detail, remedy));
    }
    found.extend(keyless(published, &name));
    found.extend(private(published, seen, publication));
    found
}

/// Returns the finding that the table has no replica identity, so that PostgreSQL cannot identify its rows.
fn no_identity(published: &Published, seen: &Seen, publication: &str) -> Option<Finding> {
    let has_identity = match published.replica_identity {
        'n' => false,
        'd' => published.has_primary_key,
        'i' => !published.identity_columns.is_empty(),
        _ => true,
    };
    if has_identity {
        return None;
    }
    let name = format!("{}.{}", quoted(&published.namespace), quoted(&published.name));
    let detail = format!("{name} has no replica identity: PostgreSQL refuses the application's UPDATE and DELETE");
    let out = match seen.publication.as_ref().map(|row| through(row, published)) {
        None | Some(Through::ItsName) => format!(", or take it out: ALTER PUBLICATION {publication} DROP TABLE {name}"),
        // A single table cannot be removed from a publication of a schema or of all tables.
        Some(_) => String::new(),
    };
    let remedy = match published.replica_identity {
        'n' if published.has_primary_key => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT{out}"),
        _ => format!("{}{out}", primary_key(&name)),
    };
    Some(Finding::new(Code::NoReplicaIdentity, detail, remedy))
}

/// Returns a statement that gives a table a primary key that PostgreSQL accepts as replica identity.
pub fn primary_key(name: &str) -> String {
    format!(
        "ALTER TABLE {name} ADD PRIMARY KEY (id) (a key that is DEFERRABLE, or whose index is not valid, is none here: first \
         ALTER TABLE {name} DROP CONSTRAINT …)"
    )
}

/// Returns the finding that nova cannot identify a deleted row, or a row whose key changes, because the server sends
/// too little of the row.
fn keyless(published: &Published, name: &str) -> Option<Finding> {
    let columns: Vec<_> = published.identity_columns.iter().map(|column| column.name.as_str()).collect();
    if columns.is_empty() || columns.contains(&"id") {
        return None;
    }
    Some(without_key(name, &columns, published.replica_identity))
}

pub fn without_key(name: &str, columns: &[&str], replica_identity: char) -> Finding {
    let detail = format!(
        "the replica identity of {name} is ({}), without id: nova cannot tell which row is deleted, and a row that gets another \
         id stays under the old one, too",
        columns.join(", ")
    );
    let remedy = match replica_identity {
        'i' => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT, where the primary key is id"),
        _ => format!(
            "A primary key of id, or ALTER TABLE {name} REPLICA IDENTITY USING INDEX … with the unique index of id: \
             docs/your-own-tables.md, \"Keys and replica identity\""
        ),
    };
    Finding::new(Code::IdentityWithoutKey, detail, remedy)
}

fn private(published: &Published, seen: &Seen, publication: &str) -> Option<Finding> {
    let columns = published.columns.iter().map(|(name, _)| name.as_str());
    let columns: Vec<_> = columns.filter(|name| crate::decode::is_private(name)).collect();
    if columns.is_empty() {
        return None;
    }
    let name = format!("{}.{}", published.namespace, published.name);
    let detail = format!("{name} is published with {}: nova drops them, and they leave the server", columns.join(", "));
    let listed = Listed::of_published(published)?;
    let table = listed.table;
    let how = seen.publication.as_ref().map_or(Through::ItsName, |row| through(row, published));
    let remedy = match how {
        Through::ItsName => {
            format!("{}; then nova cdc resnapshot {table}", around::again(publication, &listed, published))
        }
        _ => of_its_own(seen, publication, how),
    };
    Some(Finding::new(Code::PrivateColumns, detail, remedy))
}

/// Returns the remedy for a publication of schemas or of all tables. A publication of schemas or of all tables cannot
/// have lists of columns, and no table can be removed from it.
pub fn of_its_own(seen: &Seen, publication: &str, how: Through) -> String {
    let own = publication::beside(publication);
    let tables = Table::ALL.into_iter().filter_map(|table| seen.published(table));
    let listed: Vec<_> = tables.filter_map(Listed::of_published).collect();
    let via_root = seen.tables.iter().any(|one| one.partitioned);
    format!(
        "A publication {} takes no lists of columns. Give nova one of its own: {}; then postgres.publication = \"{own}\", and \
         nova cdc resnapshot",
        how.words(),
        publication::create(&own, &listed, via_root)
    )
}

/// Returns the finding for columns that the role may not read although rows must be copied.
pub fn unreadable(published: &Published, role: &str) -> Option<Finding> {
    if published.unreadable.is_empty() {
        return None;
    }
    let name = format!("{}.{}", quoted(&published.namespace), quoted(&published.name));
    let role = if role.is_empty() { "nova" } else { role };
    let columns: Vec<_> = published.unreadable.iter().map(|name| quoted(name)).collect();
    let detail = format!("the role {role} may not read {name} ({})", columns.join(", "));
    let schema = quoted(&published.namespace);
    let role = quoted(role);
    let remedy =
        format!("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ({}) ON {name} TO {role}", columns.join(", "));
    Some(Finding::new(Code::NoTableRight, detail, remedy))
}

#[cfg(test)]
mod tests;
