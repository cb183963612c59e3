//! Reads the whole body of a request, within the limits of bytes and time, and parses JSON.

#![warn(clippy::indexing_slicing)]

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Either, Empty, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Problem;
use crate::decode::whole::whole_number;

/// The most bytes of a request's body, both as sent and after inflation.
pub const BODY_MAX_BYTES: usize = 256 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request: no body, or the body that hyper reads.
pub(super) type Asked = Either<Empty<Bytes>, Incoming>;

/// Reads the content of a body and undoes its content coding. If `Content-Length` is too large, nova refuses the body
/// without reading it.
pub(super) async fn content(headers: &HeaderMap, body: Asked) -> Result<Bytes, Problem> {
    content_within(headers, body, BODY_MAX_BYTES).await
}

/// Does the same as `content`, but with the limit `most` for the bytes before and after inflation.
pub(super) async fn content_within(headers: &HeaderMap, body: Asked, most: usize) -> Result<Bytes, Problem> {
    inflated(headers, whole(body, most).await?, most)
}

/// Inflates a body in gzip, which may have several members (RFC 1952 §2.2). The coding's name is case-insensitive,
/// x-gzip means gzip, and identity means no coding (RFC 9110 §8.4). nova refuses a list of content codings, whatever
/// the list contains.
fn inflated(headers: &HeaderMap, body: Bytes, most: usize) -> Result<Bytes, Problem> {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter().map(|line| line.as_bytes().trim_ascii());
    let is = |coding: &[u8], names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name.as_bytes()));
    match (lines.next(), lines.next()) {
        (None, _) => Ok(body),
        (Some(coding), None) if is(coding, &["", "identity"]) => Ok(body),
        (Some(coding), None) if is(coding, &["gzip", "x-gzip"]) => {
            let mut out = Vec::new();
            let limited = MultiGzDecoder::new(&body[..]).take(most as u64 + 1);
            let read = std::io::BufReader::new(limited).read_to_end(&mut out);
            read.map_err(|error| Problem::MalformedJson(format!("the body is not gzip: {error}")))?;
            if out.len() > most {
                return Err(Problem::TooLarge { detail: format!("at most {most} bytes after inflation") });
            }
            Ok(out.into())
        }
        _ => Err(Problem::UnsupportedCoding),
    }
}

async fn whole(body: Asked, most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::TooLarge { detail: format!("a body of at most {most} bytes") };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await;
    let body = body.map_err(|_| Problem::RequestTimeout)?;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => too_large(),
        None => Problem::MalformedJson(format!("the body broke off: {error}")),
    })?;
    Ok(body.to_bytes())
}

pub(super) fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        true => Ok(()),
        false => Err(Problem::UnsupportedMediaType("send Content-Type: application/json")),
    }
}

/// Reads a JSON object. Without the check for an object, serde would also read a struct from an array of its members.
/// The API does not document such arrays.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::MalformedJson("expected an object, found an array".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| Problem::MalformedJson(error.to_string()))
}

/// Reads a JSON body. An empty body counts as an object without members.
pub(super) fn parse<'a, T: Deserialize<'a>>(headers: &HeaderMap, body: &'a [u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return object(b"{}");
    }
    must_be_json(headers)?;
    object(body)
}

/// Reads an integer in JSON Schema's sense (2020-12 §6.1.1): a fraction of zero or an exponent is allowed, as in
/// `5400.0` or `1e3`.
pub(super) fn integer<'de, T: TryFrom<i64>, D: Deserializer<'de>>(json: D) -> Result<T, D::Error> {
    Whole::deserialize(json).map(|whole| whole.0)
}

/// Reads an integer as `integer` does, from a member that may be null.
pub(super) fn maybe_integer<'de, T: TryFrom<i64>, D: Deserializer<'de>>(json: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Whole<T>>::deserialize(json)?.map(|whole| whole.0))
}

/// Reads a list of integers, each as `integer` does. Null counts as an empty list.
pub(super) fn integers<'de, T: TryFrom<i64>, D: Deserializer<'de>>(json: D) -> Result<Vec<T>, D::Error> {
    let all = Option::<Vec<Whole<T>>>::deserialize(json)?.unwrap_or_default();
    Ok(all.into_iter().map(|whole| whole.0).collect())
}

/// Reads a member that may be null, which means the same as a missing member. Many clients write null for values that
/// they do not have.
pub(super) fn or_default<'de, T, D>(json: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(json)?.unwrap_or_default())
}

struct Whole<T>(T);

