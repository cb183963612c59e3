//! The address of a running node: a note beside its store, for commands on the same machine.
//!
//! The note is valid as long as its writer holds a lock on it (flock(2)). The lock ends with the process, however the
//! process ends. So a note that a killed node left is not believed, even if another process now has its port or its
//! number, and no token goes to a stranger.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nova_storage::file::Aside;
use serde::{Deserialize, Serialize};

/// The file of the note, within the data directory.
pub const LISTENING_FILE: &str = "listening.json";
/// A longer file is no note.
const NOTE_MAX_BYTES: u64 = 4_096;

/// The content of the note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The URL at which this machine reaches the admin routes.
    pub url: String,
    pub pid: u32,
    /// Whether only the development key of the data directory signs tokens.
    pub development_key: bool,
    /// If `url` is `https`: the SHA-256 of the node's certificate in hexadecimal digits. The certificate need not name
    /// this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// The note in a data directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    /// The note of a process that runs.
    Good(Listening),
    /// The note of a process that has ended.
    Stale(Listening),
    None,
}

/// A note that is valid until this is dropped.
#[derive(Debug)]
pub struct Noted {
    path: PathBuf,
    _locked: File,
}

impl Listening {
    /// The note of this process, which listens at `addr`. If `addr` stands for every address of the machine, the note
    /// has the loopback address.
    pub fn at(scheme: &str, mut addr: SocketAddr, development_key: bool, certificate: Option<String>) -> Listening {
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Listening { url: format!("{scheme}://{addr}"), pid: std::process::id(), development_key, certificate }
    }

    /// Writes the note for its owner alone, whole or not at all. The caller has the store open and listens.
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
        // If the file cannot be removed, the note is stale once the lock is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The note of a data directory.
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
        // Another node overwrites the note with its own.
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
