//! All errors of the edge have the form `application/problem+json` (RFC 9457). Each error also has the members `error`
//! and `message` of an older format.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::schema::example;

/// The problems because of which nova refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    InvalidParameter {
        field: &'static str,
        detail: String,
    },
    MalformedJson(String),
    /// The head of the request is malformed.
    MalformedRequest(&'static str),
    /// The body has a transfer coding other than chunked.
    UnknownTransferCoding,
    InvalidCursor,
    /// The request has no token. The answer equals the answer to an invalid token, except that the challenge names no
    /// error (RFC 6750 §3.1).
    MissingToken,
    /// The token is invalid. The answer never says why the token is invalid.
    InvalidToken,
    SubjectMismatch,
    /// The token's role is not one of the allowed roles.
    InsufficientScope(&'static [&'static str]),
    /// The console sent a change, although it may only read.
    ConsoleReads,
    NotFound,
    MethodNotAllowed {
        allow: &'static str,
    },
    TooLarge {
        detail: String,
    },
    UnsupportedMediaType(&'static str),
    /// The body has a content coding other than gzip, or several content codings.
    UnsupportedCoding,
    RequestTimeout,
    /// nova is still handling an earlier request with this idempotency key.
    IdempotencyConflict,
    /// An earlier request with this idempotency key had a different body.
    IdempotencyMismatch,
    /// The request does not fit the present state of the node.
    Conflict(String),
    /// The caller has used up the quota, and the node is healthy.
    QuotaExceeded {
        retry_after_s: u64,
    },
    /// The address or the node already has `most` open streams, which is the maximum. `of` says whether the limit is
    /// that of the address or that of the node.
    TooManyStreams {
        most: usize,
        of: &'static str,
    },
    /// The node cannot answer now, whatever the caller's quota is.
    Unavailable(&'static str),
    /// The node cannot answer now, and nova knows the reason and the time to wait.
    Busy {
        detail: String,
        retry_after_s: u64,
    },
    /// The node sheds load and refuses the request, whatever the kind of the request is.
    Shed {
        retry_after_s: u64,
    },
}

/// The problem (RFC 9457), with the older members `error` and `message`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem", example = example(r#"{
    "type": "urn:nova:problem:invalid-parameter", "title": "A parameter does not fit", "status": 400,
    "detail": "limit: expected 1 to 100", "instance": "/api/v1/feed", "error": "invalid-parameter",
    "message": "limit: expected 1 to 100", "field": "limit", "retry_after": null,
    "request_id": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d"
}"#))]
pub(super) struct ProblemDetails<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    /// The last part of `type`.
    error: &'a str,
    /// The text of `detail` under its older name.
    message: &'a str,
    /// The wrong parameter of the request, or the wrong member of its body.
    field: Option<&'a str>,
    /// Seconds until the next attempt, as in the header `Retry-After`.
    retry_after: Option<u64>,
    request_id: &'a str,
}

