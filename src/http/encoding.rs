//! Answers in gzip, for who takes it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;

/// Shorter bodies go out as they are.
const COMPRESS_FROM_BYTES: usize = 1_024;

/// Whether `Accept-Encoding` takes gzip (RFC 9110 §12.5.3).
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
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

/// Compresses a long text body. Its ETag turns weak: the bytes are others, what they say is the same.
pub(super) fn gzip(response: Response<Full<Bytes>>, accepted: bool) -> Response<Full<Bytes>> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let text = kind.starts_with("application/") || kind.starts_with("text/plain");
    let (mut head, body) = response.into_parts();
    let Some(bytes) = whole(&body).filter(|bytes| text && bytes.len() >= COMPRESS_FROM_BYTES) else {
        return Response::from_parts(head, body);
    };
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    if !accepted {
        // An encoder clears some 300 KiB when it is made, which costs as much as the rest of a request.
        return Response::from_parts(head, body);
    }
    let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    // Writing to memory cannot fail.
    let Ok(out) = gzip.write_all(&bytes).and_then(|()| gzip.finish()) else {
        return Response::from_parts(head, body);
    };
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(CONTENT_LENGTH);
    let weak = head.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.starts_with("W/"));
    if let Some(weak) = weak.and_then(|tag| HeaderValue::from_str(&format!("W/{tag}")).ok()) {
        head.headers.insert(ETAG, weak);
    }
    Response::from_parts(head, Full::new(out.into()))
}

/// The bytes of a body that is there at once.
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
}
