//! `nova postgres status`.

use serde_json::{Value, json};

use crate::config::Config;
use crate::event::Table;
use crate::source::postgres::finding::{Effect, Finding};
use crate::source::postgres::fitness::{self, version};
use crate::source::postgres::lsn::lsn_text;
use crate::source::postgres::net::NetServer;
use crate::source::postgres::position::{Phase, Position};
use crate::source::postgres::server::Server as _;
use crate::source::postgres::slot::{Seen, SlotRow, Verdict, judge};

use super::{runtime, settings};
use crate::cli::followed::{Followed, followed};
use crate::cli::remote::Remote;
use crate::cli::{CliError, out};

/// What was found.
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

/// What the position says of the slot. That of a node that runs is its own to judge: it says so in its state.
fn of_position(followed: &Followed, seen: &Seen, slot: &str) -> Option<Finding> {
    let judged = match followed {
        Followed::Store(Some(position)) => judge(Some(position), seen, false, slot),
        Followed::Node { committed_lsn, .. } => {
            let of_node = Position {
                phase: Phase::Stream,
                end_lsn: *committed_lsn,
                system_id: seen.system_id,
                published: seen.identities(),
                ..Position::default()
            };
            // It moves while it is looked at: the log's end is no matter here.
            let seen = Seen { flush_lsn: u64::MAX, ..seen.clone() };
            judge(Some(&of_node).filter(|_| *committed_lsn > 0), &seen, false, slot)
        }
        // The slot of a store that is elsewhere.
        Followed::Store(None) => return None,
    };
    match judged {
        Verdict::Stop(finding) => Some(finding),
        Verdict::GoOn { .. } | Verdict::Snapshot => None,
    }
}

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
            "version": version(seen.version), "system_identifier": seen.system_id.to_string(), "timeline": seen.timeline,
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
        version(seen.version),
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
