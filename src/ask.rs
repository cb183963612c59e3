//! A small HTTP client: commands ask a running node or a registry with it, and a node asks Kafka Connect.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::bounded::Bound;
use crate::tls::{self, Trust, causes};

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// The limit for an answer that is handed over piece by piece: more bytes than any disk has.
const FETCH_MAX_BYTES: usize = 1 << 50;
/// If such an answer brings no byte for this long, nova gives it up. A node that still prepares an answer sends
/// something every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {what}")]
pub struct AskError {
    url: String,
    what: String,
}

/// The status and the body of an answer.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The credentials of the caller.
pub enum Credentials<'a> {
    Nobody,
    Bearer(&'a str),
    Basic(&'a str, &'a str),
}

/// A request: the address, the method, the credentials and the JSON in `body`.
pub struct Question<'a> {
    pub method: Method,
    pub url: &'a str,
    pub who: Credentials<'a>,
    pub body: Option<String>,
    pub trust: Trust,
}

impl<'a> Question<'a> {
    /// A request for the resource at an address. `ca_file` has the authority of the server's certificate if the machine
    /// does not know it.
    pub fn of(url: &'a str, who: Credentials<'a>, ca_file: Option<&Path>) -> Question<'a> {
        let trust = ca_file.map_or(Trust::Machine, |path| Trust::File(path.to_owned()));
        Question { method: Method::GET, url, who, body: None, trust }
    }

    fn failed(&self, what: String) -> AskError {
        AskError { url: self.url.to_owned(), what }
    }

    async fn response(&self, most_bytes: usize) -> Result<Response<Incoming>, AskError> {
        let uri: Uri = self.url.parse().map_err(|error| self.failed(format!("is not a URL: {error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(self.failed("expected http://host:port or https://host:port".to_owned()));
        }
        let connector = tls::trusting(self.url, &self.trust, Bound::Each(most_bytes));
        let connector = connector.map_err(|error| self.failed(error.to_string()))?;
        let mut request =
            Request::builder().method(self.method.clone()).uri(uri).header(CONTENT_TYPE, "application/json");
        match self.who {
            Credentials::Nobody => {}
            Credentials::Bearer(token) => request = request.header(AUTHORIZATION, format!("Bearer {token}")),
            Credentials::Basic(user, password) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                request = request.header(AUTHORIZATION, format!("Basic {pair}"));
            }
        }
        let body = Full::<Bytes>::from(self.body.clone().unwrap_or_default());
        let request = request.body(body).map_err(|error| self.failed(error.to_string()))?;
        let asked = Client::builder(TokioExecutor::new()).build(connector).request(request).await;
        asked.map_err(|error| self.failed(format!("cannot be reached: {}", causes(&error))))
    }

    /// Reads the whole answer.
    async fn whole(&self, response: Response<Incoming>) -> Result<Answer, AskError> {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| self.failed(causes(&error)))?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Waits for a future for a limited time.
    async fn soon<T, E: From<AskError>>(
        &self,
        time: Duration,
        what: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let late = || E::from(self.failed("did not answer in time".to_owned()));
        tokio::time::timeout(time, what).await.map_err(|_| late())?
    }

    /// Returns the whole answer if it has at most `most_bytes` and comes within `time`.
    pub async fn answer(&self, most_bytes: usize, time: Duration) -> Result<Answer, AskError> {
        self.soon(time, async { self.whole(self.response(most_bytes).await?).await }).await
    }
}

fn runtime(question: &Question<'_>) -> Result<tokio::runtime::Runtime, AskError> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.map_err(|error| question.failed(error.to_string()))
}

/// Sends one request, and waits for the answer.
pub fn ask(question: &Question<'_>) -> Result<Answer, AskError> {
    runtime(question)?.block_on(question.answer(ANSWER_MAX_BYTES, TIMEOUT))
}

/// Sends one request for an answer of any length, and hands the answer over piece by piece. A refusal is returned
/// whole. An answer that breaks off is an error.
pub fn fetch<E: From<AskError>>(
    question: &Question<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Answer, E> {
    runtime(question)?.block_on(async {
        let response = question.soon(TIMEOUT, question.response(FETCH_MAX_BYTES)).await?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Ok(question.soon(TIMEOUT, question.whole(response)).await?);
        }
        let mut body = response.into_body();
        let broke = |error| question.failed(format!("the answer broke off: {}", causes(&error)));
        while let Some(frame) = question.soon(SILENCE, async { Ok::<_, AskError>(body.frame().await) }).await? {
            if let Ok(piece) = frame.map_err(broke)?.into_data() {
                take(&piece)?;
            }
        }
        Ok(Answer { status, body: Bytes::new() })
    })
}
