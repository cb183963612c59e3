//! The body of a request: read whole within its limits, and as JSON.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Either, Empty, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Deserialize;

use super::error::Problem;

/// Bytes of a body, as sent and after inflation.
pub const BODY_MAX_BYTES: usize = 256 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request: none, or what hyper reads.
pub(super) type Asked = Either<Empty<Bytes>, Incoming>;

/// Reads a body. One that says it is too large is refused before it is sent.
pub(super) async fn whole(body: Asked) -> Result<Bytes, Problem> {
    let too_large = || Problem::TooLarge { detail: format!("a body of at most {BODY_MAX_BYTES} bytes") };
    if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_MAX_BYTES).collect()).await;
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
        false => Err(Problem::UnsupportedMediaType("send Content-Type: application/json".to_owned())),
    }
}

/// Reads an object: the members of a struct also come as an array otherwise, which no caller is told of.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::MalformedJson("expected an object, found an array".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| Problem::MalformedJson(error.to_string()))
}

/// A JSON body; an empty one is an object without members.
pub(super) fn parse<'a, T: Deserialize<'a>>(headers: &HeaderMap, body: &'a [u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return object(b"{}");
    }
    must_be_json(headers)?;
    object(body)
}
