//! The permissions of nova's files: only their owner may read them. nova makes its files with permissions only for the
//! owner. If users other than the owner have permissions for a file of nova, nova removes these permissions and logs
//! the change. nova refuses a private key that users other than the owner may read. Somebody may have read a private
//! key that was open to other users than the owner, so a change of the key's permissions would not help.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// The permission bits of the group, and of users who are neither the owner nor in the group.
const NOT_THE_OWNER: u32 = 0o077;
/// The permission bits of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
const PERMISSIONS: u32 = 0o7777;

/// Makes a directory and its missing parents, which only their owner may read. A directory that already exists is not
/// changed.
pub fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes the permissions of everybody except the owner from a file or directory of this user. A file of a foreign
/// owner, such as the root of a volume in a container, is not changed. If users other than its owner have permissions
/// for such a foreign file, nova logs the permissions. A symbolic link is not changed.
pub fn close(path: &Path) {
    let Ok(found) = path.symlink_metadata() else { return };
    let mode = found.mode() & PERMISSIONS;
    if found.is_symlink() || mode & NOT_THE_OWNER == 0 {
        return;
    }
    let shown = path.display();
    if found.uid() == rustix::process::geteuid().as_raw() {
        let closed = mode & !NOT_THE_OWNER;
        match std::fs::set_permissions(path, std::fs::Permissions::from_mode(closed)) {
            Ok(()) => {
                tracing::warn!("{shown} had mode {mode:04o}, open to others on this machine: it has {closed:04o} now")
            }
            Err(error) => tracing::warn!("{shown} has mode {mode:04o}, open to others, and stays so: {error}"),
        }
    } else if mode & OTHERS != 0 {
        tracing::warn!("{shown} has mode {mode:04o}, open to all users of this machine, and belongs to another one");
    }
}

/// Returns the number of bytes that this user can still write on the disk of a path. Returns `None` if the system gives
/// no answer about the disk.
pub fn disk_free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Checks that only the owner and the group can read a private key. The group may read a key because of orchestrators:
/// Kubernetes provides secrets as files of root that the group `fsGroup` may read.
pub fn check_private_key(path: &Path) -> io::Result<()> {
    // The check of a private key follows links, because secrets of Kubernetes are links.
    let mode = std::fs::metadata(path)?.mode() & PERMISSIONS;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let shown = path.display();
    let text = format!(
        "the private key {shown} has mode {mode:04o}, so every user of this machine can read it: chmod 600 {shown} (of a \
         mounted secret: its mode, such as 0440), and make a new key if somebody may have read this one"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & PERMISSIONS
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_open_to_others_is_closed_and_links_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        private_dir(&made).unwrap();
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
        let file = made.join("nova.redb");
        std::fs::write(&file, "x").unwrap();
        let target = made.join("target");
        std::fs::write(&target, "x").unwrap();
        set(&target, 0o644);
        let link = made.join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for (before, after) in [(0o644, 0o600), (0o660, 0o600), (0o600, 0o600), (0o2775, 0o2700)] {
            set(&file, before);
            close(&file);
            assert_eq!(mode(&file), after, "{before:o}");
        }
        close(&link);
        assert_eq!(mode(&target), 0o644);
        close(&made.join("nothing"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key.pem");
        std::fs::write(&key, "x").unwrap();
        for open in [0o644, 0o604, 0o606, 0o601] {
            set(&key, open);
            let error = check_private_key(&key).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", key.display())), "{error}");
        }
        for closed in [0o600, 0o400, 0o440, 0o640] {
            set(&key, closed);
            assert!(check_private_key(&key).is_ok(), "{closed:o}");
        }
    }
}
