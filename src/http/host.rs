//! Checks the host of a request and the framing of its body before nova handles the request (RFC 9112 §3.2, §6.1).

#![warn(clippy::indexing_slicing)]

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Version};

use super::error::Problem;

/// Refuses a request with a missing, repeated or malformed `Host`. The function also refuses a body in a transfer
/// coding other than chunked, because nova decodes only chunked. HTTP/2 has `:authority` in place of `Host`, and no
/// transfer codings.
pub(super) fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    let detail = match host {
        None if version == Version::HTTP_11 => "Host: is missing; send one",
        _ if more.is_some() => "Host: is there more than once; send one",
        Some(host) if !is_host(host.as_bytes()) => "Host: expected a host and perhaps a port",
        _ => return codings(headers),
    };
    Err(Problem::MalformedRequest(detail))
}

/// Refuses transfer codings other than chunked. If chunked is not the last coding, hyper answers 400, because the end
/// of the body is unknown (RFC 9112 §6.3).
fn codings(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Problem::UnknownTransferCoding),
    }
}

/// The host of a request, with a port if the request names one. The `:authority` of HTTP/2 or the authority of a target
/// in absolute-form takes precedence over `Host` (RFC 9112 §3.2.2).
pub(super) fn authority(head: &Parts) -> Option<&str> {
    let named = head.uri.authority().map(|authority| authority.as_str());
    named.or_else(|| head.headers.get(HOST)?.to_str().ok())
}

/// Whether a value is `uri-host [":" port]` (RFC 3986 §3.2.2). The value may be empty, because a target can have no
/// authority.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']');
            match end.and_then(|end| rest.split_at_checked(end)) {
                Some((host, [_, port @ ..])) => (host, port),
                _ => return false,
            }
        }
        _ => value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len())),
    };
    let literal = value.first() == Some(&b'[');
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    let named = host.iter().all(|byte| of_name(byte) || (literal && *byte == b':'));
    let ported = match port {
        [] => true,
        [sign, digits @ ..] => *sign == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    named && ported && !(literal && host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in
            ["", "x", "a.example:80", "localhost:", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "a_b", "%41"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in
            ["a b", "a/b", "a:b", "a:1:2", "u@h", "::1", "[::1", "[]", "[::1]x", "a,b\"", "h\\", "é", "a?b", "a#b"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn http_1_1_needs_one_host_and_knows_chunked_only() {
        let status = |version, lines: &[_]| match check(version, &headers(lines)) {
            Ok(()) => 200,
            Err(Problem::MalformedRequest(_)) => 400,
            Err(_) => 501,
        };
        for (version, lines, expected) in [
            (Version::HTTP_11, &[("host", "x")][..], 200),
            (Version::HTTP_11, &[], 400),
            (Version::HTTP_10, &[], 200),
            (Version::HTTP_2, &[], 200),
            (Version::HTTP_10, &[("host", "x"), ("host", "x")], 400),
            (Version::HTTP_11, &[("host", "x"), ("host", "y")], 400),
            (Version::HTTP_11, &[("host", "a b")], 400),
            (Version::HTTP_11, &[("host", "x"), ("transfer-encoding", "Chunked")], 200),
            (Version::HTTP_11, &[("host", "x"), ("transfer-encoding", "gzip, chunked")], 501),
            (Version::HTTP_11, &[("host", "x"), ("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], 501),
        ] {
            assert_eq!(status(version, lines), expected, "{version:?} {lines:?}");
        }
    }
}