impl<'de, T: TryFrom<i64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Whole<T>, D::Error> {
        let number = <&RawValue>::deserialize(json)?;
        let fits = whole_number(number.get()).and_then(|whole| T::try_from(whole).ok());
        fits.map(Whole).ok_or_else(|| D::Error::custom("expected an integer, and one that fits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn headers(codings: &[&'static str]) -> HeaderMap {
        codings.iter().map(|coding| (CONTENT_ENCODING, http::HeaderValue::from_static(coding))).collect()
    }

    proptest! {
        #[test]
        fn a_body_in_any_number_of_members_is_its_content(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
        ) {
            let sent: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
            let content = inflated(&headers(&["X-GZIP"]), sent.into(), BODY_MAX_BYTES);
            prop_assert_eq!(content.unwrap(), parts.concat());
        }

        #[test]
        fn an_integer_is_one_however_it_is_written(number in -1_000_000_000_000_000i64..=1_000_000_000_000_000) {
            #[derive(Deserialize)]
            struct One {
                #[serde(deserialize_with = "integer")]
                n: i64,
            }
            for written in [format!("{number}"), format!("{number}.0"), format!("{number}.000000"), format!("{number}00E-2")] {
                let one: One = object(format!(r#"{{"n":{written}}}"#).as_bytes()).unwrap();
                prop_assert_eq!(one.n, number);
            }
        }
    }

    #[test]
    fn what_is_no_integer_or_does_not_fit_is_refused() {
        #[derive(Debug, Deserialize)]
        struct One {
            #[serde(default, deserialize_with = "maybe_integer")]
            n: Option<u8>,
        }
        let read = |text: &str| object::<One>(text.as_bytes()).map(|one| one.n);
        assert_eq!((read(r#"{"n":null}"#), read("{}"), read(r#"{"n":2.55e2}"#)), (Ok(None), Ok(None), Ok(Some(255))));
        for bad in ["256", "-1", "1.5", "1e999", "\"1\"", "1e300", "[]"] {
            assert!(read(&format!(r#"{{"n":{bad}}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_member_that_is_null_is_one_that_is_left_out() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Optional {
            #[serde(default, deserialize_with = "or_default")]
            text: String,
            #[serde(default, deserialize_with = "or_default")]
            flag: bool,
            #[serde(default, deserialize_with = "integers")]
            ids: Vec<u64>,
        }
        let read = |text: &str| object::<Optional>(text.as_bytes());
        assert_eq!(read(r#"{"text":null,"flag":null,"ids":null}"#), read("{}"));
        let given = Optional { text: "a".to_owned(), flag: true, ids: vec![5] };
        assert_eq!(read(r#"{"text":"a","flag":true,"ids":[5.0]}"#), Ok(given));
        for bad in [r#"{"text":1}"#, r#"{"flag":"yes"}"#, r#"{"ids":[null]}"#, r#"{"ids":{}}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_coding_in_any_letter_case_is_understood_and_no_list_of_them() {
        for coding in ["gzip", " GZIP ", "x-gzip"] {
            let content = inflated(&headers(&[coding]), gzip(b"{}").into(), BODY_MAX_BYTES);
            assert_eq!(content, Ok(Bytes::from_static(b"{}")), "{coding:?}");
        }
        for coding in ["", "Identity"] {
            let content = inflated(&headers(&[coding]), Bytes::from_static(b"{}"), BODY_MAX_BYTES);
            assert_eq!(content, Ok(Bytes::from_static(b"{}")), "{coding:?}");
        }
        for codings in [&["gzip, identity"][..], &["identity", "gzip"], &["GZIP,"], &[" , "], &["identity, identity"]] {
            let answer = inflated(&headers(codings), gzip(b"{}").into(), BODY_MAX_BYTES);
            assert_eq!(answer, Err(Problem::UnsupportedCoding), "{codings:?}");
        }
    }

    #[test]
    fn gzip_has_a_bound_an_end_and_one_layer() {
        let gz = headers(&["gzip"]);
        let members = [gzip(&vec![b' '; BODY_MAX_BYTES]), gzip(b" ")].concat();
        assert!(matches!(inflated(&gz, members.into(), BODY_MAX_BYTES), Err(Problem::TooLarge { .. })));
        for bad in [gzip(b"{}")[..12].to_vec(), [gzip(b"{}"), b"x".repeat(20)].concat(), b"{}".to_vec()] {
            assert!(matches!(inflated(&gz, bad.into(), BODY_MAX_BYTES), Err(Problem::MalformedJson(_))));
        }
        for codings in [&["gzip", "gzip"][..], &["gzip, x-gzip"], &["br"], &["gzip identity"], &["gzip;q=1"]] {
            let answer = inflated(&headers(codings), gzip(b"{}").into(), BODY_MAX_BYTES);
            assert_eq!(answer, Err(Problem::UnsupportedCoding), "{codings:?}");
        }
    }
}
