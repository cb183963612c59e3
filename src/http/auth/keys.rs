//! A JSON Web Key Set (RFC 7517): public keys by their id, each with the one algorithm that it is for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::{Value, json};

/// A longer set is refused.
pub const JWKS_MAX_BYTES: usize = 256 << 10;
/// Keys of one set.
const KEYS_MAX: usize = 100;
/// Key ids are part of revocations.
pub(super) const KEY_ID_MAX_BYTES: usize = 256;
/// RSA moduli: shorter ones are weak (RFC 8725 §3.5), longer ones cost too much to use.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("is longer than {JWKS_MAX_BYTES} bytes")]
    TooLong,
    #[error("is not a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("has two keys with the id {0:?}")]
    Twice(String),
    #[error("has no key that can be used: Ed25519, RSA from 2048 bits for RS256, or P-256, with kid")]
    None,
}

/// One public key.
pub(super) struct Key {
    pub id: String,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// See the module.
#[derive(Default)]
pub(super) struct KeySet {
    keys: FxHashMap<String, Arc<Key>>,
    /// The public halves, for `/.well-known/jwks.json`.
    pub text: Arc<str>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: Option<String>,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys for other purposes or algorithms are passed over, as RFC 7517 §5 asks.
    pub fn parse(text: &str) -> Result<KeySet, KeySetError> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        if text.len() > JWKS_MAX_BYTES {
            return Err(KeySetError::TooLong);
        }
        let jwks: Jwks = serde_json::from_str(text)?;
        if jwks.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut public) = (FxHashMap::default(), Vec::new());
        for value in jwks.keys {
            let Some((key, shown)) = Jwk::deserialize(value).ok().as_ref().and_then(usable) else {
                continue;
            };
            public.push(shown);
            let id = key.id.clone();
            if keys.insert(id.clone(), Arc::new(key)).is_some() {
                return Err(KeySetError::Twice(id));
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::None);
        }
        Ok(KeySet { keys, text: json!({ "keys": public }).to_string().into() })
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Key>> {
        self.keys.get(id)
    }

    /// Whether this very key is still in the set.
    pub fn holds(&self, key: &Arc<Key>) -> bool {
        self.get(&key.id).is_some_and(|known| Arc::ptr_eq(known, key))
    }
}

/// The key and its public form. The algorithm follows from the key's type; an `alg` that says another is refused.
fn usable(jwk: &Jwk) -> Option<(Key, Value)> {
    let id = jwk.kid.as_ref().filter(|id| !id.is_empty() && id.len() <= KEY_ID_MAX_BYTES)?.clone();
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let bytes = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_ref()?).ok();
    let curve = |name: &str| jwk.crv.as_deref() == Some(name);
    let (algorithm, name, key, mut shown) = match jwk.kty.as_str() {
        "OKP" if curve("Ed25519") && bytes(&jwk.x)?.len() == 32 => {
            let key = DecodingKey::from_ed_components(jwk.x.as_ref()?).ok()?;
            (Algorithm::EdDSA, "EdDSA", key, json!({ "crv": "Ed25519", "x": jwk.x }))
        }
        "EC" if curve("P-256") && bytes(&jwk.x)?.len() == 32 && bytes(&jwk.y)?.len() == 32 => {
            let key = DecodingKey::from_ec_components(jwk.x.as_ref()?, jwk.y.as_ref()?).ok()?;
            (Algorithm::ES256, "ES256", key, json!({ "crv": "P-256", "x": jwk.x, "y": jwk.y }))
        }
        "RSA" if RSA_BYTES.contains(&bytes(&jwk.n)?.len()) => {
            let key = DecodingKey::from_rsa_components(jwk.n.as_ref()?, jwk.e.as_ref()?).ok()?;
            (Algorithm::RS256, "RS256", key, json!({ "n": jwk.n, "e": jwk.e }))
        }
        _ => return None,
    };
    if jwk.alg.as_deref().is_some_and(|alg| alg != name) {
        return None;
    }
    for (member, value) in [("kid", id.as_str()), ("kty", &jwk.kty), ("alg", name), ("use", "sig")] {
        shown[member] = value.into();
    }
    Some((Key { id, algorithm, key }, shown))
}

/// The name of an algorithm in a token's header.
pub(super) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDSA => "EdDSA",
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
        // No key is for any other.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;

    fn set(keys: &[&str]) -> Result<KeySet, KeySetError> {
        KeySet::parse(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
    }

    #[test]
    fn keys_for_other_purposes_are_passed_over_and_private_halves_never_shown() {
        let others = [
            r#"{"kty":"oct","kid":"h","k":"AAAA","alg":"HS256"}"#,
            r#"{"kty":"RSA","kid":"weak","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"EC","crv":"P-384","kid":"p","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","kid":"e","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","kid":"m","alg":"RS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":5}"#,
            "7",
        ];
        let known = set(&[&[ED][..], &others[..]].concat()).unwrap();
        assert_eq!(known.keys.len(), 1);
        assert_eq!(known.get("a").unwrap().algorithm, Algorithm::EdDSA);
        assert!(known.text.contains("11qYAY") && !known.text.contains("nWGxne"));
        assert!(matches!(set(&others), Err(KeySetError::None)));
        assert!(matches!(set(&[ED, ED]), Err(KeySetError::Twice(_))));
        assert!(matches!(set(&[ED; 101]), Err(KeySetError::TooMany)));
        assert!(matches!(KeySet::parse(&" ".repeat(JWKS_MAX_BYTES + 1)), Err(KeySetError::TooLong)));
        assert!(matches!(KeySet::parse("[]"), Err(KeySetError::Json(_))));
    }
}
