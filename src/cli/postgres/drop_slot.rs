//! `nova postgres drop-slot` drops the replication slot.

use serde_json::json;

use crate::config::Config;
use crate::source::postgres::lsn::lsn_text;
use crate::source::postgres::net::NetServer;
use crate::source::postgres::server::{Failure, Server as _};

use super::configured::settings;
use crate::cli::error::CliError;
use crate::cli::followed::{Followed, followed};
use crate::cli::out;
use crate::cli::remote::Remote;
use crate::cli::runtime::runtime;

pub(super) fn run(force: bool, remote: &Remote, config: &Config, as_json: bool) -> Result<(), CliError> {
    let settings = settings(config)?;
    let slot = settings.follow.slot.clone();
    let followed = followed(&slot, remote, config)?;
    let told = |failure: Failure| CliError::Failed(failure.finding().to_string());
    let (runtime, mut server) = (runtime()?, NetServer::new(settings.connect));
    let seen = runtime.block_on(server.look()).map_err(told)?;
    let Some(row) = &seen.slot else {
        let words = format!("there is no slot {slot}: nothing was done");
        return Ok(out::done(as_json, &words, &json!({ "slot": slot, "dropped": false }))?);
    };
    if let Some(pid) = row.active_pid {
        return Err(CliError::Failed(format!(
            "process {pid} ({}) reads the slot {slot}: stop nova first. If that is no nova: SELECT \
             pg_terminate_backend({pid})",
            row.active_by
        )));
    }
    if let (Followed::Node { .. } | Followed::Store(Some(_)), false) = (&followed, force) {
        return Err(CliError::Failed(format!(
            "the store follows the slot {slot}, {}. Without the slot the changes from there on are lost to it, and all tables \
             are to be read again (nova cdc resnapshot). To drop it all the same: nova postgres drop-slot --force",
            followed.words()
        )));
    }
    let (kept_bytes, confirmed) = (row.held_bytes(seen.flush_lsn), row.confirmed_lsn.map(lsn_text));
    runtime.block_on(server.drop_slot()).map_err(told)?;
    let words = format!(
        "the slot {slot} is dropped: the server keeps {} MiB of its log no longer for it. Changes after {} can be read no more; \
         nova, if it comes back, reads all tables again (nova cdc resnapshot)",
        kept_bytes >> 20,
        confirmed.as_deref().unwrap_or("0/0"),
    );
    let value = json!({ "slot": slot, "dropped": true, "freed_bytes": kept_bytes, "confirmed_flush_lsn": confirmed });
    Ok(out::done(as_json, &words, &value)?)
}
