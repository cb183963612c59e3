//! The public documents of a listener, which nova makes once for many readers: the description of its routes, the key
//! set, and the metrics.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;

use super::answers::Answer;
use super::auth::Auth;
use super::edge::Edge;
use super::error::Problem;
use super::metrics::Scrapes;
use super::shared::{Kept, Shared};

/// The public documents of a listener.
pub(super) struct Documents {
    openapi: Shared,
    jwks: Kept<Arc<str>>,
    scrapes: Scrapes,
}

impl Documents {
    /// Makes the documents, with the description of the listener's routes.
    pub fn new(openapi: String) -> Documents {
        Documents::of(Shared::new("application/json", openapi))
    }

    /// Makes documents for a second edge with the same routes as the edge of these documents. The new and the old
    /// documents share the description of the routes.
    pub fn anew(&self) -> Documents {
        Documents::of(self.openapi.clone())
    }

    fn of(openapi: Shared) -> Documents {
        Documents { openapi, jwks: Kept::default(), scrapes: Scrapes::default() }
    }

    /// Answers `GET /openapi.json`.
    pub fn openapi(&self) -> Response<Full<Bytes>> {
        self.openapi.cacheable()
    }

    /// Answers `GET /.well-known/jwks.json`. Before the first answer of `auth.jwks_url` nova does not know the keys. An
    /// empty key set would mean that no keys exist.
    pub fn key_set(&self, auth: &Auth) -> Answer {
        if !auth.ready() {
            return Err(Problem::Unavailable("the key set of auth.jwks_url was not answered yet"));
        }
        let make = |text: &Arc<str>| Ok(Shared::new("application/json", text.to_string()));
        self.jwks.get(auth.jwks(), make).map(|jwks| jwks.cacheable())
    }

    /// Answers `GET /metrics`.
    pub fn metrics(&self, edge: &Edge, request: &HeaderMap) -> Answer {
        self.scrapes.answer(edge, request)
    }
}
