//! The routes that forget or explain the feeds of users, and the route that shows the state of the limits.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::monotonic_now;
use crate::http::answers::{self, Answer};
use crate::http::audit::{actor, looked};
use crate::http::auth::{ADMIN, ADMIN_OR_SERVICE, Roles, Subject};
use crate::http::body::parse;
use crate::http::call::UserCall;
use crate::http::edge::Serving;
use crate::http::error::Problem;
use crate::http::limit::{Class, Limiter};
use crate::http::query::{user, wrong};
use crate::http::read;
use crate::http::shapes::{ClassState, Forgotten, HealthState, LimitsState, Scope};
use crate::pipeline::writer::Audit;
use crate::schema::{Uuid, example};

/// The most users whose feeds one request can forget.
const USERS_MAX: usize = 5_000;

/// A request to forget the feed snapshots of users. Without `user_ids` nova forgets the caller's snapshots.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ForgetRequest", example = example(r#"{ "scope": "feed" }"#))]
pub(in crate::http) struct Forget {
    /// The ids of the users. A caller needs the role admin or service to name users other than the caller.
    #[schemars(with = "Option<Vec<Uuid>>", length(min = 1, max = USERS_MAX))]
    user_ids: Option<Vec<String>>,
    #[schemars(with = "Option<Scope>")]
    scope: Option<String>,
}

/// A request to forget the cached data of users.
#[derive(Deserialize, JsonSchema)]
#[schemars(
    rename = "ForgetUsersRequest",
    extend("required" = ["user_ids"]),
    example = example(r#"{ "user_ids": ["921cad1a-b3e2-5377-a326-6b2c8273740b"], "scope": "feed" }"#)
)]
pub(in crate::http) struct ForgetUsers {
    #[schemars(with = "Vec<Uuid>", length(min = 1, max = USERS_MAX))]
    user_ids: Option<Vec<String>>,
    #[schemars(with = "Option<Scope>")]
    scope: Option<String>,
}

/// `POST /api/v1/feed/invalidate` forgets the caller's own feed. If a caller with the role admin or service names
/// users, nova forgets the feeds of these users in place of the caller's own feed.
pub(in crate::http) async fn invalidate(serving: &Arc<Serving>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let Forget { user_ids, scope } = parse(call.call.headers, &body)?;
    let Some(user_ids) = user_ids else {
        check_scope(scope.as_deref())?;
        return Ok(read::invalidate(serving, &call.subject));
    };
    if !call.subject.has_role(ADMIN_OR_SERVICE) {
        return Err(Problem::InsufficientScope(ADMIN_OR_SERVICE));
    }
    forget(serving, &call.subject, &user_ids, scope.as_deref()).await
}

/// Answers `POST /api/v1/admin/cache/invalidate`.
pub(in crate::http) async fn invalidate_cache(serving: &Arc<Serving>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let ForgetUsers { user_ids, scope } = parse(call.call.headers, &body)?;
    forget(serving, &call.subject, &user_ids.unwrap_or_default(), scope.as_deref()).await
}

fn check_scope(scope: Option<&str>) -> Result<(), Problem> {
    if scope.is_none_or(|scope| scope == "feed") { Ok(()) } else { Err(wrong("scope", "feed")) }
}

async fn forget(serving: &Serving, subject: &Subject, user_ids: &[String], scope: Option<&str>) -> Answer {
    check_scope(scope)?;
    if !(1..=USERS_MAX).contains(&user_ids.len()) {
        return Err(wrong("user_ids", "1 to 5000 users"));
    }
    let users = user_ids.iter().map(|name| user(name)).collect::<Result<Vec<_>, _>>()?;
    serving.forget_feeds(&users);
    // Services forget feeds all day, so only the calls of admins go into the audit.
    if subject.has_role(ADMIN) {
        let (first, detail) = (users[0].to_string(), format!("{} users", users.len()));
        let audit = Audit { actor: actor(subject), action: "feed-invalidate", subject: first, detail };
        serving.durable.put(Vec::new(), Some(audit), || {}).await?;
    }
    Ok(answers::object(StatusCode::OK, &Forgotten { success: true, users: Some(users.len()) }))
}

/// Answers with a user's feed and the reasons for every post.
pub(in crate::http) async fn explain(serving: &Serving, call: UserCall<'_>) -> Answer {
    let whose = Subject { user: user(call.call.name)?, roles: Roles::default() };
    if whose.user != call.subject.user {
        looked(&serving.durable, &call.subject, "feed-explain", whose.user.to_string()).await?;
    }
    read::feed(serving, &format!("explain=1&{}", call.call.query), &whose, monotonic_now())
}

/// Answers with the limits of requests, the counts of decisions since the start, and nova's health factor.
pub(in crate::http) fn limits(limiter: &Limiter) -> Response<Full<Bytes>> {
    let classes = Class::ALL.map(|class| {
        let [granted, over_quota, shed] = limiter.decisions.of(class);
        ClassState { class: class.name(), per_s: limiter.settings().per_s(class), granted, over_quota, shed }
    });
    let state = LimitsState {
        enabled: limiter.settings().enabled,
        health: HealthState { factor: limiter.health.factor(), commit_ms: limiter.health.commit_ms() },
        callers: limiter.callers(),
        classes: classes.into(),
    };
    answers::object(StatusCode::OK, &state)
}
