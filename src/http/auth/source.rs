//! Where a key set comes from: a file that is read again when it changed, or an address that is asked now and then.
//! What was good last is kept when a reload fails.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::bounded::Bound;
use crate::breaker::BreakerState;
use crate::tls::{self, Connector, causes};

use super::Auth;
use super::keys::{JWKS_MAX_BYTES, KeySet};

/// One request, connecting included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an address is asked while it answers.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// How soon it is asked again when a token names a key that is not known.
const FETCH_SOONEST: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(60);
/// How often a file is looked at.
const FILE_EVERY: Duration = Duration::from_secs(2);

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
    KeySet(#[from] super::keys::KeySetError),
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

/// Reads a key set from a file.
pub(super) fn read(path: &Path) -> Result<(String, KeySet), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let keys = KeySet::parse(&text).map_err(|error| error.to_string())?;
    Ok((text, keys))
}

impl Auth {
    /// Keeps the key set fresh; never ends where there is one to keep.
    pub async fn keep_keys(&self) {
        match &self.source {
            super::KeySource::Development => {}
            super::KeySource::File { path, .. } => loop {
                tokio::time::sleep(FILE_EVERY).await;
                if let Err(error) = self.reload_file() {
                    tracing::warn!("auth.jwks_file: {} {error}; the keys stay as they were", path.display());
                }
            },
            super::KeySource::Url { fetch, wanted, breaker } => {
                let mut backoff = BACKOFF_FIRST;
                loop {
                    match fetch.get().await {
                        Ok(keys) => {
                            *breaker.lock() = BreakerState::Closed;
                            self.replace(keys);
                            backoff = BACKOFF_FIRST;
                            tokio::time::sleep(FETCH_SOONEST).await;
                            // A new key shows itself by its first token.
                            let _ = tokio::time::timeout(FETCH_EVERY - FETCH_SOONEST, wanted.notified()).await;
                        }
                        Err(error) => {
                            tracing::warn!("auth.jwks_url: {error}; the keys stay as they were");
                            *breaker.lock() = BreakerState::Open;
                            tokio::time::sleep(backoff).await;
                            *breaker.lock() = BreakerState::HalfOpen;
                            backoff = (backoff * 2).min(BACKOFF_LAST);
                        }
                    }
                }
            }
        }
    }

    /// Takes a changed file over; true when it did.
    pub fn reload_file(&self) -> Result<bool, String> {
        let super::KeySource::File { path, last } = &self.source else { return Ok(false) };
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut last = last.lock();
        if *last == text {
            return Ok(false);
        }
        // Also a bad file is complained about once only.
        let keys = KeySet::parse(&text);
        *last = text;
        drop(last);
        self.replace(keys.map_err(|error| error.to_string())?);
        Ok(true)
    }
}
