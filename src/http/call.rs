//! The input of a handler, and its output.

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

/// An answer for which the caller waits.
pub(super) type Waits<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
/// An answer that comes piece by piece, once it may begin.
pub(super) type Opens<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Problem>> + Send + 'a>>;

/// A request that is within its quota and whose caller is allowed.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub edge: &'a Arc<Edge>,
    pub documents: &'a Documents,
    pub headers: &'a HeaderMap,
    /// The host and port that the request is for; see [`super::host::authority`].
    pub authority: Option<&'a str>,
    pub query: &'a str,
    pub trace: &'a Trace,
    /// The part of the path that the operation names. It is empty if the operation names none.
    pub name: &'a str,
    pub peer: IpAddr,
    pub started: Instant,
}

impl<'a> Call<'a> {
    pub fn edge(&self) -> &'a Arc<Edge> {
        self.edge
    }
}

/// A request with the user of its token, and with a body that was not read yet.
pub(super) struct UserCall<'a> {
    pub call: Call<'a>,
    pub subject: Subject,
    pub body: Asked,
}

impl<'a> UserCall<'a> {
    pub fn edge(&self) -> &'a Arc<Edge> {
        self.call.edge
    }

    /// Reads the content of the body.
    pub async fn content(&mut self) -> Result<Bytes, Problem> {
        let body = std::mem::replace(&mut self.body, Asked::Left(http_body_util::Empty::new()));
        body::content(self.call.headers, body).await
    }
}
