//! Decides from which origins the pages of a browser may call nova
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>). A page sends the token in a header and never as a cookie, so
//! nova does not allow credentials.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use super::answers;

/// The headers that a page may send if the browser names no headers.
const HEADERS: &str = "authorization, content-type, content-encoding, idempotency-key, if-none-match, last-event-id, \
                       traceparent, tracestate, baggage, sentry-trace, x-request-id";
/// The maximum length, in bytes, of a requested list of headers that nova grants. nova answers a list that is longer
/// than this with the default list.
const ASKED_MAX_BYTES: usize = 2 << 10;
const EXPOSED: &str = "etag, idempotent-replayed, ratelimit, ratelimit-policy, retry-after, server-timing, \
                       traceparent, x-request-id";
const MAX_AGE_S: &str = "600";

/// The value of `Access-Control-Allow-Origin` for a request, if its origin is allowed.
pub(super) fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    if origins.iter().any(|known| known == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Whether the request is a browser's preflight.
pub(super) fn preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight for a path with the given methods. The answer allows all headers that the browser names,
/// because only the origin decides which page may call. A header that nova does not read is harmless. If nova refused
/// the headers of a page's tracing libraries, every request of the page would fail.
pub(super) fn answer(methods: &'static str, request: &HeaderMap) -> Response<Full<Bytes>> {
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|asked| are_names(asked.as_bytes()));
    let mut response = answers::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.cloned().unwrap_or(HeaderValue::from_static(HEADERS)));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    response
}

/// Whether a text is a list of names of headers (RFC 9110 §5.1), and not too long.
fn are_names(list: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let name = |name: &[u8]| !name.is_empty() && name.iter().all(token);
    list.len() <= ASKED_MAX_BYTES && list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(name)
}

/// Adds the headers that let a page of an allowed origin read the answer.
pub(super) fn write(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_what_its_libraries_ask_for() {
        let granted = |asked: &str| {
            let request = HeaderMap::from_iter([(ACCESS_CONTROL_REQUEST_HEADERS, asked.parse().unwrap())]);
            let headers = answer("GET", &request).into_parts().0.headers;
            headers[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_owned()
        };
        for asked in ["authorization,baggage,sentry-trace,tracestate", "x-datadog-trace-id", "b3, uber-trace-id"] {
            assert_eq!(granted(asked), asked);
        }
        let long = "x".repeat(ASKED_MAX_BYTES + 1);
        for odd in ["", ",", "a b", "authorization,", "a:b", &long] {
            assert_eq!(granted(odd), HEADERS, "{odd}");
        }
    }
}
