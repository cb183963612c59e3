//! Percent-encoding (RFC 3986 §2.1): one decoder for the paths and queries of all routes, for the lane and for hyper.

#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::str::FromStr;

use super::error::Problem;

/// Decodes every percent-encoded byte. The result is `None` if an encoding is incomplete or not hexadecimal, or if the
/// bytes are not UTF-8. A `+` stays a `+`: HTML forms (`application/x-www-form-urlencoded`) write a space as `+`, but
/// RFC 3986 does not.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
    decode_if(text, |_| true)
}

/// Decodes the unreserved characters of a path, because an unreserved character and its encoding mean the same (RFC
/// 3986 §2.3). Reserved characters stay encoded, so that `%2F` does not divide a segment.
pub(super) fn path(path: &str) -> Result<Cow<'_, str>, Problem> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    decode_if(path, unreserved).ok_or_else(|| wrong("path"))
}

/// The decoded value of the first parameter with the given name in a query, or `None` if the query has no such
/// parameter.
pub(super) fn parameter<'q>(query: &'q str, name: &'static str) -> Result<Option<Cow<'q, str>>, Problem> {
    let named = |key: &str| match key.contains('%') {
        true => decode(key).is_some_and(|key| key == name),
        false => key == name,
    };
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.find(|(key, _)| named(key)) else { return Ok(None) };
    decode(value).map(Some).ok_or_else(|| wrong(name))
}

/// Decodes the part of a path that is a parameter of a route.
pub(super) fn segment(text: &str) -> Result<Cow<'_, str>, Problem> {
    decode(text).ok_or_else(|| wrong("path"))
}

/// Parses a number that has only digits. Rust's parser would also accept a sign, which numbers in a path or a query
/// must not have.
pub(super) fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<T>().ok()).flatten()
}

fn wrong(field: &'static str) -> Problem {
    let detail = format!("{field}: expected UTF-8 in percent-encoding, % before two hexadecimal digits");
    Problem::InvalidParameter { field, detail }
}

fn decode_if(text: &str, wanted: impl Fn(u8) -> bool) -> Option<Cow<'_, str>> {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default();
    if first.len() == text.len() {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(first.as_bytes());
    for part in parts {
        let ([high, low], rest) = part.as_bytes().split_first_chunk::<2>()?;
        let digit = |sign: &u8| char::from(*sign).to_digit(16);
        let byte = (digit(high)? << 4 | digit(low)?) as u8;
        match wanted(byte) {
            true => out.push(byte),
            false => out.extend_from_slice(&[b'%', *high, *low]),
        }
        out.extend_from_slice(rest);
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Percent-encodes the characters of `text` at `places`.
    fn encoded(text: &str, places: &[bool]) -> String {
        let one =
            |(at, byte): (usize, u8)| match places.get(at).copied().unwrap_or(true) || !byte.is_ascii_alphanumeric() {
                true => format!("%{byte:02x}"),
                false => char::from(byte).to_string(),
            };
        text.bytes().enumerate().map(one).collect()
    }

    proptest! {
        #[test]
        fn a_parameter_means_the_same_in_every_encoding(
            value in ".{0,20}", places in proptest::collection::vec(any::<bool>(), 0..80),
        ) {
            let query = format!("x=1&{}={}&limit=other", encoded("limit", &places), encoded(&value, &places));
            prop_assert_eq!(parameter(&query, "limit").unwrap().unwrap(), value);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "[^&]{0,20}(%[0-9a-g]{1,2}){0,3}") {
            let whole = decode(&text);
            let query = format!("a={text}");
            prop_assert_eq!(&parameter(&query, "a").ok().flatten(), &whole);
            prop_assert!(whole.is_none() || path(&text).is_ok());
        }
    }

    #[test]
    fn what_is_cut_or_not_hexadecimal_or_not_utf_8_is_refused() {
        assert_eq!(decode("a%2Fb%c3%A9+").unwrap(), "a/bé+");
        for bad in ["%", "%2", "%zz", "%+1", "%ff", "%é", "a%c3"] {
            assert!(decode(bad).is_none(), "{bad}");
            let problem = parameter(&format!("jti={bad}"), "jti").unwrap_err();
            assert!(matches!(problem, Problem::InvalidParameter { field: "jti", .. }), "{bad}");
        }
    }

    #[test]
    fn a_number_is_of_digits_alone() {
        assert_eq!((digits::<u8>("5"), digits::<u8>("005"), digits::<u8>("255")), (Some(5), Some(5), Some(255)));
        for bad in ["", "+5", "-5", "256", "5 ", "٥", "0x5", "5.0"] {
            assert_eq!(digits::<u8>(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_keeps_what_is_reserved() {
        assert_eq!(path("/%61pi/v1%2Ffeed/%7e%25").unwrap(), "/api/v1%2Ffeed/~%25");
    }
}
