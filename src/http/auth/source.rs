//! The source of keys: a file that is read again when it has changed, or an address that is read at intervals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use parking_lot::Mutex;

use crate::http_client::{HttpClient, HttpError, Limits, address};
use crate::tls::Trust;

use super::super::settings::KeySettings;
use super::key_error::KeyError;
use super::keys::{JWKS_MAX_BYTES, KeySet, KeySetError};

/// The time limit for one request to the address of the keys, including the connection.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The permission bits of a secret's file for users other than its owner.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// The reason why nova could not fetch a key set.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

/// The source of the keys for checking tokens.
pub(super) enum KeySource {
    Development,
    File(KeyFile),
    Url(Box<Fetch>),
}

impl KeySource {
    /// The configured source of keys with its first keys, or `None` if no source is configured. An address has no keys
    /// before its first answer.
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

/// Checks that nova can use the files that the settings name. The check sends no request to an address.
pub fn check_keys(settings: &KeySettings) -> Result<(), KeyError> {
    KeySource::configured(settings).map(drop)
}

/// The problems of the configured keys, for `nova check`: the members of the set that are left out. The function fails
/// if the settings give no usable key. If the settings name an address, the function waits for the answer of that
/// address.
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
    /// The content of the key file at the last read, whether it was valid or not.
    last: Mutex<Vec<u8>>,
    /// The last message about an invalid key file.
    complaint: Mutex<String>,
}

impl KeyFile {
    /// Opens a key file and reads its first keys. An empty key file is an error.
    fn open(path: &Path, setting: &'static str, secret: bool) -> Result<(KeyFile, KeySet), KeyError> {
        let wrong = |detail: String| KeyError::File { setting, path: path.display().to_string(), detail };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let (last, complaint) = (Mutex::new(bytes.clone()), Mutex::default());
        let file = KeyFile { path: path.to_owned(), setting, secret, last, complaint };
        let keys = file.keys(bytes).map_err(wrong)?;
        Ok((file, keys))
    }

    /// Reads the keys of the file, or returns `None` if the file has not changed.
    pub fn read(&self) -> Result<Option<KeySet>, String> {
        let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        if *self.last.lock() == bytes {
            return Ok(None);
        }
        self.last.lock().clone_from(&bytes);
        self.keys(bytes).map(Some)
    }

    /// Parses the content of the key file.
    fn keys(&self, bytes: Vec<u8>) -> Result<KeySet, String> {
        if self.secret {
            self.check_mode()?;
            return KeySet::secret(&bytes).map_err(|error| error.to_string());
        }
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
        KeySet::parse(&text).map_err(|error| error.to_string())
    }

    /// Whether this message about the key file differs from the last one.
    pub fn complains(&self, detail: &str) -> bool {
        let mut last = self.complaint.lock();
        let new = *last != detail;
        detail.clone_into(&mut last);
        new
    }

    /// Checks the permissions of a secret's file, because a reader of a shared secret can sign tokens.
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
    address: Uri,
    client: HttpClient,
}

impl Fetch {
    /// The address of the keys must have a host and be `http` or `https`. nova checks certificates with the certificate
    /// authorities of the machine.
    pub fn new(url: &str) -> Result<Fetch, String> {
        let address = address(url).ok_or("expected http://host/path or https://host/path")?;
        // nova reads the keys every few minutes, so it keeps no connection.
        let limits = Limits { time: FETCH_TIMEOUT, answer_max_bytes: JWKS_MAX_BYTES, idle_connections: 0 };
        let client = HttpClient::new(&address, &Trust::Machine, limits).map_err(|error| error.to_string())?;
        Ok(Fetch { address, client })
    }

    pub async fn get(&self) -> Result<KeySet, FetchError> {
        let request = Request::get(self.address.clone()).header("accept", "application/json").body(Full::default());
        match self.client.send(request.map_err(HttpError::from)?).await {
            Ok(answer) if answer.status == StatusCode::OK => Ok(KeySet::parse(&answer.text())?),
            Ok(answer) => Err(FetchError::Status(answer.status)),
            // If an answer with an error status breaks off, the error has the HTTP status and not the incomplete text.
            Err(HttpError::BrokenOff { status, .. }) if status != StatusCode::OK => Err(FetchError::Status(status)),
            Err(error) => Err(error.into()),
        }
    }
}
