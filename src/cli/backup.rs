//! `nova backup` and `nova restore` copy the store as a whole.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use http::Method;
use nova_storage::file::Aside;
use nova_storage::{OpenError, Options, Store, verify_seal};
use serde_json::{Value, json};

use crate::app::{self, AppError};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::backups;

use super::error::CliError;
use super::out;
use super::remote::{Node, Place, Remote};
use super::store::{existing, failed, figures, reconcile, told};

#[derive(clap::Args)]
pub(super) struct BackupArgs {
    /// The path of the copy, where no file may exist yet.
    file: PathBuf,
    /// Make no backup: compare the backup FILE with its manifest, and check its pages.
    #[arg(long, conflicts_with = "url")]
    verify: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// Also replace an existing store. The existing store is kept beside the new one as nova.redb.before-restore, a
    /// file that must not exist yet.
    #[arg(long)]
    replace: bool,
    /// Ask ClickHouse which events it has got since the backup, so that nova does not send the rows of these events
    /// again.
    #[arg(long)]
    reconcile: bool,
}

pub(super) fn backup(args: &BackupArgs, data: &Path, json: bool) -> Result<(), CliError> {
    if args.verify {
        let found = verified(&args.file, data)?;
        let value = json!({ "file": args.file, "whole": true, "manifest": found.value });
        return Ok(out::done(json, &found.words, &value)?);
    }
    let open = || {
        let store = Store::open(&existing(data)?, &Options { check: None, ..Options::default() }, |_| {});
        Ok(store.map_err(AppError::from)?)
    };
    let entries = match args.remote.place_of(data, open)? {
        Place::Running(node) => fetched(&node, &args.file)?,
        Place::Stopped(store) => {
            let copied = backups::make(&store, data, &args.file, Clock::System.now_ms());
            copied.map_err(|error| CliError::Failed(error.to_string()))?.entries
        }
    };
    let words = format!("{entries} entries are in {}", args.file.display());
    Ok(out::done(json, &words, &json!({ "file": args.file, "entries": entries }))?)
}

/// Fetches a backup of a running node into a new file, and returns the number of entries in the store. nova writes the
/// bytes to a temporary file beside `file`, compares the bytes with their manifest, and then renames the temporary
/// file. An incomplete backup leaves no file.
fn fetched(node: &Node, file: &Path) -> Result<u64, CliError> {
    if file.symlink_metadata().is_ok() {
        return Err(CliError::Failed(format!("{} is there already; choose another name", file.display())));
    }
    let (aside, mut to) = Aside::new(file, ".fetching").map_err(|error| failed("cannot make", file, &error))?;
    node.fetch(Method::POST, "backup/file", |piece| {
        to.write_all(piece).map_err(|error| failed("cannot write", file, &error))
    })?;
    let wrong = |why: String| CliError::Failed(format!("what came for {} is no backup: {why}", file.display()));
    let sealed = verify_seal(aside.path()).map_err(|error| wrong(error.to_string()))?;
    let entries = backups::shown(sealed.as_ref())["entries"].as_u64();
    let entries = entries.ok_or_else(|| wrong("it has no manifest".to_owned()))?;
    if file.symlink_metadata().is_ok() {
        return Err(CliError::Failed(format!("{} was created during the backup; choose another name", file.display())));
    }
    aside.place(file).map_err(|error| failed("cannot make", file, &error))?;
    Ok(entries)
}

/// Makes a complete copy of the file `from` on the disk, beside `to`.
fn copy(from: &Path, to: &Path, ending: &str) -> Result<Aside, CliError> {
    let copied = || {
        let (aside, mut file) = Aside::new(to, ending)?;
        std::io::copy(&mut File::open(from)?, &mut file)?;
        file.sync_all()?;
        Ok(aside)
    };
    copied().map_err(|error: std::io::Error| failed(&format!("cannot copy {} to", from.display()), to, &error))
}

