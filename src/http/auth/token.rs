//! The header and the claims of a token (RFC 7515, RFC 7519), read strictly, because nova does not trust a token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::refusal::{Reason, Refusal, shown};
use super::subject::Roles;

/// The latest time that nova accepts in a token: the end of the year 9999. A time after the year 9999 is a mistake or
/// an attack.
const LATEST_S: f64 = 253_402_300_799.0;
/// The most characters of serde's message about a malformed token.
const DETAIL_MAX_CHARS: usize = 120;
/// Values of `typ` that mean a JWT (RFC 7519 §5.1, RFC 9068 §2.1), without `application/`.
const TYPES: [&str; 2] = ["JWT", "at+jwt"];
/// A `typ` without a slash stands for a media type with this prefix (RFC 7515 §4.1.9).
const MEDIA_TYPE_PREFIX: &str = "application/";

/// The parts of a token.
pub(super) struct Token<'t> {
    pub alg: String,
    pub kid: Option<String>,
    /// The signed part of the token: the header and the claims as they were sent.
    pub message: &'t str,
    pub payload: &'t str,
    pub signature: &'t str,
}

/// The header of a token. nova ignores members of the header that it does not know (RFC 7515 §4). The first three
/// fields of this struct have values that nova reads. Each further field stands for a member that the header must not
/// have: nova refuses the token, whatever the value of the member is. nova refuses the member `crit`, because nova
/// knows no extension. nova also refuses members that contain a key or point to a key (RFC 8725 §3.10), and members
/// that ask for a different encoding of the payload (RFC 7516, RFC 7797).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    jku: Present,
    #[serde(default)]
    jwk: Present,
    #[serde(default)]
    x5u: Present,
    #[serde(default)]
    x5c: Present,
    #[serde(default)]
    b64: Present,
    #[serde(default)]
    enc: Present,
    #[serde(default)]
    zip: Present,
}

impl Header {
    /// The member of the header because of which nova refuses the token.
    fn refused(&self) -> Option<&'static str> {
        let members = [
            ("crit", &self.crit),
            ("jku", &self.jku),
            ("jwk", &self.jwk),
            ("x5u", &self.x5u),
            ("x5c", &self.x5c),
            ("b64", &self.b64),
            ("enc", &self.enc),
            ("zip", &self.zip),
        ];
        members.into_iter().find_map(|(name, member)| member.0.then_some(name))
    }
}

/// Whether a member of the header is present, whatever its value is.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Present, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Present(true))
    }
}

/// The claims of a token, without its subject. nova ignores unknown claims, and refuses a token that repeats a known
/// claim.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    pub role: Roles,
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

/// The claim `aud`, which is one audience or a list of audiences (RFC 7519 §4.1.3).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub fn names(&self) -> &[String] {
        match self {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Several(all) => all,
        }
    }
}

/// Splits a token into its three parts and checks the header. The token's `typ` must be the required type, or a type
/// that means a JWT.
pub(super) fn split<'t>(token: &'t str, require_typ: Option<&str>) -> Result<Token<'t>, Refusal> {
    let malformed = |detail: &str| Refusal::new(Reason::Malformed, detail);
    let (message, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has no dot"))?;
    let (header, payload) = message.split_once('.').ok_or_else(|| malformed("it has one dot"))?;
    if payload.contains('.') || signature.is_empty() {
        return Err(malformed("it is not three parts of base64url"));
    }
    let header: Header = object(header).map_err(|detail| malformed(&format!("its header: {detail}")))?;
    if let Some(name) = header.refused() {
        return Err(Refusal::new(Reason::Header, format!("its header has {name}")));
    }
    check_typ(header.typ.as_deref(), require_typ)?;
    Ok(Token { alg: header.alg, kid: header.kid, message, payload, signature })
}

fn check_typ(typ: Option<&str>, required: Option<&str>) -> Result<(), Refusal> {
    let same = |typ: &str, known: &str| media_type(typ).eq_ignore_ascii_case(media_type(known));
    let fits = match (typ, required) {
        (Some(typ), Some(required)) => same(typ, required),
        (Some(typ), None) => TYPES.iter().any(|known| same(typ, known)),
        (None, required) => required.is_none(),
    };
    if fits {
        return Ok(());
    }
    let expected = required.unwrap_or("JWT or at+jwt");
    Err(Refusal::new(Reason::Typ, format!("its typ is {}, not {expected}", shown(typ.unwrap_or_default()))))
}

/// The name of a media type without `application/`.
fn media_type(typ: &str) -> &str {
    match typ.get(..MEDIA_TYPE_PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(MEDIA_TYPE_PREFIX) => &typ[MEDIA_TYPE_PREFIX.len()..],
        _ => typ,
    }
}

/// The claims of a payload whose signature was checked, and the value of the claim that names the subject.
pub(super) fn claims(payload: &str, subject: &str) -> Result<(Claims, Option<Value>), Refusal> {
    let wrong = |detail: String| Refusal::new(Reason::Claims, format!("its claims: {detail}"));
    let claims = object(payload).map_err(wrong)?;
    let named = decoded(payload).and_then(|bytes| {
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        Member(subject).deserialize(&mut reader).map_err(|error| cut(&error))
    });
    Ok((claims, named.map_err(wrong)?))
}

fn decoded(part: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url".to_owned())
}

/// Reads a part of a token, which must be a JSON object (RFC 7515 §5.2). Without the check for an object, serde would
/// also read a struct from an array.
fn object<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, String> {
    let bytes = decoded(part)?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("not a JSON object".to_owned());
    }
    serde_json::from_slice(&bytes).map_err(|error| cut(&error))
}

/// Shortens a message of serde, which may quote long values of the token.
fn cut(error: &serde_json::Error) -> String {
    error.to_string().chars().take(DETAIL_MAX_CHARS).collect()
}

/// Reads one member of an object by its name, and refuses an object that repeats the member.
struct Member<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            if name != self.0 {
                members.next_value::<IgnoredAny>()?;
            } else if found.replace(members.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("{} stands twice", self.0)));
            }
        }
        Ok(found)
    }
}

/// Reads a NumericDate (RFC 7519 §2) as whole seconds, without its fraction.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    // NaN is in no range, so nova refuses it.
    if (0.0..=LATEST_S).contains(&seconds) { Ok(seconds as i64) } else { Err(D::Error::custom("out of range")) }
}

fn optional_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Date(#[serde(deserialize_with = "date")] i64);
    Ok(Option::<Date>::deserialize(deserializer)?.map(|date| date.0))
}
