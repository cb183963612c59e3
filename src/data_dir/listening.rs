//! The address of a running node, in a note beside the node's store, for commands on the same machine.
//!
//! The note is valid as long as the process that wrote it holds a lock on the file (flock(2)). The lock ends with the
//! process that holds it, however that process ends. Because of the lock, a command ignores the note of a killed node.
//! So no command sends a token to a foreign process that now has the node's port or process id.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nova_storage::file::Aside;
use serde::{Deserialize, Serialize};

/// The file in the data directory that holds the note about the listening address.
pub const LISTENING_FILE: &str = "listening.json";
/// A file that is longer than this limit is not a note of nova.
const NOTE_MAX_BYTES: u64 = 4_096;

/// The content of the note about a node's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The URL at which programs on this machine reach the node's admin routes.
    pub url: String,
    pub pid: u32,
    /// Whether the node accepts only tokens that the development key of the data directory has signed.
    pub development_key: bool,
    /// The SHA-256 of the node's certificate in hexadecimal digits, if `url` begins with `https`. The certificate of
    /// the node need not name this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// The state of the note in a data directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    /// The note belongs to a process that still runs.
    Good(Listening),
    /// The note belongs to a process that has ended.
    Stale(Listening),
    None,
}

/// A note that is valid until this value is dropped.
#[derive(Debug)]
pub struct Noted {
    path: PathBuf,
    _locked: File,
}

impl Listening {
    /// Makes the note of this process, which listens at `addr`. If `addr` stands for every address of the machine, the
    /// note contains the loopback address.
    pub fn at(scheme: &str, mut addr: SocketAddr, development_key: bool, certificate: Option<String>) -> Listening {
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Listening { url: format!("{scheme}://{addr}"), pid: std::process::id(), development_key, certificate }
    }

    /// Writes the note atomically, as a file that only its owner may read. The caller must hold the store open and must
    /// listen already.
    pub fn note(&self, data_dir: &Path) -> io::Result<Noted> {
        let path = data_dir.join(LISTENING_FILE);
        let (aside, mut file) = Aside::new(&path, ".new")?;
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(serde_json::json!(self).to_string().as_bytes())?;
        aside.place(&path)?;
        Ok(Noted { path, _locked: file })
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        // If the file cannot be removed, the note becomes stale when the lock is released.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads the note of a data directory.
pub fn noted(data_dir: &Path) -> io::Result<Note> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(data_dir.join(LISTENING_FILE));
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Note::None),
        opened => opened?,
    };
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(&file, NOTE_MAX_BYTES), &mut text)?;
    let listening: Listening = serde_json::from_str(&text)?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(Note::Good(listening)),
        Ok(()) => Ok(Note::Stale(listening)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_note_is_good_while_its_writer_has_it_and_stale_when_a_killed_one_left_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(noted(dir.path()).unwrap(), Note::None);
        let listening = Listening::at("http", "0.0.0.0:8080".parse().unwrap(), true, None);
        assert_eq!((listening.url.as_str(), listening.pid), ("http://127.0.0.1:8080", std::process::id()));
        let path = dir.path().join(LISTENING_FILE);
        let kept = listening.note(dir.path()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(noted(dir.path()).unwrap(), Note::Good(listening.clone()));
        let left = std::fs::read(&path).unwrap();
        drop(kept);
        assert_eq!(noted(dir.path()).unwrap(), Note::None);
        std::fs::write(&path, left).unwrap();
        assert_eq!(noted(dir.path()).unwrap(), Note::Stale(listening));
        // A second node overwrites the stale note with its own note.
        let six = Listening::at("https", "[::]:1".parse().unwrap(), false, Some("ab".to_owned()));
        assert_eq!(six.url, "https://[::1]:1");
        let kept = six.note(dir.path()).unwrap();
        assert_eq!(noted(dir.path()).unwrap(), Note::Good(six));
        drop(kept);
    }

    #[test]
    fn what_is_no_note_is_an_error_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LISTENING_FILE);
        for text in ["", "{}", "nonsense", "{\"url\":1}"] {
            std::fs::write(&path, text).unwrap();
            assert!(noted(dir.path()).is_err(), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(noted(dir.path()).is_err());
    }
}
