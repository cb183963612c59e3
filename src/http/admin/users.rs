//! What an admin does for users, and what the limits do to them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;

use crate::http::auth::{Roles, Subject};
use crate::http::error::Problem;
use crate::http::limit::Class;
use crate::http::route::{ADMIN, ADMIN_OR_SERVICE};
use crate::http::{Edge, durable, read, server};
use crate::pipeline::writer::Audit;

use super::{actor, done, looked, parse, user, wrong};

/// Users of one request.
const USERS_MAX: usize = 5_000;

/// Users whose cached answers are to be forgotten.
#[derive(Deserialize)]
struct Ask {
    user_ids: Option<Vec<String>>,
    scope: Option<String>,
}

/// `POST /api/v1/feed/invalidate`: one's own feed; others' for the roles admin and service.
pub(in crate::http) async fn invalidate(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    let ask: Ask = parse(headers, body)?;
    if ask.user_ids.is_some() && !subject.has_role(ADMIN_OR_SERVICE) {
        return Err(Problem::InsufficientScope(ADMIN_OR_SERVICE));
    }
    match ask {
        Ask { user_ids: None, scope } => {
            check_scope(scope.as_deref())?;
            Ok(read::invalidate(edge, subject))
        }
        ask => forget(edge, subject, ask).await,
    }
}

/// `POST /api/v1/admin/cache/invalidate`.
pub(in crate::http) async fn invalidate_cache(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    forget(edge, subject, parse(headers, body)?).await
}

fn check_scope(scope: Option<&str>) -> Result<(), Problem> {
    if scope.is_none_or(|scope| scope == "feed") { Ok(()) } else { Err(wrong("scope", "feed")) }
}

async fn forget(edge: &Arc<Edge>, subject: &Subject, ask: Ask) -> Result<Response<Full<Bytes>>, Problem> {
    check_scope(ask.scope.as_deref())?;
    let names = ask.user_ids.unwrap_or_default();
    if !(1..=USERS_MAX).contains(&names.len()) {
        return Err(wrong("user_ids", "1 to 5000 users"));
    }
    let users = names.iter().map(|name| user(name)).collect::<Result<Vec<_>, _>>()?;
    edge.forget_feeds(&users);
    // A service does this all day; what people do is kept.
    if subject.has_role(ADMIN) {
        let (first, detail) = (users[0].to_string(), format!("{} users", users.len()));
        let audit = Audit { actor: actor(subject), action: "feed-invalidate", subject: first, detail };
        durable::put(edge, Vec::new(), Some(audit), || {}).await?;
    }
    Ok(done(json!({ "users": users.len() })))
}

/// A user's feed with the reasons of every post.
pub(in crate::http) async fn explain(
    edge: &Arc<Edge>,
    subject: &Subject,
    name: &str,
    query: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let whose = Subject { user: user(name)?, roles: Roles::default() };
    if whose.user != subject.user {
        looked(edge, subject, "feed-explain", whose.user.to_string()).await?;
    }
    read::feed(edge, &format!("explain=1&{query}"), &whose, Instant::now())
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
