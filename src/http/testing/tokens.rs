//! Makes valid and defective tokens for tests.

use serde_json::{Value, json};

use crate::event::Id;
use crate::http::auth::{AUDIENCE, Auth, ISSUER};
use crate::http::error::Problem;

use super::shapes::TokenAsked;

const TTL_DEFAULT_S: u64 = 3_600;
/// The longest lifetime of a token: ten years, as in `nova token`.
const TTL_MAX_S: u64 = 3_650 * 86_400;
const ROLES: [&str; 2] = ["admin", "service"];

fn wrong(field: &'static str, detail: &str) -> Problem {
    Problem::InvalidParameter { field, detail: format!("{field}: {detail}") }
}

fn ttl_s(given: Option<&Value>) -> Result<u64, Problem> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let seconds = match given {
        None | Some(Value::Null) => Some(TTL_DEFAULT_S),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => {
            units.iter().find_map(|(unit, factor)| text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*factor))
        }
        Some(_) => None,
    };
    let expected = "expected seconds, or a number with s, m, h or d, such as 1h; at most 3650d";
    seconds.filter(|seconds| (1..=TTL_MAX_S).contains(seconds)).ok_or_else(|| wrong("ttl", expected))
}

/// Makes a token that is valid, or broken as requested, at the time `now_ms`.
pub(super) fn make(auth: &Auth, asked: &TokenAsked, now_ms: i64) -> Result<String, Problem> {
    let user = Id::parse(asked.sub.as_bytes()).map_err(|error| wrong("sub", &error.to_string()))?;
    let ttl_s = ttl_s(asked.ttl.as_ref())?;
    if asked.role.as_deref().is_some_and(|role| !ROLES.contains(&role)) {
        return Err(wrong("role", "expected admin or service, or leave it out for a user without a role"));
    }
    let now_s = now_ms.max(0) as u64 / 1_000;
    let mut claims = json!({
        "sub": user.to_string(), "role": asked.role, "iss": ISSUER, "aud": AUDIENCE,
        "iat": now_s, "exp": now_s.saturating_add(ttl_s), "jti": uuid::Uuid::new_v4().to_string(),
    });
    // One day is far beyond the accepted difference between two clocks.
    const FAR_S: u64 = 86_400;
    match asked.broken.as_deref() {
        None | Some("signature") => {}
        Some("expired") => {
            claims["iat"] = now_s.saturating_sub(2 * FAR_S).into();
            claims["exp"] = now_s.saturating_sub(FAR_S).into();
        }
        Some("not-yet-valid") => {
            claims["nbf"] = (now_s + FAR_S).into();
            claims["exp"] = (now_s + 2 * FAR_S).into();
        }
        Some("issuer") => claims["iss"] = "another-issuer".into(),
        Some("audience") => claims["aud"] = "another-application".into(),
        Some(_) => {
            return Err(wrong("broken", "expected expired, not-yet-valid, signature, issuer or audience"));
        }
    }
    let token = auth.sign(&claims).map_err(|error| Problem::Conflict(error.to_string()))?;
    Ok(match asked.broken.as_deref() {
        Some("signature") => forged(&token),
        _ => token,
    })
}

/// Changes the first letter of a token's signature.
fn forged(token: &str) -> String {
    let Some((signed, signature)) = token.rsplit_once('.') else { return token.to_owned() };
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", signature.get(1..).unwrap_or_default())
}
