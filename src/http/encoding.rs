//! Sends answers in gzip to clients that accept gzip, and 304 to clients that already have the answer.

#![warn(clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;

/// The minimum length, in bytes, of a body that nova compresses.
const COMPRESS_FROM_BYTES: usize = 1_024;
/// The maximum number of compressed bodies that nova keeps. A compressed body has at most about 10 KiB.
const COMPRESSED_MAX: usize = 64;

/// Whether `Accept-Encoding` allows gzip (RFC 9110 §12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let items = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for item in items.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = quality.is_none_or(|quality| quality.parse::<f32>().is_ok_and(|quality| quality > 0.0));
        if name.eq_ignore_ascii_case("gzip") {
            return wanted;
        }
        any |= name == "*" && wanted;
    }
    any
}

/// The compressed form of a body that many clients get. nova makes the compressed form for the first client that accepts
/// gzip, so a start does not wait for it. An answer has the compressed form as an extension, beside the uncompressed
/// body.
#[derive(Clone, Default)]
pub(super) struct Gzipped(Arc<OnceLock<Bytes>>);

impl Gzipped {
    /// Returns the compressed form of the body, which must be the same body at each call.
    fn of(&self, body: &[u8]) -> Option<Bytes> {
        // Writing to memory cannot fail. If a write failed, the compressed body would be empty, and nova does not send
        // an empty compressed body.
        let made = self.0.get_or_init(|| gzip(body, Compression::best()).unwrap_or_default());
        Some(made.clone()).filter(|made| !made.is_empty())
    }
}

fn gzip(bytes: &[u8], level: Compression) -> Option<Bytes> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
    gzip.write_all(bytes).and_then(|()| gzip.finish()).ok().map(Bytes::from)
}

/// The most recently compressed bodies, each with the ETag that identifies the body.
#[derive(Default)]
pub(super) struct Compressed(Mutex<VecDeque<(HeaderValue, Bytes)>>);

impl Compressed {
    /// Returns the compressed body with the given ETag, and makes the body if it is missing.
    fn of(&self, etag: &HeaderValue, body: &[u8]) -> Option<Bytes> {
        let known = self.0.lock().iter().find(|(known, _)| known == etag).map(|(_, gzip)| gzip.clone());
        if known.is_some() {
            return known;
        }
        let made = gzip(body, Compression::fast())?;
        let mut kept = self.0.lock();
        kept.truncate(COMPRESSED_MAX - 1);
        kept.push_front((etag.clone(), made.clone()));
        Some(made)
    }
}

/// Compresses a long text body for a client that accepts gzip. Answers 304 to a client that already has the body (RFC
/// 9110 §13.1.2), with the `Vary` and `ETag` that a 200 would have. A compressed body gets a weak ETag, because the
/// compressed and the uncompressed body have the same content but different bytes.
pub(super) fn finish(response: Response<Full<Bytes>>, request: &HeaderMap, kept: &Compressed) -> Response<Full<Bytes>> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let text = ["application/", "text/", "image/svg+xml"].iter().any(|prefix| kind.starts_with(prefix));
    let (mut head, body) = response.into_parts();
    let long = whole(&body).filter(|bytes| text && bytes.len() >= COMPRESS_FROM_BYTES);
    if long.is_some() {
        head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let long = long.filter(|_| accepts_gzip(request));
    let etag = head.headers.get(ETAG).cloned();
    if let Some(etag) = &etag {
        if head.status == StatusCode::OK && knows(request, etag) {
            head.status = StatusCode::NOT_MODIFIED;
        }
        let weak = etag.to_str().ok().filter(|etag| long.is_some() && !etag.starts_with("W/"));
        if let Some(weak) = weak.and_then(|tag| HeaderValue::from_str(&format!("W/{tag}")).ok()) {
            head.headers.insert(ETAG, weak);
        }
        if head.status == StatusCode::NOT_MODIFIED {
            head.headers.remove(CONTENT_TYPE);
            return Response::from_parts(head, Full::default());
        }
    }
    // A new gzip encoder clears some 300 KiB, which costs as much as the rest of a request, so nova keeps compressed
    // bodies.
    let made = |bytes: Bytes| match (head.extensions.remove::<Gzipped>(), etag) {
        (Some(kept), _) => kept.of(&bytes),
        (None, Some(etag)) => kept.of(&etag, &bytes),
        (None, None) => gzip(&bytes, Compression::fast()),
    };
    let Some(out) = long.and_then(made) else { return Response::from_parts(head, body) };
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Full::new(out))
}

