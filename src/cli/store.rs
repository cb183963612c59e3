//! `nova backup`, `nova restore`, `nova rebuild`: the store as a whole.

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

use super::remote::Remote;
use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct BackupArgs {
    /// Where the copy goes; must not be there yet.
    file: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
pub(super) struct RestoreArgs {
    /// A backup.
    file: PathBuf,
    /// Also when there is a store; it is kept beside as nova.redb.before-restore, which must not be there yet.
    #[arg(long)]
    replace: bool,
    /// Ask ClickHouse which events it has since the backup: their rows are not sent again.
    #[arg(long)]
    reconcile: bool,
}

#[derive(clap::Args)]
pub(super) struct RebuildArgs {
    /// Ask ClickHouse which events it has: of what is read again only the others are sent.
    #[arg(long)]
    reconcile: bool,
}

fn open(path: &Path) -> Result<Store, CliError> {
    Ok(Store::open(path, &Options::default(), |_| {}).map_err(AppError::from)?)
}

fn existing(data: &Path) -> Result<PathBuf, CliError> {
    let path = app::store_path(data);
    if path.exists() { Ok(path) } else { Err(CliError::Failed(format!("there is no store in {}", data.display()))) }
}

/// A running node makes the copy itself, in `backups` beside its store; from there it is moved where it is seen.
pub(super) fn backup(args: &BackupArgs, data: &Path, json: bool) -> Result<(), CliError> {
    let made = |entries: u64, file: &Path, whose: &str| {
        let words = format!("{entries} entries are in {}{whose}", file.display());
        Ok(out::done(json, &words, &json!({ "file": file, "entries": entries }))?)
    };
    if let Some(node) = args.remote.node(data)? {
        if args.file.exists() {
            return Err(CliError::Failed(format!("{} is there already; choose another name", args.file.display())));
        }
        let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let answer = node.post("backup", &json!({ "name": name }))?;
        let at = PathBuf::from(answer["file"].as_str().unwrap_or_default());
        let entries = answer["entries"].as_u64().unwrap_or_default();
        if !at.exists() {
            return made(entries, &at, " of that node");
        }
        copy(&at, &args.file)?;
        std::fs::remove_file(&at).map_err(|error| failed("cannot remove", &at, &error))?;
        return made(entries, &args.file, "");
    }
    let entries = open(&existing(data)?)?.copy_to(&args.file).map_err(|error| CliError::Failed(error.to_string()))?;
    made(entries, &args.file, "")
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("{what} {}: {error}", path.display()))
}

/// A whole copy that is on the disk.
fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    let copied = std::fs::copy(from, to).and_then(|_| std::fs::File::open(to)?.sync_all());
    copied.map_err(|error| failed(&format!("cannot copy {} to", from.display()), to, &error))
}

pub(super) fn restore(args: &RestoreArgs, config: &Config, json: bool) -> Result<(), CliError> {
    let data = &config.data_dir;
    if !args.file.exists() {
        return Err(CliError::Failed(format!("there is no file {}", args.file.display())));
    }
    // Proves that it is a store this build reads, and that nobody has it open.
    drop(open(&args.file)?);
    std::fs::create_dir_all(data).map_err(|error| failed("cannot make", data, &error))?;
    let path = app::store_path(data);
    let before = path.with_extension("redb.before-restore");
    if path.exists() {
        if !args.replace {
            let text = "there is a store already; with --replace it is kept beside as nova.redb.before-restore";
            return Err(CliError::Failed(text.to_owned()));
        }
        drop(open(&path)?);
        if before.exists() {
            let text = format!("{} is there from an earlier restore: move it away or remove it", before.display());
            return Err(CliError::Failed(text));
        }
    }
    // The backup may be the store that is about to be moved away, or on a disk that fails: first it is whole beside.
    let aside = path.with_extension("redb.restoring");
    copy(&args.file, &aside)?;
    let report = args.reconcile.then(|| reconcile(&open(&aside)?, config, false)).transpose();
    if report.is_err() {
        std::fs::remove_file(&aside)?;
    }
    let report = report?;
    let moved = |from: &Path, to: &Path| std::fs::rename(from, to).map_err(|error| failed("cannot make", to, &error));
    if path.exists() {
        moved(&path, &before)?;
    }
    moved(&aside, &path)?;
    let next = report.as_ref().map_or_else(
        || {
            "what was consumed after the backup is read again from Kafka; client events of that time whose rows ClickHouse \
             has already will be there twice: restore again with --reconcile, unless there are none"
                .to_owned()
        },
        told,
    );
    let words = format!("{} is the store of {}\n{next}", args.file.display(), data.display());
    let reconciled = report.as_ref().map(figures);
    Ok(out::done(json, &words, &json!({ "restored": args.file, "data": data, "reconciled": reconciled }))?)
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

fn reconcile(store: &Store, config: &Config, everything: bool) -> Result<Report, CliError> {
    let clickhouse = clickhouse(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(reconcile::reconcile(store, &clickhouse, everything, Clock::System.now_ms()));
    report.map_err(|error| CliError::Failed(format!("not reconciled, and nothing was replaced: {error}")))
}

fn told(report: &Report) -> String {
    let Report { delivered, dropped, left } = report;
    format!(
        "ClickHouse has {delivered} events that may come again: they will be counted, and not sent. Of the outbox it has \
         {dropped} rows, {left} wait"
    )
}

fn figures(report: &Report) -> Value {
    let Report { delivered, dropped, left } = report;
    json!({ "delivered_events": delivered, "dropped_rows": dropped, "waiting_rows": left })
}
