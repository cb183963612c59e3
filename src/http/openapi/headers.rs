//! The headers of answers in the OpenAPI document.

use serde_json::{Map, Value, json};

use crate::http::route::{Content, Operation};

/// A header of answers: its name, the key of its component, its description, its type, and whether every answer has it.
type Header = (&'static str, &'static str, &'static str, &'static str, bool);

const ALL: [Header; 13] = [
    ("X-Request-ID", "RequestId", "The caller's, or one of nova's making; the log names it.", "string", true),
    ("traceparent", "Trace", "W3C Trace Context.", "string", true),
    ("Server-Timing", "Timing", "`total;dur=` and milliseconds.", "string", true),
    ("Cache-Control", "Caching", "Whether a cache may keep the answer.", "string", true),
    ("RateLimit-Policy", "QuotaPolicy", "What is granted: `\"class\";q=requests;w=seconds`.", "string", false),
    ("RateLimit", "Quota", "What is left: `\"class\";r=requests;t=seconds`.", "string", false),
    ("ETag", "Tag", "Names the content, for If-None-Match.", "string", true),
    ("Retry-After", "RetryAfter", "Seconds after which to ask again.", "integer", true),
    ("WWW-Authenticate", "Challenge", "What kind of token is needed.", "string", true),
    ("Idempotent-Replayed", "Replayed", "`true` where the answer is that of an earlier request.", "string", false),
    ("Vary", "Vary", "What of the request the answer depends on.", "string", false),
    ("X-Accel-Buffering", "Buffering", "`no`: a proxy hands events on as they come.", "string", true),
    ("Accept-Encoding", "Codings", "Content codings that a body may have, where it had another.", "string", false),
];

/// Each header of answers as a component of the OpenAPI document.
pub(super) fn components() -> Value {
    let each = ALL.iter().map(|(_, key, help, kind, required)| {
        let header = json!({ "description": help, "required": required, "schema": { "type": kind } });
        ((*key).to_owned(), header)
    });
    Value::Object(each.collect())
}

/// The headers of every answer, whether hyper or the lane sends the answer.
const COMMON: [&str; 6] =
    ["X-Request-ID", "traceparent", "Server-Timing", "Cache-Control", "RateLimit-Policy", "RateLimit"];

/// The headers of one answer of an operation.
pub(super) fn of_answer(operation: &Operation, status: u16) -> Value {
    let replays = operation.headers.iter().any(|one| one.name == "Idempotency-Key");
    named(|name| match name {
        "ETag" => operation.etag,
        "Vary" => true,
        "Retry-After" => status == 503,
        "Idempotent-Replayed" => replays,
        "X-Accel-Buffering" => matches!(operation.content, Content::Events(_)),
        _ => false,
    })
}

/// The headers of an answer with a problem.
pub(super) fn of_problem(status: u16) -> Value {
    named(|name| match name {
        "Retry-After" => matches!(status, 429 | 503),
        "WWW-Authenticate" => status == 401,
        "Accept-Encoding" => status == 415,
        _ => false,
    })
}

fn named(besides: impl Fn(&str) -> bool) -> Value {
    let here = ALL.iter().filter(|(name, ..)| COMMON.contains(name) || besides(name));
    let named =
        here.map(|(name, key, ..)| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{key}") })));
    Value::Object(named.collect::<Map<_, _>>())
}
