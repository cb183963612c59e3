//! Makes the files of a store, which only their owner may read. A new file never replaces a link or an existing file,
//! and it appears complete or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend as _};

use crate::check::Bytes;

/// The permissions of a file that only its owner may read and write.
const OWNER_ONLY: u32 = 0o600;

/// Makes a file that only its owner may read and write. The new file must not exist before. A link with the name of the
/// new file is not followed, because `O_EXCL` (POSIX `open`) refuses it.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(path)
}

/// A file that has a temporary name until it is complete. If the file is not moved to its final place, it is removed
/// when the `Aside` is dropped.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    placed: bool,
}

impl Aside {
    /// Makes a file beside `path`. The temporary name of the file is the name of `path` with `ending`. If a killed
    /// process left a file with the temporary name, `new` removes this file first. A link with the temporary name is
    /// removed, and its target is not.
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

    /// Renames the file to `path`, and makes the rename durable.
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

/// Makes the directory entry of a file durable.
pub fn sync_directory(of: &Path) -> io::Result<()> {
    let parent = of.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// A file that nova only reads.
#[derive(Debug)]
pub(crate) struct ReadOnly(FileBackend);

impl ReadOnly {
    pub fn open(path: &Path) -> io::Result<ReadOnly> {
        // A device or a pipe is refused, because it may have no end.
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

    fn is_at_rest(&self) -> bool {
        true
    }

    /// Takes a shared lock, which keeps other processes from opening the file as a store. The lock fails while a
    /// process has the file open as a store.
    fn lock(&self) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded)
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.close()
    }
}