/// The content codings that a body may have, as an answer's `Accept-Encoding` lists them (RFC 9110 §15.5.16).
const CODINGS: &str = "gzip, identity";
/// The seconds after which a caller may repeat a request, if nova knows no better time.
pub(super) const RETRY_AFTER_S: u64 = 1;

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
            Problem::MalformedRequest(detail) => {
                let title = "The request is malformed";
                (StatusCode::BAD_REQUEST, "malformed-request", title, (*detail).to_owned(), None)
            }
            Problem::UnknownTransferCoding => {
                let detail = "Transfer-Encoding: send chunked or nothing; Content-Encoding may be gzip".to_owned();
                let title = "Unknown transfer coding";
                (StatusCode::NOT_IMPLEMENTED, "unknown-transfer-coding", title, detail, None)
            }
            Problem::MalformedJson(detail) => {
                (StatusCode::BAD_REQUEST, "malformed-json", "The body is not the expected JSON", detail.clone(), None)
            }
            Problem::MissingToken | Problem::InvalidToken => {
                let detail = "send Authorization: Bearer with a valid token".to_owned();
                (StatusCode::UNAUTHORIZED, "invalid-token", "No valid token", detail, None)
            }
            Problem::SubjectMismatch => {
                let detail = "user_id is not the token's subject".to_owned();
                (StatusCode::FORBIDDEN, "subject-mismatch", "Not your own", detail, Some("user_id"))
            }
            Problem::InsufficientScope(roles) => {
                let detail = format!("needs the role {}", roles.join(" or "));
                (StatusCode::FORBIDDEN, "insufficient-scope", "Not with this role", detail, None)
            }
            Problem::ConsoleReads => {
                let detail = "http.console is read: nothing can be changed from the console; set it to full".to_owned();
                (StatusCode::FORBIDDEN, "insufficient-scope", "Not from the console", detail, None)
            }
            Problem::NotFound => {
                let detail = "nothing has this path or id; /openapi.json lists the paths".to_owned();
                (StatusCode::NOT_FOUND, "not-found", "There is no such resource", detail, None)
            }
            Problem::MethodNotAllowed { allow } => {
                let detail = format!("allowed: {allow}");
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Wrong method", detail, None)
            }
            Problem::TooLarge { detail } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "batch-too-large", "Too large", detail.clone(), None)
            }
            Problem::UnsupportedMediaType(detail) => {
                let title = "Wrong content type or encoding";
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, (*detail).to_owned(), None)
            }
            Problem::UnsupportedCoding => {
                let detail = "Content-Encoding: expected gzip alone, or identity".to_owned();
                let title = "Wrong content type or encoding";
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, detail, None)
            }
            Problem::RequestTimeout => {
                let detail = "the body did not arrive in time".to_owned();
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Too slow", detail, None)
            }
            Problem::IdempotencyConflict => {
                let detail = "the request with this key is on its way; ask again for its answer".to_owned();
                (StatusCode::CONFLICT, "idempotency-conflict", "On its way", detail, Some("idempotency-key"))
            }
            Problem::IdempotencyMismatch => {
                let detail =
                    "this key was used for another body; a new key is for new events only: what the first body had \
                              would be counted again where its events have no event_id"
                        .to_owned();
                let field = Some("idempotency-key");
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-mismatch", "Another body", detail, field)
            }
            Problem::Conflict(detail) => (StatusCode::CONFLICT, "conflict", "Not as things are", detail.clone(), None),
            Problem::QuotaExceeded { .. } => {
                let detail = "too many requests; RateLimit-Policy says how many are granted".to_owned();
                (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "Too many requests", detail, None)
            }
            Problem::TooManyStreams { most, of } => {
                let detail = format!("at most {most} streams of {of}; close one");
                (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "Too many streams", detail, None)
            }
            Problem::Shed { .. } => {
                let detail = "nova takes fewer requests for now".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, "temporary-reduced-capacity", "Not now", detail, None)
            }
            Problem::Busy { detail, .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporary-reduced-capacity", "Not now", detail.clone(), None)
            }
            Problem::Unavailable(reason) => {
                let title = "Not now";
                (StatusCode::SERVICE_UNAVAILABLE, "temporary-reduced-capacity", title, (*reason).to_owned(), None)
            }
        }
    }

    /// Whether nova refuses the caller because the request has no valid token or the token's role is not enough.
    pub(super) fn refuses_caller(&self) -> bool {
        matches!(self, Problem::MissingToken | Problem::InvalidToken | Problem::InsufficientScope(_))
    }

    /// The problem in words for a person.
    pub(super) fn detail(&self) -> String {
        self.parts().3
    }

    pub(super) fn response(&self, instance: &str, request_id: &str) -> Response<Full<Bytes>> {
        let (status, kind, title, detail, field) = self.parts();
        let retry_after = match self {
            Problem::Unavailable(_) | Problem::IdempotencyConflict | Problem::TooManyStreams { .. } => {
                Some(RETRY_AFTER_S)
            }
            Problem::QuotaExceeded { retry_after_s }
            | Problem::Busy { retry_after_s, .. }
            | Problem::Shed { retry_after_s } => Some(*retry_after_s),
            _ => None,
        };
        let body = ProblemDetails {
            kind: format!("urn:nova:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: &detail,
            instance,
            error: kind,
            message: &detail,
            field,
            retry_after,
            request_id,
        };
        let mut response = Response::new(Full::new(json!(body).to_string().into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Problem::MissingToken => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nova\""));
            }
            Problem::InvalidToken => {
                let challenge = "Bearer realm=\"nova\", error=\"invalid_token\"";
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Problem::UnsupportedCoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
            }
            Problem::MethodNotAllowed { allow } => {
                headers.insert(http::header::ALLOW, HeaderValue::from_static(allow));
            }
            _ => {}
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
