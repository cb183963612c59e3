//! Copies of a store: a backup with its seal, and a compacted store without removed data.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::check::Checked;
use crate::error::{CopyError, ReadError};
use crate::file::Aside;
use crate::seal::{self, Sealed};
use crate::store::{self, ReadTxn, Store};

/// What is known about a finished copy.
#[derive(Debug)]
pub struct Copied {
    pub entries: u64,
    pub bytes: u64,
    /// Whether every page of the original was checked before the copy was made. `checked` is false if too much was
    /// written during the check.
    pub checked: bool,
    pub seal: Sealed,
}

/// The zeros with which a file is overwritten, one piece at a time.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Store {
    /// Writes the last commit into a new file. The copy is consistent, even if the store is written at the same time.
    /// The original and the copy are checked. The copy is sealed with the manifest that `manifest` makes from the copy
    /// and from the number of its entries. The file of the copy must not exist before the call. After `copy_to` the
    /// file is complete, or it does not exist.
    pub fn copy_to(
        &self,
        path: &Path,
        manifest: impl FnOnce(&ReadTxn, u64) -> Result<Vec<u8>, ReadError>,
    ) -> Result<Copied, CopyError> {
        if path.symlink_metadata().is_ok() {
            return Err(CopyError::Exists { path: path.display().to_string() });
        }
        // A copy of damaged pages would have valid checksums, so the original is checked first.
        let checked = self.check(|_| false)? == Checked::Whole;
        let io = |source: io::Error| CopyError::Io { path: path.display().to_string(), source };
        let (aside, (entries, manifest)) =
            self.copy_aside(path, ".copying", |copy, entries| Ok((entries, manifest(&copy.read()?, entries)?)))?;
        let seal = seal::seal(aside.path(), &manifest).map_err(io)?;
        let bytes = aside.path().metadata().map_err(io)?.len();
        aside.place(path).map_err(io)?;
        Ok(Copied { entries, bytes, checked, seal })
    }

    /// Makes a complete copy beside `path`, and calls `told` with the copy and the number of its entries.
    fn copy_aside<T>(
        &self,
        path: &Path,
        ending: &str,
        told: impl FnOnce(&Store, u64) -> Result<T, ReadError>,
    ) -> Result<(Aside, T), CopyError> {
        let io = |source: io::Error| CopyError::Io { path: path.display().to_string(), source };
        let (aside, file) = Aside::new(path, ending).map_err(io)?;
        let copy = Store::create(file, &aside.path().display().to_string())?;
        let entries = store::copy_entries(&self.read()?, &copy)?;
        let told = told(&copy, entries)?;
        drop(copy);
        store::verify(aside.path())?;
        Ok((aside, told))
    }

    /// Writes the store into a new file without the pages of removed data, and overwrites the old file with zeros.
    /// Returns the size of the file in bytes before and after the compaction.
    pub fn compact(self, path: &Path) -> Result<(u64, u64), CopyError> {
        let io = |source: io::Error| CopyError::Io { path: path.display().to_string(), source };
        self.check(|_| false)?;
        let (aside, ()) = self.copy_aside(path, ".compacting", |_, _| Ok(()))?;
        // The old file is closed cleanly before the rename, because the old file is the store until the rename.
        drop(self);
        let mut old = OpenOptions::new().write(true).open(path).map_err(io)?;
        let (before, after) = (old.metadata().map_err(io)?.len(), aside.path().metadata().map_err(io)?.len());
        aside.place(path).map_err(io)?;
        overwrite(&mut old, before).map_err(io)?;
        Ok((before, after))
    }
}

fn overwrite(file: &mut File, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64) as usize;
        file.write_all(&ZEROS[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()
}

/// The endings of files that a killed process may leave beside a store.
const LEFTOVERS: [&str; 4] = [".new", ".restoring", ".compacting", ".copying"];

/// Removes files beside the store at `path` that killed processes left, and unfinished copies in the directory
/// `backups`. The caller of `remove_leftovers` must have the store open, so no other process makes temporary files
/// beside it. `remove_leftovers` removes a symbolic link, and not the target of the link. Returns the names of the
/// removed files.
pub fn remove_leftovers(path: &Path, backups: &Path) -> Vec<PathBuf> {
    let beside = LEFTOVERS.iter().map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    });
    let copies = std::fs::read_dir(backups).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let copies = copies.filter(|path| path.extension().is_some_and(|ending| ending == "copying"));
    beside.chain(copies).filter(|path| std::fs::remove_file(path).is_ok()).collect()
}
