//! `nova backup`, `nova restore`, `nova rebuild`: the store as a whole.

use std::path::{Path, PathBuf};

use nova_storage::{Options, Store};
use serde_json::json;

use crate::app::{self, AppError};
use crate::config::Config;
use crate::pipeline::rebuild::rebuild;

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

pub(super) fn restore(args: &RestoreArgs, data: &Path) -> Result<(), CliError> {
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
        std::fs::rename(&path, path.with_extension("redb.before-restore"))?;
    }
    let aside = path.with_extension("redb.restoring");
    std::fs::copy(&args.file, &aside)?;
    std::fs::File::open(&aside)?.sync_all()?;
    std::fs::rename(&aside, &path)?;
    out::line(&format!("{} is the store of {}", args.file.display(), data.display()))?;
    Ok(out::line(
        "what was consumed after the backup is read again from Kafka; client events of that time whose rows ClickHouse \
         has already may be there twice: see docs/operations.md before you start nova",
    )?)
}

pub(super) fn run_rebuild(config: &Config) -> Result<(), CliError> {
    if config.kafka_brokers.is_none() {
        return Err(CliError::Usage(
            "there is no source to read again: kafka.brokers is not set. Captures can be replayed into another --data"
                .to_owned(),
        ));
    }
    let store = open(&existing(&config.data_dir)?)?;
    let partitions = rebuild(&store).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(out::line(&format!("{partitions} partitions are read from their beginning at the next start"))?)
}
