//! `/api/v1/admin/…`: for people with the role admin. Every change names who made it in the audit, in its own
//! commit; so do looks at what is somebody's own, and refusals.

mod bulk;
mod found;
mod letters;
mod revocations;
mod source;
mod store;
mod users;
mod watched;

pub(super) use self::bulk::{
    BYTES, LINES, compare, explain_post, feed_list, hand_over, rows, suggestion_list, trending_list,
};
pub(super) use self::found::{config, dead_groups, post_cards, post_details, search, user_card};
pub(super) use self::letters::{Discarding, Replaying, audit, dead_letter, dead_letters, discard, replay};
pub(super) use self::revocations::{Revoke, list, revoke, time_ms, unrevoke};
pub(super) use self::source::{Resnapshotting, Resuming, Seeking, bump_epoch, cdc, pause, resnapshot, resume, seek};
pub(super) use self::store::{BackingUp, CHECK_WAIT_MAX_S, backup, checked, read, verify};
pub(super) use self::users::{Forget, ForgetUsers, explain, invalidate, invalidate_cache, limits};
pub(super) use self::watched::{Refusals, looked, refused};

use http::StatusCode;

use crate::event::Id;

use super::auth::Subject;
use super::body::parse;
use super::error::Problem;
use super::percent::digits;
pub(super) use super::percent::parameter;
use super::route::Answer;
use super::server;
use super::shapes::Done;

/// Who did it, as the audit names them.
pub(super) fn actor(subject: &Subject) -> String {
    format!("user {}", subject.user)
}

pub(super) fn wrong(field: &'static str, expected: &str) -> Problem {
    Problem::InvalidParameter { field, detail: format!("{field}: expected {expected}") }
}

pub(super) fn number(query: &str, name: &'static str, default: u64) -> Result<u64, Problem> {
    parameter(query, name)?.map_or(Ok(default), |text| digits(&text).ok_or_else(|| wrong(name, "a number")))
}

pub(super) fn user(text: &str) -> Result<Id, Problem> {
    Id::parse(text.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "user_id", detail: format!("user_id: {error}") })
}

fn done() -> Answer {
    Ok(server::object(StatusCode::OK, &Done { success: true }))
}
