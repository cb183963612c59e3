//! What a handler is given, and what it gives back.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;

use crate::http::Body;
use crate::http::auth::Subject;
use crate::http::body::{self, Asked};
use crate::http::edge::Edge;
use crate::http::error::Problem;
use crate::http::request::Site;
use crate::http::trace::Trace;

/// An answer that is whole.
pub(in crate::http) type Answer = Result<Response<Full<Bytes>>, Problem>;
/// An answer that is waited for.
pub(in crate::http) type Waits<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
/// An answer that comes piece by piece, once it may begin.
pub(in crate::http) type Opens<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Problem>> + Send + 'a>>;

/// A request that is within its quota, and whose caller may.
#[derive(Clone, Copy)]
pub(in crate::http) struct Call<'a> {
    pub site: &'a Site,
    pub headers: &'a HeaderMap,
    /// The host and port that the request is for; see [`crate::http::host::authority`].
    pub authority: Option<&'a str>,
    pub query: &'a str,
    pub trace: &'a Trace,
    /// The part of the path that the operation names; empty where it names none.
    pub name: &'a str,
    pub peer: IpAddr,
    pub started: Instant,
}

impl<'a> Call<'a> {
    pub fn edge(&self) -> &'a Edge {
        &self.site.edge
    }
}

/// The same, with the user whose token it has, and a body that was not read yet.
pub(in crate::http) struct UserCall<'a> {
    pub call: Call<'a>,
    pub subject: Subject,
    pub body: Asked,
}

impl<'a> UserCall<'a> {
    pub fn edge(&self) -> &'a Edge {
        self.call.edge()
    }

    /// Reads the content of the body.
    pub async fn content(&mut self) -> Result<Bytes, Problem> {
        let body = std::mem::replace(&mut self.body, Asked::Left(http_body_util::Empty::new()));
        body::content(self.call.headers, body).await
    }
}
