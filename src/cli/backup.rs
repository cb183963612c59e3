//! `nova backup`, `nova restore`: copies of the store as a whole.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nova_storage::file::Aside;
use nova_storage::{OpenError, Options, Store, verify_seal};
use serde_json::{Value, json};

use crate::app::{self, AppError, backups};
use crate::clock::Clock;
use crate::config::Config;

use super::remote::{Node, Remote};
use super::store::{existing, failed, figures, reconcile, told};
use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct BackupArgs {
    /// Where the copy goes; must not be there yet.
    file: PathBuf,
    /// Make none: compare the backup FILE with its manifest, and check its pages.
    #[arg(long, conflicts_with = "url")]
    verify: bool,
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

pub(super) fn backup(args: &BackupArgs, data: &Path, json: bool) -> Result<(), CliError> {
    if args.verify {
        let found = verified(&args.file, data)?;
        let value = json!({ "file": args.file, "whole": true, "manifest": found.value });
        return Ok(out::done(json, &found.words, &value)?);
    }
    if let Some(node) = args.remote.node(data)? {
        return of_running(&node, args, data, json);
    }
    let store = Store::open(&existing(data)?, &Options { check: None, ..Options::default() }, |_| {});
    let store = store.map_err(AppError::from)?;
    let copied = backups::make(&store, data, &args.file, Clock::System.now_ms());
    made(copied.map_err(|error| CliError::Failed(error.to_string()))?.entries, &args.file, "", json)
}

fn made(entries: u64, file: &Path, whose: &str, json: bool) -> Result<(), CliError> {
    let words = format!("{entries} entries are in {}{whose}", file.display());
    Ok(out::done(json, &words, &json!({ "file": file, "entries": entries }))?)
}

/// A running node makes the copy itself, in `backups` beside its store; from there it is moved where it is seen. Which file
/// that is, is known here: the path of the answer is only shown.
fn of_running(node: &Node, args: &BackupArgs, data: &Path, json: bool) -> Result<(), CliError> {
    if args.file.symlink_metadata().is_ok() {
        return Err(CliError::Failed(format!("{} is there already; choose another name", args.file.display())));
    }
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let answer = node.post("backup", &json!({ "name": name }))?;
    let entries = answer["entries"].as_u64().unwrap_or_default();
    let at = data.join(backups::BACKUPS_DIR).join(&name);
    let sealed = if plain_file(&at).is_ok() { verify_seal(&at).ok().flatten() } else { None };
    let is_it = sealed
        .is_some_and(|sealed| Some(nova_storage::seal::hex(&sealed.sha256).as_str()) == answer["sha256"].as_str());
    if !is_it {
        // The node runs on another machine, or over another data directory.
        let told: String = answer["file"].as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        return made(entries, Path::new(&told), " of that node", json);
    }
    copy(&at, &args.file, ".copying")?.place(&args.file).map_err(|error| failed("cannot make", &args.file, &error))?;
    std::fs::remove_file(&at).map_err(|error| failed("cannot remove", &at, &error))?;
    made(entries, &args.file, "", json)
}

/// A file, and no link to one.
fn plain_file(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A whole copy that is on the disk, beside `to`.
fn copy(from: &Path, to: &Path, ending: &str) -> Result<Aside, CliError> {
    let copied = || {
        let (aside, mut file) = Aside::new(to, ending)?;
        std::io::copy(&mut File::open(from)?, &mut file)?;
        file.sync_all()?;
        Ok(aside)
    };
    copied().map_err(|error: std::io::Error| failed(&format!("cannot copy {} to", from.display()), to, &error))
}

/// A backup that is what was made.
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
    // The backup may be the store that is about to be moved away, or on a disk that fails: first it is whole beside.
    let aside = copy(&args.file, &path, ".restoring")?;
    // Proves that it is a store of a format that this build reads.
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

/// Whether the store that is there may be moved away. A damaged one may: that is what backups are for.
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
