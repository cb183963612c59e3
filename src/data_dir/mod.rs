//! The content of a data directory: the store, the backups that a running node makes, and notes beside the store.

pub mod backups;
pub mod listening;

use std::io;
use std::path::{Path, PathBuf};

use crate::files;

use self::backups::{BACKUPS_DIR, NOTE_FILE};
use self::listening::LISTENING_FILE;

/// The file name of the store in the data directory.
pub const STORE_FILE: &str = "nova.redb";

/// Returns the path of the store in a data directory.
pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE_FILE)
}

/// Makes the data directory, which only its owner may read.
pub fn make(data_dir: &Path) -> io::Result<()> {
    files::private_dir(data_dir)
}

/// If only nova makes a file in the data directory, the file's name begins with one of these texts. The file of the
/// development key, whose name the caller gives, also belongs to nova.
const OWN_FILES: [&str; 4] = [STORE_FILE, NOTE_FILE, BACKUPS_DIR, LISTENING_FILE];

/// Removes all access to nova's files from users other than the owner, but does not change the development key
/// `key_file`. If the data directory also holds foreign files, nova keeps the directory's mode, and logs that the mode
/// stays unchanged.
pub fn close_files(data_dir: &Path, key_file: &str) {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(key_file) || OWN_FILES.iter().any(|own| name.starts_with(own))
    };
    let found = entries(data_dir);
    let (ours, others): (Vec<_>, Vec<_>) = found.into_iter().partition(own);
    match others.is_empty() {
        true => files::close(data_dir),
        false => tracing::debug!("{} holds other files, too: its mode stays as it is", data_dir.display()),
    }
    // nova checks the mode of the development key when it reads the key, so this function does not change the mode. If
    // users other than the owner could read the key, a person must learn of the leak.
    let ours = ours.into_iter().filter(|path| !path.ends_with(key_file));
    ours.chain(entries(&data_dir.join(BACKUPS_DIR))).for_each(|path| files::close(&path));
}
