//! What an admin does for users, and what the limits do to them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;

use crate::http::auth::Subject;
use crate::http::error::Problem;
use crate::http::limit::Class;
use crate::http::route::ADMIN_OR_SERVICE;
use crate::http::{Edge, durable, read, server};
use crate::pipeline::writer::Audit;

use super::{actor, done, parse, user, wrong};

/// Users of one request.
const USERS_MAX: usize = 10_000;

/// Forgets the snapshots of other users' feeds; without a body, in the user's own route, one's own.
pub(in crate::http) async fn invalidate_users(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    #[derive(Deserialize)]
    struct Ask {
        user_ids: Option<Vec<String>>,
        scope: Option<String>,
    }
    let ask: Ask = parse(headers, body)?;
    if ask.scope.as_deref().is_some_and(|scope| scope != "feed") {
        return Err(wrong("scope", "feed"));
    }
    let Some(names) = ask.user_ids else { return Ok(read::invalidate(edge, subject)) };
    if !subject.has_role(ADMIN_OR_SERVICE) {
        return Err(Problem::InsufficientScope(ADMIN_OR_SERVICE));
    }
    if !(1..=USERS_MAX).contains(&names.len()) {
        return Err(wrong("user_ids", "1 to 10000 users"));
    }
    let users = names.iter().map(|name| user(name)).collect::<Result<Vec<_>, _>>()?;
    let detail = format!("{} users", users.len());
    let first = users.first().map(ToString::to_string).unwrap_or_default();
    users.iter().for_each(|user| edge.feeds.invalidate(*user));
    if subject.has_role(crate::http::route::ADMIN) {
        let audit = Audit { actor: actor(subject), action: "feed-invalidate", subject: first, detail };
        durable::put(edge, Vec::new(), Some(audit), || {}).await?;
    }
    Ok(done(json!({ "users": users.len() })))
}

/// A user's feed with the reasons of every post.
pub(in crate::http) fn explain(edge: &Edge, name: &str, query: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let subject = Subject { user: user(name)?, role: None };
    read::feed(edge, &format!("explain=1&{query}"), &subject)
}

/// What is granted, what was decided, how well nova is.
pub(in crate::http) fn limits(edge: &Edge) -> Response<Full<Bytes>> {
    let limiter = &edge.gate.limiter;
    let mut classes = Vec::new();
    for class in Class::ALL {
        let mut one = json!({ "class": class.name(), "per_s": limiter.settings().per_s(class) });
        for (_, decision, count) in limiter.decisions.all().filter(|(name, ..)| *name == class.name()) {
            one[decision] = count.into();
        }
        classes.push(one);
    }
    let health = json!({ "factor": limiter.health.factor(), "commit_ms": limiter.health.commit_ms() });
    let body = json!({
        "enabled": limiter.settings().enabled, "health": health, "callers": limiter.callers(), "classes": classes,
    });
    server::json(StatusCode::OK, body.to_string())
}
