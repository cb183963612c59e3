//! The outside of a token: its header and claims (RFC 7515, RFC 7519), read strictly. Nothing here trusts them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

/// A longer token is not looked at.
pub(super) const TOKEN_MAX_BYTES: usize = 8_192;
/// The end of the year 9999; a later time is a mistake or an attack.
const LATEST_S: f64 = 253_402_300_799.0;
/// Values of `typ` that mean a JWT (RFC 7519 §5.1, RFC 9068 §2.1).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// A token in its parts.
pub(super) struct Token<'t> {
    pub alg: String,
    pub kid: String,
    /// What is signed: header and claims as they were sent.
    pub message: &'t str,
    pub payload: &'t str,
    pub signature: &'t str,
}

/// A header has no member that points to another key or asks for more than a signature: RFC 8725 §3.1, §3.10.
/// `x5t` only names a certificate, and is not used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    #[serde(rename = "x5t")]
    _thumbprint: Option<IgnoredAny>,
}

/// What a token says; members that nova does not know are passed over, those that it knows stand once.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    pub sub: String,
    pub role: Option<String>,
    pub iss: Option<String>,
    pub aud: Option<Audience>,
    #[serde(default, deserialize_with = "optional_date")]
    pub iat: Option<i64>,
    #[serde(default, deserialize_with = "optional_date")]
    pub nbf: Option<i64>,
    #[serde(deserialize_with = "date")]
    pub exp: i64,
    pub jti: Option<String>,
}

/// One recipient or several (RFC 7519 §4.1.3).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Audience::One(one) => one == name,
            Audience::Several(all) => all.iter().any(|one| one == name),
        }
    }
}

/// Three parts and a plain header, or nothing.
pub(super) fn split(token: &str) -> Option<Token<'_>> {
    if token.len() > TOKEN_MAX_BYTES {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    if payload.contains('.') || signature.is_empty() {
        return None;
    }
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let known = |typ: &str| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known));
    if !header.typ.as_deref().is_none_or(known) {
        return None;
    }
    Some(Token { alg: header.alg, kid: header.kid, message, payload, signature })
}

/// The claims of a payload whose signature was checked.
pub(super) fn claims(payload: &str) -> Option<Claims> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// A NumericDate: seconds, perhaps with a fraction, which is cut.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    // Not a number is in no range.
    if (0.0..=LATEST_S).contains(&seconds) { Ok(seconds as i64) } else { Err(D::Error::custom("out of range")) }
}

fn optional_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Date(#[serde(deserialize_with = "date")] i64);
    Ok(Option::<Date>::deserialize(deserializer)?.map(|date| date.0))
}
