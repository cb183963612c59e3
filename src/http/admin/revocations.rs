//! `/api/v1/admin/revocations`: a rule holds when the call returns, and through a restart.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::http::auth::Subject;
use crate::http::auth::revocation::{KIND, NAME_MAX_BYTES, REVOCATIONS_MAX, Rule, Target};
use crate::http::error::Problem;
use crate::http::percent::parameter;
use crate::http::{Edge, durable, server};
use crate::pipeline::writer::{Audit, EdgeEntry};

use super::{actor, number, parse, user, wrong};

const PAGE_MAX: u64 = 1_000;
/// Rules without an end, and those that take every token.
const ALWAYS: i64 = i64::MAX;
/// Numbers that are taken for milliseconds: from March 1973, which as seconds is the year 5138, to the year 9999.
const EPOCH_MS: std::ops::Range<i64> = 100_000_000_000..253_402_300_800_000;

#[derive(Deserialize)]
struct Ask {
    jti: Option<String>,
    user_id: Option<String>,
    key_id: Option<String>,
    before: Option<Value>,
    expires_at: Option<Value>,
    #[serde(default)]
    reason: String,
}

fn target(jti: Option<String>, user_id: Option<String>, key_id: Option<String>) -> Result<Target, Problem> {
    let named = |name: String, field, make: fn(String) -> Target| match name.len() {
        1..=NAME_MAX_BYTES => Ok(make(name)),
        _ => Err(wrong(field, "1 to 256 bytes")),
    };
    match (jti, user_id, key_id) {
        (Some(id), None, None) => named(id, "jti", Target::Token),
        (None, Some(id), None) => Ok(Target::User(user(&id)?)),
        (None, None, Some(id)) => named(id, "key_id", Target::Key),
        _ => Err(wrong("jti", "one of jti, user_id, key_id")),
    }
}

/// RFC 3339, or epoch milliseconds. A number of seconds would be a time in 1970, and a rule that does nothing.
fn time_ms(value: &Value, field: &'static str) -> Result<i64, Problem> {
    let time = match value {
        Value::Number(number) => whole(number).filter(|ms| EPOCH_MS.contains(ms)),
        Value::String(text) => text.parse().ok().map(|time: jiff::Timestamp| time.as_millisecond()),
        _ => None,
    };
    let expected = "a time: RFC 3339, or epoch milliseconds (not seconds)";
    time.filter(|time| *time >= 0).ok_or_else(|| wrong(field, expected))
}

/// A whole number, which JSON may write with a fraction of zero.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let real = || number.as_f64().filter(|real| real.fract() == 0.0 && EPOCH_MS.contains(&(*real as i64)));
    number.as_i64().or_else(|| real().map(|real| real as i64))
}

fn shown(target: &Target, rule: &Rule) -> Value {
    let (kind, id) = match target {
        Target::Token(id) => ("jti", id.clone()),
        Target::User(user) => ("user_id", user.to_string()),
        Target::Key(id) => ("key_id", id.clone()),
    };
    let time = |ms: i64| if ms == ALWAYS { Value::Null } else { rfc3339(ms.saturating_mul(1_000)).into() };
    json!({ "kind": kind, "id": id, "before": time(rule.before_ms), "expires_at": time(rule.expires_ms) })
}

pub(in crate::http) async fn revoke(
    edge: &Arc<Edge>,
    subject: &Subject,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Problem> {
    let ask: Ask = parse(headers, body)?;
    let target = target(ask.jti, ask.user_id, ask.key_id)?;
    let before_ms = match (&target, &ask.before) {
        (Target::User(_), Some(time)) => time_ms(time, "before")?,
        (Target::User(_), None) => edge.clock.day_ms(),
        (_, Some(_)) => return Err(wrong("before", "it with user_id only")),
        (_, None) => ALWAYS,
    };
    let expires_ms = ask.expires_at.map_or(Ok(ALWAYS), |time| time_ms(&time, "expires_at"))?;
    if expires_ms <= edge.clock.day_ms() {
        return Err(wrong("expires_at", "a time to come: a rule that has expired does nothing"));
    }
    let changing = Arc::clone(&edge.gate.changes).lock_owned().await;
    let (rule, room) = edge.auth.revocations.with(&target, Rule { before_ms, expires_ms });
    if !room {
        return Err(Problem::TooLarge { detail: format!("at most {REVOCATIONS_MAX} revocations") });
    }
    let answer = shown(&target, &rule);
    let entries = vec![EdgeEntry { kind: KIND, name: target.name(), value: Some(rule.encode()) }];
    let audit = Audit { actor: actor(subject), action: "revoke", subject: answer.to_string(), detail: ask.reason };
    let revocations = Arc::clone(&edge.auth.revocations);
    durable::put(edge, entries, Some(audit), move || {
        revocations.put(target, rule);
        drop(changing);
    })
    .await?;
    Ok(server::json(StatusCode::CREATED, answer.to_string()))
}

pub(in crate::http) async fn unrevoke(
    edge: &Arc<Edge>,
    subject: &Subject,
    query: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let given = |name| parameter(query, name).map(|text| text.map(Cow::into_owned));
    let target = target(given("jti")?, given("user_id")?, given("key_id")?)?;
    let changing = Arc::clone(&edge.gate.changes).lock_owned().await;
    if edge.auth.revocations.get(&target).is_none() {
        return Err(Problem::NotFound);
    }
    let entries = vec![EdgeEntry { kind: KIND, name: target.name(), value: None }];
    let audit = Audit { actor: actor(subject), action: "unrevoke", subject: format!("{target:?}"), ..Audit::default() };
    let revocations = Arc::clone(&edge.auth.revocations);
    durable::put(edge, entries, Some(audit), move || {
        revocations.remove(&target);
        drop(changing);
    })
    .await?;
    Ok(server::empty(StatusCode::NO_CONTENT))
}

pub(in crate::http) fn list(edge: &Edge, query: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let limit = number(query, "limit", 100)?;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong("limit", "1 to 1000"));
    }
    let offset = number(query, "offset", 0)? as usize;
    let all = edge.auth.revocations.all();
    let page = all.iter().skip(offset).take(limit as usize).map(|(target, rule)| shown(target, rule));
    let body = json!({ "revocations": page.collect::<Vec<_>>(), "total": all.len() });
    Ok(server::json(StatusCode::OK, body.to_string()))
}
