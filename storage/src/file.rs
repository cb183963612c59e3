//! Makes the files of a store: for their owner alone, never over a link or an existing file, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend as _};

use crate::check::Bytes;

/// The rights to read and write for the owner alone.
const OWNER_ONLY: u32 = 0o600;

/// Makes a file for its owner alone. The file must not exist. A link with this name is not followed: `O_EXCL` (POSIX
/// `open`) refuses it.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(path)
}

/// A file under a temporary name until it is whole. If it is not moved to its place, it is removed.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    placed: bool,
}

impl Aside {
    /// Makes a file beside `path`, with `ending` added to the name. A file that a killed process left under this name
    /// is removed. A link is removed, and its target is not.
    pub fn new(path: &Path, ending: &str) -> io::Result<(Aside, File)> {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let path = PathBuf::from(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = create_new(&path)?;
        Ok((Aside { path, placed: false }, file))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `path`, durably.
    pub fn place(mut self, path: &Path) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        std::fs::rename(&self.path, path)?;
        self.placed = true;
        sync_directory(path)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the name of a file durable.
pub fn sync_directory(of: &Path) -> io::Result<()> {
    let parent = of.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// A file that is only read.
#[derive(Debug)]
pub(crate) struct ReadOnly(FileBackend);

impl ReadOnly {
    pub fn open(path: &Path) -> io::Result<ReadOnly> {
        // A device or a pipe may have no end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
        }
        let backend = FileBackend::new(File::open(path)?).map_err(io::Error::other)?;
        Ok(ReadOnly(backend))
    }
}

impl Bytes for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    /// Takes a shared lock, which excludes every process that has the file open as a store.
    fn lock(&self) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded)
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.close()
    }
}
