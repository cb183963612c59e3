//! Sends the requests of commands to a running node, the Schema Registry or Kafka Connect. A command waits for each
//! answer on its own thread, and takes an answer of any length piece by piece. The HTTP client is `http_client`, which
//! all of nova uses.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::Full;
use tokio::runtime::Runtime;

use crate::http_client::{HttpClient, Limits, address, piece};
use crate::tls::Trust;

pub(super) use crate::http_client::Answer;

use super::runtime::runtime;

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// A command writes an answer of at most this many bytes to a file. The limit is larger than every disk.
const FETCH_MAX_BYTES: usize = 1 << 50;
/// The time without a byte after which a command stops waiting for an answer. A node that still prepares an answer
/// sends a line feed every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// The reason why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {what}")]
pub struct AskError {
    url: String,
    what: String,
}

/// The credentials that a command sends with a request.
pub(super) enum Credentials<'a> {
    Nobody,
    Bearer(&'a str),
    Basic(&'a str, &'a str),
}

/// A request of a command: the address, the method, the credentials and the JSON in `body`.
pub(super) struct Question<'a> {
    pub method: Method,
    pub url: &'a str,
    pub who: Credentials<'a>,
    pub body: Option<String>,
    pub trust: Trust,
}

impl<'a> Question<'a> {
    /// Makes a GET request for an address. `ca_file` has the certificate authority of the server, if the machine does
    /// not trust this authority.
    pub fn of(url: &'a str, who: Credentials<'a>, ca_file: Option<&Path>) -> Question<'a> {
        Question { method: Method::GET, url, who, body: None, trust: Trust::of(ca_file) }
    }

    fn failed(&self, what: impl Display) -> AskError {
        AskError { url: self.url.to_owned(), what: what.to_string() }
    }

    fn client(&self, answer_max_bytes: usize) -> Result<HttpClient, AskError> {
        let address = address(self.url).ok_or_else(|| self.failed("expected http://host:port or https://host:port"))?;
        let limits = Limits { time: TIMEOUT, answer_max_bytes, idle_connections: 0 };
        HttpClient::new(&address, &self.trust, limits).map_err(|error| self.failed(error))
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, AskError> {
        let mut request =
            Request::builder().method(self.method.clone()).uri(self.url).header(CONTENT_TYPE, "application/json");
        match self.who {
            Credentials::Nobody => {}
            Credentials::Bearer(token) => request = request.header(AUTHORIZATION, format!("Bearer {token}")),
            Credentials::Basic(user, password) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                request = request.header(AUTHORIZATION, format!("Basic {pair}"));
            }
        }
        let body = Full::from(self.body.clone().unwrap_or_default());
        request.body(body).map_err(|error| self.failed(error))
    }

    fn runtime(&self) -> Result<Runtime, AskError> {
        runtime().map_err(|error| self.failed(error))
    }
}

/// Sends one request, and waits for the answer.
pub(super) fn ask(question: &Question<'_>) -> Result<Answer, AskError> {
    let (client, request) = (question.client(ANSWER_MAX_BYTES)?, question.request()?);
    question.runtime()?.block_on(client.send(request)).map_err(|error| question.failed(error))
}

/// Sends one request for an answer of any length, and passes the answer to `take` piece by piece. The function returns
/// the whole answer if the server refuses the request, and an error if the answer breaks off.
pub(super) fn fetch<E: From<AskError>>(
    question: &Question<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Answer, E> {
    let (client, request) = (question.client(FETCH_MAX_BYTES)?, question.request()?);
    question.runtime()?.block_on(async {
        let mut begun = client.begin(request).await.map_err(|error| question.failed(error))?;
        let status = begun.status();
        if !status.is_success() {
            return Ok(client.rest(begun).await.map_err(|error| question.failed(error))?);
        }
        while let Some(piece) = piece(&mut begun, SILENCE).await.map_err(|error| question.failed(error))? {
            take(&piece)?;
        }
        Ok(Answer { status, body: Bytes::new() })
    })
}
