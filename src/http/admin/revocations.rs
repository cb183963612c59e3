//! The routes of `/api/v1/admin/revocations`. A rule is in force from the end of the call that adds it, and survives a
//! restart.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::decode::time::parse_millis;
use crate::http::answers::{self, Answer};
use crate::http::audit::actor;
use crate::http::auth::revocation::{KIND, NAME_MAX_BYTES, REVOCATIONS_MAX, Rule, Target};
use crate::http::body::{or_default, parse};
use crate::http::call::UserCall;
use crate::http::edge::Control;
use crate::http::error::Problem;
use crate::http::percent::parameter;
use crate::http::query::{number, user, wrong};
use crate::http::shapes::{Revocation, RevocationPage, RevokedBy};
use crate::pipeline::writer::{Audit, EdgeEntry};
use crate::schema::{Time, Uuid, example};

const PAGE_MAX: u64 = 1_000;
/// The end of a rule that never ends, and the time of a rule that revokes every token.
const ALWAYS: i64 = i64::MAX;
/// The numbers that nova accepts as epoch milliseconds: from March 1973 to the year 9999. As a number of seconds, the
/// lowest accepted number would be a time in the year 5138.
const EPOCH_MS: std::ops::Range<i64> = 100_000_000_000..253_402_300_800_000;

/// A request to revoke tokens. Exactly one of `jti`, `user_id` and `key_id` is set. A time is in RFC 3339 or in epoch
/// milliseconds.
#[derive(Deserialize, JsonSchema)]
#[schemars(
    rename = "RevokeRequest",
    example = example(r#"{ "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "reason": "a lost phone" }"#)
)]
pub(in crate::http) struct Revoke {
    /// The id of a token.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    jti: Option<String>,
    /// Revokes all of a user's tokens that were issued before a time.
    #[schemars(with = "Option<Uuid>")]
    user_id: Option<String>,
    /// Revokes all tokens of a key.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    key_id: Option<String>,
    /// With `user_id`, the rule revokes tokens that were issued before this time (default: now).
    #[schemars(with = "Option<Time>")]
    before: Option<Value>,
    /// A future time at which nova may drop the rule (default: never).
    #[schemars(with = "Option<Time>")]
    expires_at: Option<Value>,
    /// The reason for the revocation, which the audit keeps.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<String>")]
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

/// Reads a time in RFC 3339 or epoch milliseconds. nova refuses a number of seconds, because as milliseconds the number
/// would be a time in 1970, and the rule would have no effect.
pub(in crate::http) fn time_ms(value: &Value, field: &'static str) -> Result<i64, Problem> {
    let time = match value {
        Value::Number(number) => whole(number).filter(|ms| EPOCH_MS.contains(ms)),
        Value::String(text) => rfc3339_ms(text),
        _ => None,
    };
    let expected = "a time: RFC 3339, or epoch milliseconds (not seconds)";
    time.filter(|time| *time >= 0).ok_or_else(|| wrong(field, expected))
}

/// The epoch milliseconds of a time in RFC 3339, or in the forms that RFC 9557 adds.
pub(super) fn rfc3339_ms(text: &str) -> Option<i64> {
    let extended = || text.parse().ok().map(|time: jiff::Timestamp| time.as_millisecond());
    parse_millis(text).or_else(extended)
}

/// Reads a whole number. JSON may write a whole number with a fraction, as in `5.0`.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let real = || number.as_f64().filter(|real| real.fract() == 0.0 && EPOCH_MS.contains(&(*real as i64)));
    number.as_i64().or_else(|| real().map(|real| real as i64))
}

fn shown(target: &Target, rule: &Rule) -> Revocation {
    let (kind, id) = match target {
        Target::Token(id) => (RevokedBy::Jti, id.clone()),
        Target::User(user) => (RevokedBy::UserId, user.to_string()),
        Target::Key(id) => (RevokedBy::KeyId, id.clone()),
    };
    let time = |ms: i64| (ms != ALWAYS).then(|| rfc3339(ms.saturating_mul(1_000)));
    Revocation { kind, id, before: time(rule.before_ms), expires_at: time(rule.expires_ms) }
}

pub(in crate::http) async fn revoke(control: &Arc<Control>, mut call: UserCall<'_>) -> Answer {
    let body = call.content().await?;
    let ask: Revoke = parse(call.call.headers, &body)?;
    let target = target(ask.jti, ask.user_id, ask.key_id)?;
    let before_ms = match (&target, &ask.before) {
        (Target::User(_), Some(time)) => time_ms(time, "before")?,
        (Target::User(_), None) => control.clock.day_ms(),
        (_, Some(_)) => return Err(wrong("before", "it with user_id only")),
        (_, None) => ALWAYS,
    };
    let expires_ms = ask.expires_at.map_or(Ok(ALWAYS), |time| time_ms(&time, "expires_at"))?;
    if expires_ms <= control.clock.day_ms() {
        return Err(wrong("expires_at", "a time to come: a rule that has expired does nothing"));
    }
    let changing = Arc::clone(&control.changes).lock_owned().await;
    let (rule, room) = control.revocations.with(&target, Rule { before_ms, expires_ms });
    if !room {
        return Err(Problem::TooLarge { detail: format!("at most {REVOCATIONS_MAX} revocations") });
    }
    let answer = shown(&target, &rule);
    let entries = vec![EdgeEntry { kind: KIND, name: target.name(), value: Some(rule.encode()) }];
    let audit =
        Audit { actor: actor(&call.subject), action: "revoke", subject: json!(answer).to_string(), detail: ask.reason };
    let revocations = Arc::clone(&control.revocations);
    control
        .durable
        .put(entries, Some(audit), move || {
            revocations.put(target, rule);
            drop(changing);
        })
        .await?;
    Ok(answers::object(StatusCode::CREATED, &answer))
}

pub(in crate::http) async fn unrevoke(control: &Arc<Control>, call: UserCall<'_>) -> Answer {
    let given = |name| parameter(call.call.query, name).map(|text| text.map(Cow::into_owned));
    let target = target(given("jti")?, given("user_id")?, given("key_id")?)?;
    let changing = Arc::clone(&control.changes).lock_owned().await;
    if control.revocations.get(&target).is_none() {
        return Err(Problem::NotFound);
    }
    let entries = vec![EdgeEntry { kind: KIND, name: target.name(), value: None }];
    let audit =
        Audit { actor: actor(&call.subject), action: "unrevoke", subject: format!("{target:?}"), ..Audit::default() };
    let revocations = Arc::clone(&control.revocations);
    control
        .durable
        .put(entries, Some(audit), move || {
            revocations.remove(&target);
            drop(changing);
        })
        .await?;
    Ok(answers::empty(StatusCode::NO_CONTENT))
}

pub(in crate::http) fn list(control: &Control, query: &str) -> Answer {
    let limit = number(query, "limit", 100)?;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong("limit", "1 to 1000"));
    }
    let offset = number(query, "offset", 0)? as usize;
    let all = control.revocations.all();
    let page = all.iter().skip(offset).take(limit as usize).map(|(target, rule)| shown(target, rule));
    let revocations = page.collect();
    Ok(answers::object(StatusCode::OK, &RevocationPage { revocations, total: all.len() }))
}
