//! Every error of the edge and its form: `application/problem+json` (RFC 9457) with the older members beside.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

/// What can go wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    InvalidParameter {
        field: &'static str,
        detail: String,
    },
    MalformedJson(String),
    InvalidCursor,
    /// Never says why.
    InvalidToken,
    SubjectMismatch,
    InsufficientScope,
    NotFound,
    MethodNotAllowed {
        allow: &'static str,
    },
    TooLarge {
        detail: String,
    },
    UnsupportedMediaType(String),
    RequestTimeout,
    /// Our health, not the caller's quota.
    Unavailable(&'static str),
}

/// Seconds after which a caller may try again.
const RETRY_AFTER_S: u32 = 1;

impl Problem {
    fn parts(&self) -> (StatusCode, &'static str, &'static str, String, Option<&'static str>) {
        match self {
            Problem::InvalidParameter { field, detail } => {
                (StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter does not fit", detail.clone(), Some(field))
            }
            Problem::InvalidCursor => {
                let detail = "cursor: is not one that was given to this user; start without one".to_owned();
                (StatusCode::BAD_REQUEST, "invalid-cursor", "No such cursor", detail, Some("cursor"))
            }
            Problem::MalformedJson(detail) => {
                (StatusCode::BAD_REQUEST, "malformed-json", "The body is not the expected JSON", detail.clone(), None)
            }
            Problem::InvalidToken => {
                let detail = "send Authorization: Bearer with a valid token".to_owned();
                (StatusCode::UNAUTHORIZED, "invalid-token", "No valid token", detail, None)
            }
            Problem::SubjectMismatch => {
                let detail = "user_id is not the token's subject".to_owned();
                (StatusCode::FORBIDDEN, "subject-mismatch", "Not your own", detail, Some("user_id"))
            }
            Problem::InsufficientScope => {
                let detail = "the token's role does not allow this".to_owned();
                (StatusCode::FORBIDDEN, "insufficient-scope", "Not allowed", detail, None)
            }
            Problem::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such resource", String::new(), None),
            Problem::MethodNotAllowed { allow } => {
                let detail = format!("allowed: {allow}");
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Wrong method", detail, None)
            }
            Problem::TooLarge { detail } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "batch-too-large", "Too large", detail.clone(), None)
            }
            Problem::UnsupportedMediaType(detail) => {
                let title = "Wrong content type or encoding";
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, detail.clone(), None)
            }
            Problem::RequestTimeout => {
                let detail = "the body did not arrive in time".to_owned();
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Too slow", detail, None)
            }
            Problem::Unavailable(reason) => {
                let title = "Not now";
                (StatusCode::SERVICE_UNAVAILABLE, "temporary-reduced-capacity", title, (*reason).to_owned(), None)
            }
        }
    }

    pub(super) fn response(&self, instance: &str, request_id: &str) -> Response<Full<Bytes>> {
        let (status, kind, title, detail, field) = self.parts();
        let retry_after = matches!(self, Problem::Unavailable(_)).then_some(RETRY_AFTER_S);
        let body = json!({
            "type": format!("urn:nova:problem:{kind}"), "title": title, "status": status.as_u16(), "detail": detail,
            "instance": instance, "error": kind, "message": detail, "field": field, "retry_after": retry_after,
            "request_id": request_id,
        });
        let mut response = Response::new(Full::new(body.to_string().into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Problem::InvalidToken => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
            }
            Problem::MethodNotAllowed { allow } => {
                headers.insert(http::header::ALLOW, HeaderValue::from_static(allow));
            }
            Problem::Unavailable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            _ => {}
        }
        response
    }
}
