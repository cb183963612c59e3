//! The source of keys: a file that is read again when it has changed, or an address that is read at intervals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;

use crate::bounded::Bound;
use crate::tls::{self, Connector, causes};

use super::super::settings::KeySettings;
use super::key_error::KeyError;
use super::keys::{JWKS_MAX_BYTES, KeySet, KeySetError};

/// The limit for one request, including the connection.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The permissions of others than the owner of a secret's file.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Why no new key set could be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no answer in {} s", FETCH_TIMEOUT.as_secs())]
    Late,
    #[error("{0}")]
    Request(String),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

/// The source of the keys.
pub(super) enum KeySource {
    Development,
    File(KeyFile),
    Url(Box<Fetch>),
}

impl KeySource {
    /// The configured source, if there is one, with its first keys. An address has no keys before its first answer.
    pub fn configured(settings: &KeySettings) -> Result<Option<(KeySource, KeySet)>, KeyError> {
        let file = match (&settings.jwks_file, &settings.hs256_secret_file) {
            (Some(path), _) => Some(KeyFile::open(path, "jwks_file", false)?),
            (None, Some(path)) => Some(KeyFile::open(path, "hs256_secret_file", true)?),
            (None, None) => None,
        };
        if let Some((file, keys)) = file {
            return Ok(Some((KeySource::File(file), keys)));
        }
        let Some(url) = &settings.jwks_url else { return Ok(None) };
        let fetch = Fetch::new(url).map_err(KeyError::Url)?;
        Ok(Some((KeySource::Url(Box::new(fetch)), KeySet::default())))
    }
}

/// Checks that the files of the settings can be used. No address is asked.
pub fn check_keys(settings: &KeySettings) -> Result<(), KeyError> {
    KeySource::configured(settings).map(drop)
}

/// The problems of the configured keys, for `nova check`: the members of the set that are left out. Fails if there is
/// no usable key. Waits for the answer of an address.
pub fn odd_keys(settings: &KeySettings) -> Result<Vec<String>, String> {
    let keys = match KeySource::configured(settings).map_err(|error| error.to_string())? {
        Some((KeySource::Url(fetch), _)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let fetched = runtime.map_err(|error| error.to_string())?.block_on(fetch.get());
            fetched.map_err(|error| format!("auth.jwks_url: {error}"))?
        }
        Some((_, keys)) => keys,
        None => KeySet::default(),
    };
    Ok(keys.left_out)
}

/// A file with a key set, or with a secret.
pub(super) struct KeyFile {
    path: PathBuf,
    /// The setting of `[auth]` that names the file.
    pub setting: &'static str,
    secret: bool,
    /// The content at the last read, valid or not.
    last: Mutex<Vec<u8>>,
    /// The last message about an invalid file.
    complaint: Mutex<String>,
}

impl KeyFile {
    /// Opens the file and reads its first keys. Its content is checked even if the file is empty.
    fn open(path: &Path, setting: &'static str, secret: bool) -> Result<(KeyFile, KeySet), KeyError> {
        let wrong = |detail: String| KeyError::File { setting, path: path.display().to_string(), detail };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let (last, complaint) = (Mutex::new(bytes.clone()), Mutex::default());
        let file = KeyFile { path: path.to_owned(), setting, secret, last, complaint };
        let keys = file.keys(bytes).map_err(wrong)?;
        Ok((file, keys))
    }

    /// Reads the keys. `None` if the file has not changed.
    pub fn read(&self) -> Result<Option<KeySet>, String> {
        let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        if *self.last.lock() == bytes {
            return Ok(None);
        }
        self.last.lock().clone_from(&bytes);
        self.keys(bytes).map(Some)
    }

    /// Parses the content of the file.
    fn keys(&self, bytes: Vec<u8>) -> Result<KeySet, String> {
        if self.secret {
            self.check_mode()?;
            return KeySet::secret(&bytes).map_err(|error| error.to_string());
        }
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
        KeySet::parse(&text).map_err(|error| error.to_string())
    }

    /// Whether this message differs from the last one.
    pub fn complains(&self, detail: &str) -> bool {
        let mut last = self.complaint.lock();
        let new = *last != detail;
        detail.clone_into(&mut last);
        new
    }

    /// Checks the permissions, because a reader of a shared secret can sign tokens.
    #[cfg(unix)]
    fn check_mode(&self) -> Result<(), String> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| error.to_string())?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        match mode & OTHERS {
            0 => Ok(()),
            _ => Err(format!(
                "has the mode {mode:04o}: others than its owner can use it; chmod 600 {}",
                self.path.display()
            )),
        }
    }

    #[cfg(not(unix))]
    fn check_mode(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Fetches a key set from an address.
pub(super) struct Fetch {
    uri: Uri,
    client: Client<Connector, Empty<Bytes>>,
}

impl Fetch {
    /// An address must have a host and be `http` or `https`. Certificates are checked with the machine's authorities.
    pub fn new(url: &str) -> Result<Fetch, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err("expected http://host/path or https://host/path".to_owned());
        }
        let connector = tls::connector(url, None, Bound::Each(JWKS_MAX_BYTES)).map_err(|error| error.to_string())?;
        Ok(Fetch { uri, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    pub async fn get(&self) -> Result<KeySet, FetchError> {
        tokio::time::timeout(FETCH_TIMEOUT, self.ask()).await.map_err(|_| FetchError::Late)?
    }

    async fn ask(&self) -> Result<KeySet, FetchError> {
        let wrong = |error: &(dyn std::error::Error + 'static)| FetchError::Request(causes(error));
        let request = Request::get(self.uri.clone()).header("accept", "application/json").body(Empty::new());
        let answer =
            self.client.request(request.map_err(|error| wrong(&error))?).await.map_err(|error| wrong(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = answer.into_body().collect().await.map_err(|error| wrong(&error))?.to_bytes();
        Ok(KeySet::parse(&String::from_utf8_lossy(&body))?)
    }
}
