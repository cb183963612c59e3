//! The type of a whole HTTP answer, and the functions that make whole answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::error::Problem;
use super::shapes::Done;

/// A whole HTTP answer, or the problem because of which nova refuses the request.
pub(super) type Answer = Result<Response<Full<Bytes>>, Problem>;

pub(super) fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    bytes(status, "application/json", body.into())
}

/// An answer with an object whose members are in alphabetical order.
pub(super) fn object(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    json(status, serde_json::json!(value).to_string())
}

pub(super) fn bytes(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The answer to a request that succeeded and has no content.
pub(super) fn done() -> Answer {
    Ok(object(StatusCode::OK, &Done { success: true }))
}
