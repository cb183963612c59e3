//! `/api/v1/admin/…`: for people with the role admin. Every change names who made it in the audit, in its own
//! commit; so do looks at what is somebody's own, and refusals.

mod pipeline;
mod revocations;
mod users;
mod watched;

pub(super) use self::pipeline::{
    audit, backup, bump_epoch, cdc, dead_letter, dead_letters, discard, pause, replay, resnapshot, resume, seek,
};
pub(super) use self::revocations::{list, revoke, unrevoke};
pub(super) use self::users::{explain, invalidate, invalidate_cache, limits};
pub(super) use self::watched::{Refusals, looked, refused};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::event::Id;

use super::auth::Subject;
use super::body::parse;
use super::error::Problem;
use super::percent::parameter;
use super::server;

/// Who did it, as the audit names them.
pub(super) fn actor(subject: &Subject) -> String {
    format!("user {}", subject.user)
}

fn wrong(field: &'static str, expected: &str) -> Problem {
    Problem::InvalidParameter { field, detail: format!("{field}: expected {expected}") }
}

fn number(query: &str, name: &'static str, default: u64) -> Result<u64, Problem> {
    parameter(query, name)?.map_or(Ok(default), |text| text.parse().map_err(|_| wrong(name, "a number")))
}

pub(super) fn user(text: &str) -> Result<Id, Problem> {
    Id::parse(text.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "user_id", detail: format!("user_id: {error}") })
}

fn done(extra: Value) -> Response<Full<Bytes>> {
    let mut body = json!({ "success": true });
    if let (Value::Object(members), Value::Object(extra)) = (&mut body, extra) {
        members.extend(extra);
    }
    server::json(StatusCode::OK, body.to_string())
}
