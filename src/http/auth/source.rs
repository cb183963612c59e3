//! Where keys come from: a file that is read again when it changed, or an address that is asked now and then.

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

/// One request, connecting included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Permissions of a secret's file that others than its owner have.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Why no new key set could be had.
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

/// Where the keys come from.
pub(super) enum KeySource {
    Development,
    File(KeyFile),
    Url(Box<Fetch>),
}

impl KeySource {
    /// The configured one with its first keys, if there is one; an address has none before it is asked.
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

/// Whether the files of the settings can be used; no address is asked.
pub fn check_keys(settings: &KeySettings) -> Result<(), KeyError> {
    KeySource::configured(settings).map(drop)
}

/// What is odd about the configured keys, for `nova check`: members of the set that are left out. Fails where there are
/// no keys to use. Waits for the answer of an address.
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
    /// Of `[auth]`.
    pub setting: &'static str,
    secret: bool,
    /// What was read last, good or bad.
    last: Mutex<Vec<u8>>,
    /// What was said last of a bad one.
    complaint: Mutex<String>,
}

impl KeyFile {
    /// The file with its first keys. Whatever it holds is judged, also nothing at all.
    fn open(path: &Path, setting: &'static str, secret: bool) -> Result<(KeyFile, KeySet), KeyError> {
        let wrong = |detail: String| KeyError::File { setting, path: path.display().to_string(), detail };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let (last, complaint) = (Mutex::new(bytes.clone()), Mutex::default());
        let file = KeyFile { path: path.to_owned(), setting, secret, last, complaint };
        let keys = file.keys(bytes).map_err(wrong)?;
        Ok((file, keys))
    }

    /// Its keys; `None` where the file is as it was.
    pub fn read(&self) -> Result<Option<KeySet>, String> {
        let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        if *self.last.lock() == bytes {
            return Ok(None);
        }
        self.last.lock().clone_from(&bytes);
        self.keys(bytes).map(Some)
    }

    /// What these bytes of the file mean.
    fn keys(&self, bytes: Vec<u8>) -> Result<KeySet, String> {
        if self.secret {
            self.check_mode()?;
            return KeySet::secret(&bytes).map_err(|error| error.to_string());
        }
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
        KeySet::parse(&text).map_err(|error| error.to_string())
    }

    /// Whether this was not said just before.
    pub fn complains(&self, detail: &str) -> bool {
        let mut last = self.complaint.lock();
        let new = *last != detail;
        detail.clone_into(&mut last);
        new
    }

    /// Whoever reads a shared secret signs tokens with it.
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

/// Asks an address for a key set.
pub(super) struct Fetch {
    uri: Uri,
    client: Client<Connector, Empty<Bytes>>,
}

impl Fetch {
    /// An address with a host, `http` or `https`; certificates are checked against the machine's authorities.
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
