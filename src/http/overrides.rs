//! `/api/v1/admin/trending/overrides/{post}`: durable before the answer, and then in every list.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::Id;
use crate::feed::trending::TRENDING_MAX;
use crate::feed::trending::overrides::{KIND, OVERRIDES_MAX, Override};
use crate::pipeline::writer::{Audit, EdgeEntry};

use super::auth::Subject;
use super::error::Problem;
use super::{Edge, admin, body, durable, server};

/// `{"action": "block"}` or `{"action": "pin", "place": 1..200}`.
pub(super) async fn put(
    edge: &Arc<Edge>,
    subject: &Subject,
    post: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        action: Option<String>,
        #[serde(default, deserialize_with = "body::maybe_integer")]
        place: Option<u64>,
    }
    let post = parse(post)?;
    let Ask { action, place } = body::parse(headers, body)?;
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
    let known = edge.trending.overrides();
    if known.get(post).is_none() && known.len() >= OVERRIDES_MAX {
        return Err(Problem::TooLarge { detail: format!("at most {OVERRIDES_MAX} posts can have an override") });
    }
    change(edge, subject, post, Some(what)).await?;
    Ok(server::json(StatusCode::OK, one(post, what).to_string()))
}

pub(super) async fn remove(edge: &Arc<Edge>, subject: &Subject, post: &str) -> Result<Response<Full<Bytes>>, Problem> {
    change(edge, subject, parse(post)?, None).await?;
    Ok(server::empty(StatusCode::NO_CONTENT))
}

/// Every override.
pub(super) fn list(edge: &Edge) -> Response<Full<Bytes>> {
    let all: Vec<_> = edge.trending.overrides().all().map(|(post, what)| one(post, what)).collect();
    server::json(StatusCode::OK, json!({ "overrides": all }).to_string())
}

fn one(post: Id, what: Override) -> Value {
    match what {
        Override::Block => json!({ "post_id": post.to_string(), "action": "block" }),
        Override::Pin { place } => json!({ "post_id": post.to_string(), "action": "pin", "place": place }),
    }
}

fn parse(post: &str) -> Result<Id, Problem> {
    Id::parse(post.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "post", detail: format!("post: {error}") })
}

async fn change(edge: &Arc<Edge>, subject: &Subject, post: Id, what: Option<Override>) -> Result<(), Problem> {
    let entry = EdgeEntry { kind: KIND, name: post.0.to_vec(), value: what.map(Override::encode) };
    let audit = Audit {
        actor: admin::actor(subject),
        action: if what.is_some() { "trending-override" } else { "trending-override-removed" },
        subject: post.to_string(),
        detail: what.map(|what| one(post, what).to_string()).unwrap_or_default(),
    };
    let memory = Arc::clone(edge);
    let then = move || memory.trending.put_override(post, what, memory.clock.now_ms());
    durable::put(edge, vec![entry], Some(audit), then).await
}
