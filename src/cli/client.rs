//! A small HTTP client for commands that ask a running node, Connect or a registry.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::bounded::Bound;
use crate::tls::{self, causes};

use super::CliError;

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// Status and body of an answer.
pub(super) struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Who asks.
pub(super) enum Credentials<'a> {
    Nobody,
    Bearer(&'a str),
    Basic(&'a str, &'a str),
}

/// Asks once; `body` is JSON. `ca_file` has the authority of an `https://` address, where the machine does not know it.
pub(super) fn ask(
    method: Method,
    url: &str,
    who: &Credentials<'_>,
    body: Option<String>,
    ca_file: Option<&Path>,
) -> Result<Answer, CliError> {
    let failed = |what: String| CliError::Failed(format!("{url}: {what}"));
    let uri: Uri = url.parse().map_err(|error| failed(format!("is not a URL: {error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(failed("expected http://host:port or https://host:port".to_owned()));
    }
    let connector =
        tls::connector(url, ca_file, Bound::Each(ANSWER_MAX_BYTES)).map_err(|error| failed(error.to_string()))?;
    let mut request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, "application/json");
    match who {
        Credentials::Nobody => {}
        Credentials::Bearer(token) => request = request.header(AUTHORIZATION, format!("Bearer {token}")),
        Credentials::Basic(user, password) => {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            request = request.header(AUTHORIZATION, format!("Basic {pair}"));
        }
    }
    let request = request.body(Full::<Bytes>::from(body.unwrap_or_default()));
    let request = request.map_err(|error| failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let response = client.request(request).await;
        let response = response.map_err(|error| failed(format!("cannot be reached: {}", causes(&error))))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| failed(causes(&error)))?.to_bytes();
        Ok(Answer { status, body })
    };
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, asked).await });
    answer.map_err(|_| failed("did not answer in time".to_owned()))?
}
