//! Backups: their manifest, and the file `backup.json` that describes the latest backup for the metrics.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nova_storage::codec::OffsetRow;
use nova_storage::file::Aside;
use nova_storage::schema::OFFSETS;
use nova_storage::seal::{MANIFEST_MAX_BYTES, hex};
use nova_storage::store::FORMAT;
use nova_storage::{Copied, CopyError, ReadError, ReadTxn, SealError, Sealed, Store, verify_seal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::files;

/// The directory in the data directory for the backups that a running node makes.
pub const BACKUPS_DIR: &str = "backups";
/// The file in the data directory that describes the latest backup.
pub(super) const NOTE_FILE: &str = "backup.json";

/// The latest backup of a store, as the file `backup.json` describes it. The times of a backup are epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    pub sha256: String,
    pub made_at_ms: i64,
    pub verified_at_ms: i64,
    /// Whether a verification after the latest backup found that a backup had changed.
    #[serde(default)]
    pub verify_failed: bool,
}

/// Returns the directory of the backups that a running node makes. The directory is made if it is missing.
pub fn made_dir(data_dir: &Path) -> io::Result<PathBuf> {
    let dir = data_dir.join(BACKUPS_DIR);
    files::private_dir(&dir)?;
    Ok(dir)
}

/// Writes a copy of the store to `out` and removes the copy's file. The file is removed even if the write fails.
pub fn hand_over(copy: &Path, out: &mut dyn Write) -> io::Result<()> {
    let mut file = File::open(copy)?;
    // The open file keeps its bytes after its name is removed.
    std::fs::remove_file(copy)?;
    io::copy(&mut file, out)?;
    out.flush()
}

/// Makes a backup, and notes it in the data directory.
pub fn make(store: &Store, data_dir: &Path, file: &Path, now_ms: i64) -> Result<Copied, CopyError> {
    let copied = copy(store, file, now_ms)?;
    made(data_dir, &copied, now_ms);
    Ok(copied)
}

/// Makes a copy of the store, which is not noted as a backup yet.
pub fn copy(store: &Store, file: &Path, now_ms: i64) -> Result<Copied, CopyError> {
    let copied = store.copy_to(file, |copy, entries| manifest(copy, entries, now_ms))?;
    if !copied.checked {
        tracing::warn!("{}: too much was written to check the store before the copy", file.display());
    }
    Ok(copied)
}

/// Notes in the data directory that a backup was made.
pub fn made(data_dir: &Path, copied: &Copied, now_ms: i64) {
    let (sha256, made_at_ms) = (hex(&copied.seal.sha256), now_ms);
    note(data_dir, &Latest { sha256, made_at_ms, verified_at_ms: now_ms, verify_failed: false });
}

/// Makes the manifest of a backup: who made the backup and when, the store's format, entries and positions. The
/// manifest leaves out the partitions that do not fit, and counts them.
fn manifest(copy: &ReadTxn, entries: u64, now_ms: i64) -> Result<Vec<u8>, ReadError> {
    let mut positions = Vec::new();
    copy.scan(OFFSETS, ("", i32::MIN).., |(topic, partition), value| {
        let next = OffsetRow::decode(value).map(|(row, _)| row.next);
        positions.push(next.map(|next| json!([topic, partition, next])));
        true
    })?;
    let mut positions = positions.into_iter().collect::<Result<Vec<Value>, _>>()?;
    let all = positions.len();
    loop {
        let bytes = json!({
            "nova": env!("CARGO_PKG_VERSION"), "format": FORMAT, "made_at_ms": now_ms, "entries": entries,
            "positions": positions, "positions_left_out": all - positions.len(),
        });
        let bytes = bytes.to_string().into_bytes();
        if bytes.len() <= MANIFEST_MAX_BYTES || positions.is_empty() {
            return Ok(bytes);
        }
        positions.truncate(positions.len() / 2);
    }
}

/// Returns the manifest of a backup with the backup's hash, for a person to read. The result is null for a backup
/// without a manifest.
pub fn shown(sealed: Option<&Sealed>) -> Value {
    let Some(sealed) = sealed else { return Value::Null };
    let mut manifest = serde_json::from_slice(&sealed.manifest).unwrap_or_else(|_| json!({}));
    manifest["sha256"] = hex(&sealed.sha256).into();
    manifest
}

/// Reads a whole backup and compares it with its manifest, if the backup has a manifest. If the backup is the latest of
/// the store, the result is noted in the data directory.
pub fn verify(data_dir: &Path, file: &Path, now_ms: i64) -> Result<Option<Sealed>, SealError> {
    let sealed = verify_seal(file)?;
    if let (Some(sealed), Some(latest)) = (&sealed, latest(data_dir))
        && latest.sha256 == hex(&sealed.sha256)
    {
        note(data_dir, &Latest { verified_at_ms: now_ms, verify_failed: false, ..latest });
    }
    Ok(sealed)
}

/// Notes that a verification found a changed backup. nova cannot know which backup has changed, because the backup's
/// hash is different now.
pub fn verify_failed(data_dir: &Path) {
    if let Some(latest) = latest(data_dir) {
        note(data_dir, &Latest { verify_failed: true, ..latest });
    }
}

/// Returns the latest backup that the data directory notes. Returns `None` before the first backup.
pub fn latest(data_dir: &Path) -> Option<Latest> {
    serde_json::from_slice(&std::fs::read(data_dir.join(NOTE_FILE)).ok()?).ok()
}

/// Writes the description of the latest backup. A backup is valid even if nova cannot write its description.
fn note(data_dir: &Path, latest: &Latest) {
    let path = data_dir.join(NOTE_FILE);
    let write = || {
        let (aside, mut file) = Aside::new(&path, ".new")?;
        serde_json::to_writer(&mut file, latest)?;
        aside.place(&path)
    };
    if let Err(error) = write() {
        tracing::warn!("the backup is not noted in {}: {error}", path.display());
    }
}
