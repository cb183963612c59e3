//! The input and the output of a handler of requests.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::answers::Answer;
use super::auth::Subject;
use super::body::{self, Asked};
use super::documents::Documents;
use super::edge::Edge;
use super::error::Problem;
use super::pieces::Body;
use super::trace::Trace;

/// The future of an answer for which the caller waits.
pub(super) type Waits<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
/// The future of an answer that nova sends piece by piece.
pub(super) type Opens<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Problem>> + Send + 'a>>;

/// A request whose caller is within the quota and may use the operation.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub edge: &'a Arc<Edge>,
    pub documents: &'a Documents,
    pub headers: &'a HeaderMap,
    /// The host and port that the request is for; see [`super::host::authority`].
    pub authority: Option<&'a str>,
    pub query: &'a str,
    pub trace: &'a Trace,
    /// The part of the path that is a parameter of the operation, or an empty text if the path has no parameter.
    pub name: &'a str,
    pub peer: IpAddr,
    pub started: Instant,
}

impl<'a> Call<'a> {
    pub fn edge(&self) -> &'a Arc<Edge> {
        self.edge
    }
}

/// A request with the user of its token, and with a body that nova has not read yet.
pub(super) struct UserCall<'a> {
    pub call: Call<'a>,
    pub subject: Subject,
    pub body: Asked,
}

impl<'a> UserCall<'a> {
    pub fn edge(&self) -> &'a Arc<Edge> {
        self.call.edge
    }

    /// Reads the content of the request's body.
    pub async fn content(&mut self) -> Result<Bytes, Problem> {
        let body = std::mem::replace(&mut self.body, Asked::Left(http_body_util::Empty::new()));
        body::content(self.call.headers, body).await
    }
}
