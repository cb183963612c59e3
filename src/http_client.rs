//! The HTTP client for small requests to servers: the Schema Registry, a key set, a collector of traces, Kafka Connect,
//! or a nova node. The client limits the time of a request, including the connection, and the length of the answer.
//!
//! nova asks ClickHouse with a different client (`warehouse::clickhouse`), because inserts and queries stream rows
//! through the crate `clickhouse`, which makes the requests. The client of ClickHouse and this client share the
//! connector (`tls`) and the limit for answers (`bounded`).

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::bounded::Bound;
use crate::tls::{self, Connector, TlsError, Trust, causes};

/// The reason why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot be asked: {0}")]
    Request(#[from] http::Error),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The answer broke off after its status had come.
    #[error("the answer broke off: {causes}")]
    BrokenOff { status: StatusCode, causes: String },
}

/// The limits of a client's requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time limit for one request, including the connection and the answer.
    pub time: Duration,
    /// The client refuses an answer with a longer body.
    pub answer_max_bytes: usize,
    /// The maximum number of idle connections that are kept for the next request. A client that asks its server only
    /// every few minutes keeps no idle connections, because the server would usually close a kept connection before the
    /// next request.
    pub idle_connections: usize,
}

/// The status and the body of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Parses the address of a server. Returns `None` unless the address begins with `http://` or `https://`, has a host,
/// and has neither a user name nor a password. nova would never send a password that an address contains, and messages
/// would show the password.
pub fn address(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let asked = matches!(uri.scheme_str(), Some("http" | "https"));
    let named = uri.host().is_some_and(|host| !host.is_empty());
    let open = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (asked && named && open).then_some(uri)
}

/// The HTTP client of one server.
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    time: Duration,
}

impl HttpClient {
    /// Makes a client of the server at an address. `new` makes no connection yet. `trust` says which certificates the
    /// client accepts from the server.
    pub fn new(address: &Uri, trust: &Trust, limits: Limits) -> Result<HttpClient, TlsError> {
        let connector = tls::trusting(&address.to_string(), trust, Bound::Each(limits.answer_max_bytes))?;
        let idle = limits.idle_connections;
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build(connector);
        Ok(HttpClient { client, time: limits.time })
    }

    /// Sends a request, and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
        self.in_time(async { whole(self.head(request).await?).await }).await
    }

    /// Sends a request, and reads only the head of the answer. The caller reads the body by [`HttpClient::rest`] or by
    /// [`piece`].
    pub async fn begin(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        self.in_time(self.head(request)).await
    }

    /// Reads the whole body of an answer whose head was read.
    pub async fn rest(&self, begun: Response<Incoming>) -> Result<Answer, HttpError> {
        self.in_time(whole(begun)).await
    }

    async fn head(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        self.client.request(request).await.map_err(|error| HttpError::Unreachable(causes(&error)))
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
        tokio::time::timeout(self.time, work).await.map_err(|_| HttpError::Late(self.time))?
    }
}

async fn whole(begun: Response<Incoming>) -> Result<Answer, HttpError> {
    let status = begun.status();
    let body = begun.into_body().collect().await.map_err(|error| broken_off(status, &error))?;
    Ok(Answer { status, body: body.to_bytes() })
}

/// Returns the next piece of an answer's body, or `None` at the end of the body. A wait for a piece lasts at most
/// `silence`.
pub async fn piece(begun: &mut Response<Incoming>, silence: Duration) -> Result<Option<Bytes>, HttpError> {
    let status = begun.status();
    loop {
        let next = tokio::time::timeout(silence, begun.body_mut().frame()).await;
        let Some(frame) = next.map_err(|_| HttpError::Late(silence))? else { return Ok(None) };
        if let Ok(piece) = frame.map_err(|error| broken_off(status, &error))?.into_data() {
            return Ok(Some(piece));
        }
    }
}

fn broken_off(status: StatusCode, error: &(dyn Error + 'static)) -> HttpError {
    HttpError::BrokenOff { status, causes: causes(error) }
}

#[cfg(test)]
mod tests;
