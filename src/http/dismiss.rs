//! The effect of `DELETE /api/v1/discover/suggested-users/{user_id}` is durable before the answer, and visible at the
//! next read (N11).

use std::sync::Arc;

use http::StatusCode;

use crate::discover::dismissals::{Dismissals, KIND, PER_USER_MAX};
use crate::event::Id;
use crate::jobs::copies::Kind;
use crate::pipeline::writer::EdgeEntry;

use super::answers::{self, Answer};
use super::call::UserCall;
use super::edge::Serving;
use super::error::Problem;

/// The value of a dismissal's entry in the edge's table. The value has only a version byte.
const ENTRY: [u8; 1] = [1];

pub(super) async fn dismiss(serving: &Arc<Serving>, call: UserCall<'_>) -> Answer {
    let subject = &call.subject;
    let other = Id::parse(call.call.name.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "user_id", detail: format!("user_id: {error}") })?;
    if !serving.dismissals.has_room(subject.user) {
        return Err(Problem::TooLarge { detail: format!("at most {PER_USER_MAX} people can be dismissed") });
    }
    let name = Dismissals::name(subject.user, other);
    let entries = vec![EdgeEntry { kind: KIND, name, value: Some(ENTRY.to_vec()) }];
    let (memory, user) = (Arc::clone(serving), subject.user);
    let then = move || {
        memory.dismissals.put(user, other);
        memory.end_copies(Kind::Suggestions, &[user]);
    };
    serving.durable.put(entries, None, then).await?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}
