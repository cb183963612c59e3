//! The id of a request. The answer to the request and every line of the log about the request contain the id.

#![warn(clippy::indexing_slicing)]

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::route::ADMIN_PATHS;
use super::trace::Trace;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_MAX_BYTES: usize = 128;

/// The id of a request in its answer and in the log: the caller's own id, or an id from nova.
pub(super) enum RequestId {
    Given(HeaderValue),
    New([u8; uuid::fmt::Hyphenated::LENGTH]),
}

impl RequestId {
    /// The id that the caller gave, if the id has only plain characters, otherwise a new UUID of version 7.
    pub fn of(headers: &HeaderMap, now_ms: i64) -> RequestId {
        let plain = |id: &&HeaderValue| {
            (1..=REQUEST_ID_MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(given) = headers.get(REQUEST_ID).filter(plain) {
            return RequestId::Given(given.clone());
        }
        let (mut random, mut text) = ([0; 10], [0; uuid::fmt::Hyphenated::LENGTH]);
        fastrand::fill(&mut random);
        let new = uuid::Builder::from_unix_timestamp_millis(now_ms.max(0) as u64, &random).into_uuid();
        new.hyphenated().encode_lower(&mut text);
        RequestId::New(text)
    }

    pub fn text(&self) -> &str {
        match self {
            RequestId::Given(given) => given.to_str().unwrap_or_default(),
            RequestId::New(text) => std::str::from_utf8(text).unwrap_or_default(),
        }
    }
}

/// The span with the fields that each log line of a request has. The creation of the span takes 15 % of the time that
/// nova needs for a page. A read logs nothing above the level `debug`, so the span of a read has this level.
pub(super) fn span(head: &Parts, request_id: &RequestId, trace: &Trace) -> tracing::Span {
    macro_rules! of_level {
        ($level:ident) => {
            tracing::span!(
                tracing::Level::$level, "request", method = %head.method, path = head.uri.path(),
                request_id = request_id.text(), trace_id = trace.trace_id(), span_id = trace.span_id(),
            )
        };
    }
    let read = head.method == Method::GET && !head.uri.path().starts_with(ADMIN_PATHS);
    if read { of_level!(DEBUG) } else { of_level!(INFO) }
}