/// The result of the verification of a backup.
struct Verified {
    words: String,
    value: Value,
}

/// Compares a backup with its manifest, and checks its pages.
fn verified(file: &Path, data: &Path) -> Result<Verified, CliError> {
    let shown = file.display();
    if !file.exists() {
        return Err(CliError::Failed(format!("there is no file {shown}")));
    }
    let sealed = backups::verify(data, file, Clock::System.now_ms()).map_err(|error| {
        backups::verify_failed(data);
        CliError::Failed(format!("{shown} is not the backup that was made: {error}"))
    })?;
    nova_storage::verify(file).map_err(|error| {
        backups::verify_failed(data);
        AppError::from(error)
    })?;
    let value = backups::shown(sealed.as_ref());
    let words = match sealed {
        Some(_) => {
            let made_at = value["made_at_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            let made_at = made_at.map_or_else(|| "an unknown time".to_owned(), |at| at.to_string());
            let (nova, hash) = (value["nova"].as_str().unwrap_or("?"), value["sha256"].as_str().unwrap_or("?"));
            format!("{shown} is whole: made at {made_at} by nova {nova}, {} entries, SHA-256 {hash}", value["entries"])
        }
        None => format!(
            "{shown} has no manifest (an earlier nova made it, or it was a store since); every page of it is whole"
        ),
    };
    Ok(Verified { words, value })
}

pub(super) fn restore(args: &RestoreArgs, config: &Config, json: bool) -> Result<(), CliError> {
    let data = &config.data_dir;
    let Verified { words: checked, value: manifest } = verified(&args.file, data)?;
    app::make_data_dir(data)?;
    let path = app::store_path(data);
    let before = path.with_extension("redb.before-restore");
    if path.exists() {
        may_replace(args, &path, &before)?;
    }
    // The backup file may be the store that nova is about to move, or may be on a failing disk. nova therefore makes a
    // whole copy of the backup first.
    let aside = copy(&args.file, &path, ".restoring")?;
    // nova opens the copy to prove that the copy is a store in a format that this build reads.
    let store =
        Store::open(aside.path(), &Options { check: None, ..Options::default() }, |_| {}).map_err(AppError::from)?;
    let report = args.reconcile.then(|| reconcile(&store, config, false)).transpose()?;
    drop(store);
    if path.exists() {
        std::fs::rename(&path, &before).map_err(|error| failed("cannot make", &before, &error))?;
    }
    aside.place(&path).map_err(|error| failed("cannot make", &path, &error))?;
    let next = report.as_ref().map_or_else(
        || {
            "what was consumed after the backup is read again from Kafka; client events of that time whose rows ClickHouse \
             has already will be there twice: restore again with --reconcile, unless there are none"
                .to_owned()
        },
        told,
    );
    let words = format!("{checked}\n{} is the store of {}\n{next}", args.file.display(), data.display());
    let reconciled = report.as_ref().map(figures);
    let value = json!({ "restored": args.file, "data": data, "manifest": manifest, "reconciled": reconciled });
    Ok(out::done(json, &words, &value)?)
}

/// Checks that nova may move the present store away. nova may also move a damaged store, because a restore replaces a
/// damaged store by a backup.
fn may_replace(args: &RestoreArgs, path: &Path, before: &Path) -> Result<(), CliError> {
    if !args.replace {
        let text = "there is a store already; with --replace it is kept beside as nova.redb.before-restore";
        return Err(CliError::Failed(text.to_owned()));
    }
    match nova_storage::verify(path) {
        Err(error @ OpenError::InUse { .. }) => return Err(AppError::from(error).into()),
        Err(error) => tracing::warn!("the store that is replaced: {error}"),
        Ok(()) => {}
    }
    match before.symlink_metadata() {
        Ok(_) => {
            let text = format!("{} is there from an earlier restore: move it away or remove it", before.display());
            Err(CliError::Failed(text))
        }
        Err(_) => Ok(()),
    }
}
