//! `nova store` and `nova rebuild` work on the store as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nova_storage::{Options, Store};
use serde_json::{Value, json};

use crate::app::{self, AppError};
use crate::clock::Clock;
use crate::config::Config;
use crate::pipeline::rebuild::{Known, rebuild};
use crate::pipeline::reconcile::{self, Report};
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};

use super::error::CliError;
use super::out;
use super::remote::{Node, Place, Remote, plain};
use super::runtime::runtime;

#[derive(clap::Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    action: Action,
}

/// The seconds for which the command asks a node to wait for the end of a check before the node answers. The command's
/// own timeout is longer than the time for which the node waits.
const CHECK_WAIT_S: u64 = 20;

#[derive(clap::Subcommand)]
enum Action {
    /// Check every page of the store of a stopped node or of a running one, without changing it.
    Verify {
        #[command(flatten)]
        remote: Remote,
    },
    /// Copy the stopped store into a smaller file, without removed data, and overwrite the old file. Compaction needs
    /// room for both files.
    Compact,
}

#[derive(clap::Args)]
pub(super) struct RebuildArgs {
    /// Ask ClickHouse which events it has. nova sends again only the events that ClickHouse lacks.
    #[arg(long)]
    reconcile: bool,
}

fn open(path: &Path) -> Result<Store, CliError> {
    Ok(Store::open(path, &Options { check: None, ..Options::default() }, |_| {}).map_err(AppError::from)?)
}

pub(super) fn existing(data: &Path) -> Result<PathBuf, CliError> {
    let path = app::store_path(data);
    if path.exists() { Ok(path) } else { Err(CliError::Failed(format!("there is no store in {}", data.display()))) }
}

pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("{what} {}: {error}", path.display()))
}

pub(super) fn run_store(args: &StoreArgs, data: &Path, json: bool) -> Result<(), CliError> {
    match &args.action {
        Action::Verify { remote } => {
            let verified = || {
                let path = existing(data)?;
                nova_storage::verify(&path).map_err(AppError::from)?;
                Ok(path)
            };
            match remote.place_of(data, verified)? {
                Place::Running(node) => of_running(&node, json),
                Place::Stopped(path) => whole(&path.display().to_string(), path.metadata()?.len(), json),
            }
        }
        Action::Compact => {
            let path = existing(data)?;
            let compacted = open(&path)?.compact(&path);
            let (before, after) = compacted.map_err(|error| CliError::Failed(error.to_string()))?;
            let words = format!("{} has {after} bytes, {before} before; the old file is overwritten", path.display());
            Ok(out::done(json, &words, &json!({ "store": path, "bytes": after, "bytes_before": before }))?)
        }
    }
}

fn whole(store: &str, bytes: u64, json: bool) -> Result<(), CliError> {
    let words = format!("{store} is whole: every page of its {bytes} bytes is as it was written");
    Ok(out::done(json, &words, &json!({ "store": store, "bytes": bytes, "whole": true }))?)
}

/// Asks a running node again and again until it has checked its own store.
fn of_running(node: &Node, json: bool) -> Result<(), CliError> {
    let path = format!("store/verify?wait_s={CHECK_WAIT_S}");
    let mut answer = node.post(&path, &json!({}))?;
    loop {
        let bytes = answer["bytes"].as_u64().unwrap_or_default();
        let shown = |member: &str| plain(answer[member].as_str().unwrap_or_default());
        match answer["check"].as_str() {
            Some("ok") => return whole(&shown("store"), bytes, json),
            Some("damaged") => return Err(CliError::Failed(shown("detail"))),
            Some("running") => out::complain(&format!("{} of {bytes} bytes are checked", answer["checked_bytes"])),
            _ => {
                let text = "too much was written during the check: ask again when less is, or stop the node first";
                return Err(CliError::Failed(format!("{} is not checked: {text}", shown("store"))));
            }
        }
        answer = node.get(&path)?;
    }
}

pub(super) fn run_rebuild(args: &RebuildArgs, config: &Config, json: bool) -> Result<(), CliError> {
    if config.kafka_brokers.is_none() {
        return Err(CliError::Usage(
            "there is no source to read again: kafka.brokers is not set. nova cdc resnapshot copies the tables of PostgreSQL again; \
             captures can be replayed into another --data"
                .to_owned(),
        ));
    }
    let store = open(&existing(&config.data_dir)?)?;
    let report = args.reconcile.then(|| reconcile(&store, config, true)).transpose()?;
    let known = args.reconcile.then(|| known(config)).transpose()?;
    let partitions = rebuild(&store, known.as_ref()).map_err(|error| CliError::Failed(error.to_string()))?;
    let asked = report.as_ref().map_or_else(String::new, |report| format!("{}\n", told(report)));
    let words = format!(
        "{asked}{partitions} partitions are read from their beginning at the next start; when they were read to their end, \
         rows that did not come again are deleted in ClickHouse"
    );
    let reconciled = report.as_ref().map(figures);
    Ok(out::done(json, &words, &json!({ "partitions": partitions, "reconciled": reconciled }))?)
}

/// The time limit for a query of ClickHouse. The time limit is long, because ClickHouse reads a table with years of
/// rows without an index.
const TIMEOUT: Duration = Duration::from_secs(600);

fn clickhouse(config: &Config) -> Result<ClickHouse, CliError> {
    let settings = app::clickhouse(config)
        .ok_or_else(|| CliError::Usage("--reconcile asks ClickHouse, and clickhouse.url is not set".to_owned()))?;
    let settings = ClickHouseSettings { timeout: TIMEOUT, ..settings };
    Ok(ClickHouse::new(&settings).map_err(AppError::from)?)
}

/// The keys of the rows of source tables that ClickHouse has.
fn known(config: &Config) -> Result<Known, CliError> {
    let clickhouse = clickhouse(config)?;
    let runtime = runtime()?;
    let known = runtime.block_on(reconcile::known(&clickhouse));
    known.map_err(|error| CliError::Failed(format!("nothing was emptied: {error}")))
}

pub(super) fn reconcile(store: &Store, config: &Config, everything: bool) -> Result<Report, CliError> {
    let clickhouse = clickhouse(config)?;
    let runtime = runtime()?;
    let report = runtime.block_on(reconcile::reconcile(store, &clickhouse, everything, Clock::System.now_ms()));
    report.map_err(|error| CliError::Failed(format!("not reconciled, and nothing was replaced: {error}")))
}

pub(super) fn told(report: &Report) -> String {
    let Report { delivered, dropped, left } = report;
    format!(
        "ClickHouse has {delivered} events that may come again: they will be counted, and not sent. Of the outbox it has \
         {dropped} rows, {left} wait"
    )
}

pub(super) fn figures(report: &Report) -> Value {
    let Report { delivered, dropped, left } = report;
    json!({ "delivered_events": delivered, "dropped_rows": dropped, "waiting_rows": left })
}
