//! `nova postgres status` shows the slot, the publication and their problems.

use serde_json::{Value, json};

use crate::config::Config;
use crate::event::Table;
use crate::source::postgres::finding::{Code, Effect, Finding, TABLE};
use crate::source::postgres::fitness;
use crate::source::postgres::lsn::lsn_text;
use crate::source::postgres::net::NetServer;
use crate::source::postgres::position::{Phase, Position};
use crate::source::postgres::server::Server as _;
use crate::source::postgres::slot::{Seen, SlotRow, Verdict, judge};

use super::configured::settings;
use crate::cli::error::CliError;
use crate::cli::followed::{Followed, followed};
use crate::cli::out;
use crate::cli::remote::Remote;
use crate::cli::runtime::runtime;

/// The result of `nova postgres status`.
struct Status {
    slot: String,
    publication: String,
    seen: Seen,
    followed: Followed,
    found: Vec<Finding>,
}

pub(super) fn run(remote: &Remote, config: &Config, as_json: bool) -> Result<(), CliError> {
    let settings = settings(config)?;
    let followed = followed(&settings.follow.slot, remote, config)?;
    let mut server = NetServer::new(settings.connect);
    let looked = runtime()?.block_on(server.look());
    let seen = looked.map_err(|failure| CliError::Failed(failure.finding().to_string()))?;
    let (slot, publication) = (settings.follow.slot, settings.follow.publication);
    let mut found = fitness::findings(&seen, &slot, &publication);
    found.extend(of_position(&followed, &seen, &slot));
    found.sort_by_key(|finding| finding.code.effect() == Effect::Warns);
    let stops = found.iter().filter(|finding| finding.code.effect() == Effect::Stops).count();
    let status = Status { slot, publication, seen, followed, found };
    if as_json {
        out::line(&document(&status).to_string())?
    } else {
        table(&status)?
    }
    match stops {
        0 => Ok(()),
        _ => Err(CliError::Failed(format!("nova cannot read on: {stops} findings stop it"))),
    }
}

/// The finding about the store's position, compared with the slot. A running node compares its own position, and
/// reports the finding in its state.
fn of_position(followed: &Followed, seen: &Seen, slot: &str) -> Option<Finding> {
    let judged = match followed {
        Followed::Store(Some(position)) => judge(Some(position), seen, false, slot),
        // The node has no position in PostgreSQL's log yet. The node reads the first snapshot with a new slot, or
        // reports why it does not read.
        Followed::Node { committed_lsn: 0, reason, .. } => return said_by(reason.as_deref().unwrap_or_default()),
        Followed::Node { committed_lsn, .. } => {
            let of_node = Position {
                phase: Phase::Stream,
                end_lsn: *committed_lsn,
                system_id: seen.system_id,
                published: seen.identities(),
                ..Position::default()
            };
            // The node's position moves while the command reads it, so the command ignores the end of the server's log.
            let seen = Seen { flush_lsn: u64::MAX, ..seen.clone() };
            judge(Some(&of_node), &seen, false, slot)
        }
        // No store on this machine follows the slot, so the slot belongs to a store on a different machine.
        Followed::Store(None) => return None,
    };
    match judged {
        Verdict::Stop(finding) => Some(finding),
        Verdict::GoOn { .. } | Verdict::Snapshot => None,
    }
}

/// The finding in a node's reason (`postgres: pg-…: …`), or `None` if the reason has no finding, for example while the
/// node reads a snapshot. The function ignores problems at the server, because the command asks the server and finds
/// such problems directly.
fn said_by(reason: &str) -> Option<Finding> {
    let (name, words) = reason.strip_prefix("postgres: ")?.split_once(": ")?;
    let (code, ..) = TABLE.iter().find(|(_, known, _)| *known == name)?;
    OF_POSITION.contains(code).then(|| Finding::new(*code, words, "The node that runs says so"))
}

/// The codes of the findings about a store's position.
const OF_POSITION: [Code; 11] = [
    Code::SlotLost,
    Code::SlotAhead,
    Code::SlotForeign,
    Code::SlotInUse,
    Code::OtherSystem,
    Code::Timeline,
    Code::Behind,
    Code::Position,
    Code::HeldWal,
    Code::KeepSize,
    Code::PublicationChanged,
];

pub(super) fn finding(finding: &Finding) -> Value {
    let Finding { code, detail, remedy, .. } = finding;
    let stops = code.effect() == Effect::Stops;
    json!({ "code": code.name(), "stops": stops, "detail": detail, "remedy": remedy })
}

fn document(status: &Status) -> Value {
    let Status { slot, publication, seen, followed, found } = status;
    let limits = &seen.limits;
    let row = seen.slot.as_ref().map(|row| {
        json!({
            "active": row.active_pid.is_some(),
            "active_pid": row.active_pid,
            "active_by": row.active_by,
            "wal_status": row.wal_status,
            "invalidation_reason": row.invalidation,
            "restart_lsn": row.restart_lsn.map(lsn_text),
            "confirmed_flush_lsn": row.confirmed_lsn.map(lsn_text),
            "retained_bytes": row.held_bytes(seen.flush_lsn),
            "safe_wal_bytes": row.safe_wal_bytes,
            "failover": row.failover,
            "spilled_bytes": row.spilled_bytes,
        })
    });
    let tables = seen.tables.iter().map(|table| {
        let columns: Vec<_> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
        json!({
            "schema": table.namespace, "table": table.name, "columns": columns, "filter": table.filter,
            "replica_identity": table.replica_identity.to_string(),
        })
    });
    let published = seen.publication.as_ref().map(|row| {
        json!({
            "insert": row.inserts, "update": row.updates, "delete": row.deletes, "truncate": row.truncates,
            "publish_via_partition_root": row.via_root, "tables": tables.collect::<Vec<_>>(),
        })
    });
    let findings: Vec<_> = found.iter().map(finding).collect();
    json!({
        "server": {
            "version": seen.version_text(), "system_identifier": seen.system_id.to_string(), "timeline": seen.timeline,
            "database": seen.database, "role": limits.role, "standby": seen.in_recovery,
            "flush_lsn": lsn_text(seen.flush_lsn), "wal_level": seen.wal_level,
            "max_slot_wal_keep_size_mib": limits.keep_mib, "idle_replication_slot_timeout_s": limits.idle_timeout_s,
            "slots": { "used": limits.slots.used, "max": limits.slots.most },
            "wal_senders": { "used": limits.senders.used, "max": limits.senders.most },
            "logical_decoding_work_mem_bytes": limits.work_mem_bytes,
        },
        "slot": { "name": slot, "exists": row.is_some(), "state": row },
        "publication": { "name": publication, "exists": published.is_some(), "state": published },
        "store": followed.document(),
        "findings": findings,
    })
}