/// Whether `If-None-Match` of the request has the given ETag, by the weak comparison of RFC 9110 §8.8.3.2.
fn knows(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let etag = opaque(etag.as_bytes());
    let known = request.get_all(IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    known.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || opaque(tag) == etag)
}

/// The bytes of a body, or `None` if the body is not complete in memory.
pub(super) fn whole(body: &Full<Bytes>) -> Option<Bytes> {
    use http_body_util::BodyExt as _;
    let mut body = body.clone();
    let mut frame = std::pin::pin!(body.frame());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::future::Future::poll(frame.as_mut(), &mut context) {
        std::task::Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_as_the_header_says() {
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("br", false),
            ("gzip;q=x", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    /// Returns the status, headers and length of the answer to a request with the given headers. The answer has an ETag
    /// and a body of `length` bytes.
    fn answered(request: &[(&'static str, &str)], length: usize) -> (StatusCode, HeaderMap, usize) {
        let mut response = crate::http::answers::json(StatusCode::OK, "x".repeat(length));
        response.headers_mut().insert(ETAG, HeaderValue::from_static("\"tag\""));
        let request =
            request.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()));
        let (head, body) = finish(response, &request.collect(), &Compressed::default()).into_parts();
        (head.status, head.headers, whole(&body).map_or(0, |body| body.len()))
    }

    #[test]
    fn a_304_has_the_vary_and_the_etag_of_the_200() {
        for length in [10, COMPRESS_FROM_BYTES] {
            for coding in ["identity", "gzip"] {
                let (status, full, _) = answered(&[("accept-encoding", coding)], length);
                assert_eq!(status, StatusCode::OK);
                for tag in ["\"tag\"", "W/\"tag\"", "*", "\"other\", W/\"tag\""] {
                    let (status, short, left) =
                        answered(&[("accept-encoding", coding), ("if-none-match", tag)], length);
                    assert_eq!((status, left), (StatusCode::NOT_MODIFIED, 0), "{tag}");
                    for name in [ETAG, VARY] {
                        assert_eq!(short.get(&name), full.get(&name), "{name} {coding} {length}");
                    }
                    assert!(short.get(CONTENT_TYPE).is_none() && short.get(CONTENT_ENCODING).is_none());
                }
                assert_eq!(answered(&[("if-none-match", "\"tag2\"")], length).0, StatusCode::OK);
            }
        }
    }

    #[test]
    fn a_body_that_many_get_is_compressed_once_and_only_for_a_client_that_accepts_gzip() {
        let text = "what many ask for ".repeat(200);
        let gzipped = Gzipped::default();
        let answered = |coding: &'static str| {
            let mut response = crate::http::answers::json(StatusCode::OK, text.clone());
            response.extensions_mut().insert(gzipped.clone());
            let request = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(coding))]);
            whole(finish(response, &request, &Compressed::default()).body()).unwrap()
        };
        assert_eq!(answered("identity"), text);
        assert!(gzipped.0.get().is_none());
        let made = answered("gzip");
        assert!(made.len() < text.len() && made.as_ptr() == gzipped.0.get().unwrap().as_ptr());
        assert_eq!(answered("gzip").as_ptr(), made.as_ptr());
    }

    #[test]
    fn a_body_is_compressed_once_for_its_etag_and_old_ones_make_room() {
        let kept = Compressed::default();
        let tag = |number: usize| HeaderValue::from_str(&format!("\"{number}\"")).unwrap();
        let first = kept.of(&tag(0), b"first").unwrap();
        // nova finds a compressed body only by its ETag. If two bodies have the same ETag, nova ignores the second
        // body.
        assert_eq!(kept.of(&tag(0), b"other").unwrap(), first);
        assert_ne!(kept.of(&tag(1), b"other").unwrap(), first);
        (2..COMPRESSED_MAX + 2).for_each(|number| drop(kept.of(&tag(number), b"more")));
        assert_eq!(kept.0.lock().len(), COMPRESSED_MAX);
        assert_ne!(kept.of(&tag(0), b"other").unwrap(), first);
    }
}
