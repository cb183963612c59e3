//! `nova store`, `nova rebuild`: the store as a whole.

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

use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Check every page of the stopped store, without changing it.
    Verify,
    /// Copy the stopped store into a smaller file, without what was removed, and overwrite the old file. Needs room for
    /// both files.
    Compact,
}

#[derive(clap::Args)]
pub(super) struct RebuildArgs {
    /// Ask ClickHouse which events it has: of what is read again only the others are sent.
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
    let path = existing(data)?;
    match args.action {
        Action::Verify => {
            nova_storage::verify(&path).map_err(AppError::from)?;
            let bytes = path.metadata()?.len();
            let words = format!("{} is whole: every page of its {bytes} bytes is as it was written", path.display());
            Ok(out::done(json, &words, &json!({ "store": path, "bytes": bytes, "whole": true }))?)
        }
        Action::Compact => {
            let compacted = open(&path)?.compact(&path);
            let (before, after) = compacted.map_err(|error| CliError::Failed(error.to_string()))?;
            let words = format!("{} has {after} bytes, {before} before; the old file is overwritten", path.display());
            Ok(out::done(json, &words, &json!({ "store": path, "bytes": after, "bytes_before": before }))?)
        }
    }
}

pub(super) fn run_rebuild(args: &RebuildArgs, config: &Config, json: bool) -> Result<(), CliError> {
    if config.kafka_brokers.is_none() {
        return Err(CliError::Usage(
            "there is no source to read again: kafka.brokers is not set. Captures can be replayed into another --data"
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

/// A table of years is read through without an index.
const TIMEOUT: Duration = Duration::from_secs(600);

fn clickhouse(config: &Config) -> Result<ClickHouse, CliError> {
    let settings = app::clickhouse(config)
        .ok_or_else(|| CliError::Usage("--reconcile asks ClickHouse, and clickhouse.url is not set".to_owned()))?;
    let settings = ClickHouseSettings { timeout: TIMEOUT, ..settings };
    Ok(ClickHouse::new(&settings).map_err(AppError::from)?)
}

/// What ClickHouse has of the source's tables.
fn known(config: &Config) -> Result<Known, CliError> {
    let clickhouse = clickhouse(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let known = runtime.block_on(reconcile::known(&clickhouse));
    known.map_err(|error| CliError::Failed(format!("nothing was emptied: {error}")))
}

pub(super) fn reconcile(store: &Store, config: &Config, everything: bool) -> Result<Report, CliError> {
    let clickhouse = clickhouse(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