fn table(status: &Status) -> Result<(), CliError> {
    let Status { slot, publication, seen, followed, found } = status;
    let limits = &seen.limits;
    let standby = if seen.in_recovery { ", a standby" } else { "" };
    out::line(&format!(
        "server       PostgreSQL {}{standby}, database {}, as {}, log at {}",
        seen.version_text(),
        seen.database,
        limits.role,
        lsn_text(seen.flush_lsn)
    ))?;
    let keep = if limits.keep_mib < 0 { "no limit".to_owned() } else { format!("{} MiB", limits.keep_mib) };
    out::line(&format!(
        "settings     wal_level {}, max_slot_wal_keep_size {keep}, slots {} of {}, senders {} of {}",
        seen.wal_level, limits.slots.used, limits.slots.most, limits.senders.used, limits.senders.most
    ))?;
    match &seen.slot {
        Some(row) => of_slot(slot, row, seen.flush_lsn)?,
        None => out::line(&format!("slot         {slot}: is not there"))?,
    }
    out::line(&format!("store        {}", followed.words()))?;
    match &seen.publication {
        Some(row) => {
            let kinds = [
                ("insert", row.inserts),
                ("update", row.updates),
                ("delete", row.deletes),
                ("truncate", row.truncates),
            ];
            let kinds: Vec<_> = kinds.iter().filter(|(_, published)| *published).map(|(name, _)| *name).collect();
            out::line(&format!("publication  {publication}: {}", kinds.join(", ")))?;
        }
        None => out::line(&format!("publication  {publication}: is not there"))?,
    }
    for published in &seen.tables {
        let columns: Vec<_> = published.columns.iter().map(|(name, _)| name.as_str()).collect();
        let filter = published.filter.as_ref().map_or(String::new(), |filter| format!(" WHERE {filter}"));
        out::line(&format!(
            "             {}.{} ({}){filter}",
            published.namespace,
            published.name,
            columns.join(", ")
        ))?;
    }
    for table in Table::ALL.iter().filter(|table| seen.published(**table).is_none()) {
        out::line(&format!("             {table}: is not published"))?;
    }
    for finding in found {
        out::line(&format!("{}: {}\n    {}", finding.code, finding.detail, finding.remedy))?;
    }
    Ok(out::line(&format!("{} findings", found.len()))?)
}

fn of_slot(slot: &str, row: &SlotRow, flush_lsn: u64) -> Result<(), CliError> {
    let lsn = |lsn: Option<u64>| lsn.map_or_else(|| "nowhere".to_owned(), lsn_text);
    let active = match row.active_pid {
        Some(pid) => format!("read by process {pid} ({})", row.active_by),
        None => "read by nobody".to_owned(),
    };
    let safe = row
        .safe_wal_bytes
        .map_or_else(|| "without a limit".to_owned(), |bytes| format!("{} MiB until it is lost", bytes >> 20));
    let lost = row.invalidation.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    Ok(out::line(&format!(
        "slot         {slot}: {active}; wal_status {}{lost}; confirmed up to {}; {} MiB of the log are kept for it, {safe}",
        row.wal_status,
        lsn(row.confirmed_lsn),
        row.held_bytes(flush_lsn) >> 20
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::postgres::slot::{Limits, Publication};

    fn node(state: &str, reason: &str, committed_lsn: u64) -> Followed {
        Followed::Node { state: state.to_owned(), reason: Some(reason.to_owned()), committed_lsn }
    }

    #[test]
    fn a_node_that_reads_its_first_snapshot_is_not_told_that_the_slot_is_somebody_elses() {
        let seen = Seen {
            database: "app".to_owned(),
            slot: Some(SlotRow {
                plugin: "pgoutput".to_owned(),
                database: "app".to_owned(),
                logical: true,
                restart_lsn: Some(1),
                ..SlotRow::default()
            }),
            publication: Some(Publication::default()),
            limits: Limits::default(),
            ..Seen::default()
        };
        let reads = node("snapshot", "postgres: the snapshot is read: 7 rows of about 9, now posts", 0);
        assert_eq!(of_position(&reads, &seen, "nova"), None);
        assert!(reads.words().contains("the snapshot is read: 7 rows") && !reads.words().contains("up to"));
        assert_eq!(of_position(&node("starting", "postgres: not connected yet", 0), &seen, "nova"), None);
        let foreign = node("stopped", "postgres: pg-slot-foreign: the slot nova is there. Give nova another", 0);
        let found = of_position(&foreign, &seen, "nova").unwrap();
        assert_eq!((found.code, &*found.detail), (Code::SlotForeign, "the slot nova is there. Give nova another"));
        assert_eq!(of_position(&node("streaming", "", 7), &seen, "nova"), None);
    }
}
