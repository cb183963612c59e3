//! Which pages of which origins may call from a browser (<https://fetch.spec.whatwg.org/#http-cors-protocol>). Tokens
//! are sent in a header, never as cookies: credentials are not allowed, and need not be.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use super::server;

const HEADERS: &str = "authorization, content-type, content-encoding, idempotency-key, if-none-match, traceparent, \
                       x-request-id";
const EXPOSED: &str = "etag, idempotent-replayed, ratelimit, ratelimit-policy, retry-after, server-timing, \
                       traceparent, x-request-id";
const MAX_AGE_S: &str = "600";

/// The value of `Access-Control-Allow-Origin` for a request, where there is one.
pub(super) fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    if origins.iter().any(|known| known == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Whether a browser asks what it may send.
pub(super) fn preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What it may send to a path with these methods.
pub(super) fn answer(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = server::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    response
}

/// Lets the page read an answer.
pub(super) fn write(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
