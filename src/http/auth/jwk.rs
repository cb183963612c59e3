//! One public key of a key set (RFC 7517 §4, RFC 7518 §6), or the reason why nova cannot use the key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The most bytes of a key id, which is part of revocations.
pub(super) const KEY_ID_MAX_BYTES: usize = 256;
/// The allowed lengths of RSA moduli. An RSA modulus below the range is weak (RFC 8725 §3.5), and a modulus above the
/// range costs too much to use.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;
/// The allowed lengths of RSA exponents. No issuer uses an RSA exponent above the range, and such an exponent would
/// cost too much to use.
const RSA_EXPONENT_BYTES: std::ops::RangeInclusive<usize> = 1..=4;
/// The length in bytes of an Ed25519 public key and of a P-256 coordinate.
const CURVE_BYTES: usize = 32;

/// A key, and the only algorithm for which it is used.
pub(super) struct Key {
    /// The id by which tokens name the key. A key may have no id if it is the only key of its set (RFC 7517 §4.5).
    pub kid: Option<String>,
    /// The id by which revocations name the key: its `kid`, or else its thumbprint (RFC 7638).
    pub id: String,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    /// The thumbprint by RFC 7638, which depends only on the key.
    pub thumbprint: [u8; 32],
}

impl Key {
    /// Whether `alg` of a token's header names the key's algorithm. Ed25519 has two names (RFC 8037, RFC 9864).
    pub fn takes(&self, alg: &str) -> bool {
        names(self.algorithm).contains(&alg)
    }
}

/// The names of an algorithm in a token's header.
pub(super) fn names(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::EdDSA => &["EdDSA", "Ed25519"],
        Algorithm::RS256 => &["RS256"],
        Algorithm::ES256 => &["ES256"],
        Algorithm::HS256 => &["HS256"],
        // nova uses no key whose algorithm is missing from this match.
        _ => &[],
    }
}

/// A public key, and its members in the form that nova hashes and shows.
struct Public {
    algorithm: Algorithm,
    key: DecodingKey,
    members: Value,
}

/// Makes a key and its public form from a member of `keys`. The error says what is wrong with the key.
pub(super) fn usable(jwk: &Value) -> Result<(Key, Value), String> {
    let jwk = jwk.as_object().ok_or("is not an object")?;
    let kid = text(jwk, "kid")?.filter(|kid| !kid.is_empty());
    if kid.is_some_and(|kid| kid.len() > KEY_ID_MAX_BYTES) {
        return Err(format!("kid has more than {KEY_ID_MAX_BYTES} bytes"));
    }
    let kty = text(jwk, "kty")?.ok_or("has no kty")?;
    if let Some(purpose) = text(jwk, "use")?.filter(|purpose| *purpose != "sig") {
        return Err(format!("is for use {purpose:?}"));
    }
    if let Some(operations) = jwk.get("key_ops").filter(|operations| !operations.is_null()) {
        let verifies = |all: &Vec<Value>| all.iter().any(|one| one == "verify");
        if !operations.as_array().is_some_and(verifies) {
            return Err("key_ops has no \"verify\"".to_owned());
        }
    }
    let Public { algorithm, key, members } = public(jwk, kty)?;
    if let Some(alg) = text(jwk, "alg")?.filter(|alg| !names(algorithm).contains(alg)) {
        return Err(format!("is for alg {alg:?}; nova takes {}", names(algorithm).join(" and ")));
    }
    // A thumbprint (RFC 7638 §3) covers the members that the key type needs, in the order of their names, without
    // spaces. `json!` sorts the members by name.
    let thumbprint: [u8; 32] = Sha256::digest(members.to_string()).into();
    let kid = kid.map(str::to_owned);
    let id = kid.clone().unwrap_or_else(|| URL_SAFE_NO_PAD.encode(thumbprint));
    let mut shown = members;
    for (member, value) in [("kid", kid.as_deref()), ("alg", names(algorithm).first().copied()), ("use", Some("sig"))] {
        if let Some(value) = value {
            shown[member] = value.into();
        }
    }
    Ok((Key { kid, id, algorithm, key, thumbprint }, shown))
}

fn public(jwk: &Map<String, Value>, kty: &str) -> Result<Public, String> {
    let curve = text(jwk, "crv")?.unwrap_or_default();
    let unusable = |error: jsonwebtoken::errors::Error| error.to_string();
    match (kty, curve) {
        ("OKP", "Ed25519") => {
            let x = fixed(jwk, "x")?;
            let key = DecodingKey::from_ed_components(&x).map_err(unusable)?;
            Ok(Public { algorithm: Algorithm::EdDSA, key, members: json!({ "crv": curve, "kty": kty, "x": x }) })
        }
        ("EC", "P-256") => {
            let (x, y) = (fixed(jwk, "x")?, fixed(jwk, "y")?);
            let key = DecodingKey::from_ec_components(&x, &y).map_err(unusable)?;
            let members = json!({ "crv": curve, "kty": kty, "x": x, "y": y });
            Ok(Public { algorithm: Algorithm::ES256, key, members })
        }
        ("RSA", _) => {
            let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
            if !RSA_BYTES.contains(&n.len()) {
                return Err(format!("its modulus has {} bits, not 2048 to 8192", n.len() * 8));
            }
            // The exponent of an RSA key is odd and greater than 1.
            if !RSA_EXPONENT_BYTES.contains(&e.len()) || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
                return Err("its exponent is none that RSA keys have".to_owned());
            }
            let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
            let key = DecodingKey::from_rsa_components(&n, &e).map_err(unusable)?;
            Ok(Public { algorithm: Algorithm::RS256, key, members: json!({ "e": e, "kty": kty, "n": n }) })
        }
        ("OKP" | "EC", _) => Err(format!("is of curve {curve:?}; nova takes Ed25519 and P-256")),
        _ => Err(format!("is of kty {kty:?}; nova takes RSA, EC and OKP")),
    }
}

/// The text of a member of the JWK, or `None` if the member is missing or null.
fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, String> {
    match jwk.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is not a text")),
    }
}

/// The bytes of a member in base64url. nova accepts padding and the standard alphabet of base64, because they encode
/// the same bytes.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let given = text(jwk, name)?.ok_or_else(|| format!("has no {name}"))?;
    let plain = given.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).map_err(|_| format!("{name} is not base64url"))
}

/// Reads a number of a JWK without its leading zeros. RFC 7518 §6.3.1.1 forbids leading zeros, but some issuers write
/// them.
fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = bytes(jwk, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

/// A coordinate of an elliptic curve, or an Ed25519 key, as base64url in its full length (RFC 7518 §6.2.1.2). nova adds
/// missing leading zeros to a coordinate, and removes needless leading zeros from it.
fn fixed(jwk: &Map<String, Value>, name: &str) -> Result<String, String> {
    let given = bytes(jwk, name)?;
    // The bytes of an Ed25519 key are not a number, so nova adds or removes no zeros and demands the full length.
    if given.len() == CURVE_BYTES {
        return Ok(URL_SAFE_NO_PAD.encode(given));
    }
    let number = number(jwk, name)?;
    if number.len() > CURVE_BYTES || jwk.get("kty").is_some_and(|kty| kty == "OKP") {
        return Err(format!("{name} has {} bytes, not {CURVE_BYTES}", given.len()));
    }
    let zeros = vec![0; CURVE_BYTES - number.len()];
    Ok(URL_SAFE_NO_PAD.encode([zeros, number].concat()))
}
