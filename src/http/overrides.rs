//! The routes of `/api/v1/admin/trending/overrides/{post}`. A change of an override is durable before the answer, and
//! applies to every later list.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::event::Id;
use crate::feed::trending::TRENDING_MAX;
use crate::feed::trending::overrides::{KIND, OVERRIDES_MAX, Override};
use crate::pipeline::writer::{Audit, EdgeEntry};
use crate::schema::{Uuid, example};

use super::answers::{self, Answer};
use super::audit::actor;
use super::auth::Subject;
use super::body;
use super::call::UserCall;
use super::edge::Serving;
use super::error::Problem;
use super::shapes::{OverrideAction, TrendingOverride, TrendingOverrides};

/// An operator's decision to pin or to block a post.
#[derive(Deserialize, JsonSchema)]
#[schemars(
    rename = "OverrideRequest",
    extend("required" = ["action"]),
    example = example(r#"{ "action": "pin", "place": 3 }"#)
)]
pub(super) struct Overriding {
    #[schemars(with = "OverrideAction")]
    action: Option<String>,
    /// The place of a pinned post.
    #[serde(default, deserialize_with = "body::maybe_integer")]
    #[schemars(range(min = 1, max = TRENDING_MAX))]
    place: Option<u64>,
}

/// Sets an override: `{"action": "block"}` or `{"action": "pin", "place": 1..200}`.
pub(super) async fn put(serving: &Arc<Serving>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let post = parse(call.call.name)?;
    let Overriding { action, place } = body::parse(call.call.headers, &body)?;
    let what = match action.as_deref() {
        Some("block") => Override::Block,
        Some("pin") => place.and_then(Override::pin).ok_or_else(|| {
            let detail = format!("place: expected 1 to {TRENDING_MAX}");
            Problem::InvalidParameter { field: "place", detail }
        })?,
        _ => {
            let detail = "action: expected pin or block".to_owned();
            return Err(Problem::InvalidParameter { field: "action", detail });
        }
    };
    let known = serving.trending.overrides();
    if known.get(post).is_none() && known.len() >= OVERRIDES_MAX {
        return Err(Problem::TooLarge { detail: format!("at most {OVERRIDES_MAX} posts can have an override") });
    }
    change(serving, &call.subject, post, Some(what)).await?;
    Ok(answers::object(StatusCode::OK, &one(post, what)))
}

pub(super) async fn remove(serving: &Arc<Serving>, call: UserCall<'_>) -> Answer {
    change(serving, &call.subject, parse(call.call.name)?, None).await?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}

/// Answers with the list of all overrides of trending.
pub(super) fn list(serving: &Serving) -> Response<Full<Bytes>> {
    let overrides = serving.trending.overrides().all().map(|(post, what)| one(post, what)).collect();
    answers::object(StatusCode::OK, &TrendingOverrides { overrides })
}

pub(super) fn one(post: Id, what: Override) -> TrendingOverride {
    let (action, place) = match what {
        Override::Block => (OverrideAction::Block, None),
        Override::Pin { place } => (OverrideAction::Pin, Some(place.into())),
    };
    TrendingOverride { post_id: Uuid(post), action, place }
}

fn parse(post: &str) -> Result<Id, Problem> {
    Id::parse(post.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "post", detail: format!("post: {error}") })
}

async fn change(serving: &Arc<Serving>, subject: &Subject, post: Id, what: Option<Override>) -> Result<(), Problem> {
    let entry = EdgeEntry { kind: KIND, name: post.0.to_vec(), value: what.map(Override::encode) };
    let audit = Audit {
        actor: actor(subject),
        action: if what.is_some() { "trending-override" } else { "trending-override-removed" },
        subject: post.to_string(),
        detail: what.map(|what| json!(one(post, what)).to_string()).unwrap_or_default(),
    };
    let memory = Arc::clone(serving);
    let then = move || memory.trending.put_override(post, what, memory.clock.now_ms());
    serving.durable.put(vec![entry], Some(audit), then).await
}
