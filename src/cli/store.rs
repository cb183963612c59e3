//! `nova backup`, `nova restore`, `nova rebuild`: the store as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nova_storage::{Options, Store};
use serde_json::json;

use crate::app::{self, AppError};
use crate::clock::Clock;
use crate::config::Config;
use crate::pipeline::rebuild::rebuild;
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
    /// Also when there is a store; it is kept beside as nova.redb.before-restore.
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
pub(super) fn backup(args: &BackupArgs, data: &Path) -> Result<(), CliError> {
    if let Some(node) = args.remote.node(data)? {
        if args.file.exists() {
            return Err(CliError::Failed(format!("{} is there already; choose another name", args.file.display())));
        }
        let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let made = node.post("backup", &json!({ "name": name }))?;
        let at = PathBuf::from(made["file"].as_str().unwrap_or_default());
        if at.exists() {
            std::fs::copy(&at, &args.file)?;
            std::fs::remove_file(&at)?;
            return Ok(out::line(&format!("{} entries are in {}", made["entries"], args.file.display()))?);
        }
        return Ok(out::line(&format!("{} entries are in {} of that node", made["entries"], at.display()))?);
    }
    let entries = open(&existing(data)?)?.copy_to(&args.file).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(out::line(&format!("{} entries are in {}", entries, args.file.display()))?)
}

pub(super) fn restore(args: &RestoreArgs, config: &Config) -> Result<(), CliError> {
    let data = &config.data_dir;
    if !args.file.exists() {
        return Err(CliError::Failed(format!("there is no file {}", args.file.display())));
    }
    // Proves that it is a store this build reads, and that nobody has it open.
    drop(open(&args.file)?);
    std::fs::create_dir_all(data)?;
    let path = app::store_path(data);
    if path.exists() {
        if !args.replace {
            let text = "there is a store already; with --replace it is kept beside as nova.redb.before-restore";
            return Err(CliError::Failed(text.to_owned()));
        }
        drop(open(&path)?);
    }
    let aside = path.with_extension("redb.restoring");
    std::fs::copy(&args.file, &aside)?;
    let report = args.reconcile.then(|| reconcile(&open(&aside)?, config, false)).transpose();
    if report.is_err() {
        std::fs::remove_file(&aside)?;
    }
    let report = report?;
    std::fs::File::open(&aside)?.sync_all()?;
    if path.exists() {
        std::fs::rename(&path, path.with_extension("redb.before-restore"))?;
    }
    std::fs::rename(&aside, &path)?;
    out::line(&format!("{} is the store of {}", args.file.display(), data.display()))?;
    Ok(out::line(&match report {
        Some(report) => told(&report),
        None => "what was consumed after the backup is read again from Kafka; client events of that time whose rows \
                 ClickHouse has already will be there twice: restore again with --reconcile, unless there are none"
            .to_owned(),
    })?)
}

pub(super) fn run_rebuild(args: &RebuildArgs, config: &Config) -> Result<(), CliError> {
    if config.kafka_brokers.is_none() {
        return Err(CliError::Usage(
            "there is no source to read again: kafka.brokers is not set. Captures can be replayed into another --data"
                .to_owned(),
        ));
    }
    let store = open(&existing(&config.data_dir)?)?;
    let report = args.reconcile.then(|| reconcile(&store, config, true)).transpose()?;
    let partitions = rebuild(&store, args.reconcile).map_err(|error| CliError::Failed(error.to_string()))?;
    if let Some(report) = report {
        out::line(&told(&report))?;
    }
    Ok(out::line(&format!("{partitions} partitions are read from their beginning at the next start"))?)
}

fn reconcile(store: &Store, config: &Config, everything: bool) -> Result<Report, CliError> {
    /// A table of years is read through without an index.
    const TIMEOUT: Duration = Duration::from_secs(600);
    let settings = app::clickhouse(config)
        .ok_or_else(|| CliError::Usage("--reconcile asks ClickHouse, and clickhouse.url is not set".to_owned()))?;
    let settings = ClickHouseSettings { timeout: TIMEOUT, ..settings };
    let clickhouse = ClickHouse::new(&settings).map_err(AppError::from)?;
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
