//! A JSON Web Key Set (RFC 7517): the keys that nova can use, and the problems of the keys that it cannot use.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::jwk::{Key, usable};

/// The most bytes of a key set. nova refuses a key set that is longer than this.
pub const JWKS_MAX_BYTES: usize = 256 << 10;
/// The most keys of one key set. nova leaves out the usable keys after the first [`KEYS_MAX`].
const KEYS_MAX: usize = 100;
/// The most keys that are tried for one token. A set may have several keys with the same id or without an id.
const CANDIDATES_MAX: usize = 4;
/// The fewest bytes of a shared secret. HS256 needs a secret of at least this length (RFC 7518 §3.2).
const SECRET_MIN_BYTES: usize = 32;
/// The id by which revocations name the key of `auth.hs256_secret_file`.
const SECRET_ID: &str = "hs256";

/// The reason why nova cannot use a key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("is longer than {JWKS_MAX_BYTES} bytes")]
    TooLong,
    #[error("is not a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("is not a JSON Web Key Set: expected an object with a list \"keys\"")]
    Shape,
    #[error("has no key that can be used: Ed25519, RSA from 2048 bits for RS256, or P-256{0}")]
    None(String),
    #[error("has {0} bytes; HS256 needs at least {SECRET_MIN_BYTES}: openssl rand -hex 32")]
    ShortSecret(usize),
}

/// The usable keys of a key set.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// The public halves of the keys, as `/.well-known/jwks.json` shows them.
    pub text: Arc<str>,
    /// A message for each member of the key set that nova leaves out.
    pub left_out: Vec<String>,
}

impl KeySet {
    /// Parses a key set. nova leaves out a member that it cannot use (RFC 7517 §5), whatever the member's problem is.
    pub fn parse(text: &str) -> Result<KeySet, KeySetError> {
        if text.len() > JWKS_MAX_BYTES {
            return Err(KeySetError::TooLong);
        }
        let set: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))?;
        let members = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Shape)?;
        let (mut keys, mut public, mut left_out) = (Vec::<Arc<Key>>::new(), Vec::new(), Vec::new());
        for (place, member) in members.iter().enumerate() {
            let found = usable(member).and_then(|(key, shown)| {
                let same = |known: &Arc<Key>| known.thumbprint == key.thumbprint && known.kid == key.kid;
                match keys.len() {
                    KEYS_MAX.. => Err(format!("is beyond the first {KEYS_MAX} that can be used")),
                    _ if keys.iter().any(same) => Err("is there twice".to_owned()),
                    _ => Ok((key, shown)),
                }
            });
            match found {
                Ok((key, shown)) => {
                    keys.push(Arc::new(key));
                    public.push(shown);
                }
                Err(why) => left_out.push(format!("the key {} {why}", called(member, place))),
            }
        }
        if keys.is_empty() {
            let why = left_out.first().map_or(String::new(), |first| format!("; {first}"));
            return Err(KeySetError::None(why));
        }
        Ok(KeySet { keys, text: json!({ "keys": public }).to_string().into(), left_out })
    }

    /// The key set of a shared secret, which has no public part. One line end after the secret is not part of the
    /// secret.
    pub fn secret(file: &[u8]) -> Result<KeySet, KeySetError> {
        let secret = file.strip_suffix(b"\n").unwrap_or(file);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_MIN_BYTES {
            return Err(KeySetError::ShortSecret(secret.len()));
        }
        let key = Key {
            kid: None,
            id: SECRET_ID.to_owned(),
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
            thumbprint: Sha256::digest(secret).into(),
        };
        Ok(KeySet { keys: vec![Arc::new(key)], text: json!({ "keys": [] }).to_string().into(), left_out: Vec::new() })
    }

    /// The keys that may have signed a token with this `kid` and `alg`: the keys with this `kid`, or else the keys
    /// without an id. The set's only key of the algorithm may also have signed a token without `kid` (OpenID Connect
    /// Core §10.1).
    pub fn candidates(&self, kid: Option<&str>, alg: &str) -> Vec<&Arc<Key>> {
        let takes = |key: &&Arc<Key>| key.takes(alg);
        let of = |kid: Option<&str>| -> Vec<&Arc<Key>> {
            let named = self.keys.iter().filter(|key| key.kid.as_deref() == kid);
            named.filter(takes).take(CANDIDATES_MAX).collect()
        };
        match kid {
            Some(_) if self.names(kid) => of(kid),
            Some(_) => of(None),
            None => {
                let mut all = self.keys.iter().filter(takes);
                match (all.next(), all.next()) {
                    (Some(only), None) => vec![only],
                    _ => of(None),
                }
            }
        }
    }

    /// Whether any key has this `kid`.
    pub fn names(&self, kid: Option<&str>) -> bool {
        kid.is_some() && self.keys.iter().any(|key| key.kid.as_deref() == kid)
    }

    /// Whether the set has this very key object, and not only an equal key object.
    pub fn holds(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key))
    }

    /// Replaces keys by the equal key objects of the previous set, so that cached tokens of unchanged keys stay valid.
    pub fn keep(&mut self, before: &KeySet) {
        for key in &mut self.keys {
            let same = |known: &&Arc<Key>| known.thumbprint == key.thumbprint && known.kid == key.kid;
            if let Some(known) = before.keys.iter().find(same) {
                *key = Arc::clone(known);
            }
        }
    }

    /// Whether this set and `other` have the same keys.
    pub fn equals(&self, other: &KeySet) -> bool {
        let same = |(a, b): (&Arc<Key>, &Arc<Key>)| a.thumbprint == b.thumbprint && a.kid == b.kid;
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(same)
    }
}

/// The name of a key in messages: the key's id, or the key's place in the set.
fn called(member: &Value, place: usize) -> String {
    match member.get("kid").and_then(Value::as_str) {
        Some(kid) => super::refusal::shown(kid),
        None => format!("at place {}", place + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
    /// The example key of RFC 7638 §3.1.
    const RSA: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}"#;
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn set(keys: &[&str]) -> Result<KeySet, KeySetError> {
        KeySet::parse(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
    }

    fn edited(base: &str, edit: impl Fn(&mut Value)) -> String {
        let mut key: Value = serde_json::from_str(base).unwrap();
        edit(&mut key);
        key.to_string()
    }

    #[test]
    fn odd_keys_are_left_out_each_with_a_word_and_private_halves_never_shown() {
        let ed = |edit: fn(&mut Value)| edited(ED, edit);
        let others = [
            (r#"{"kty":"oct","kid":"h","k":"AAAA","alg":"HS256"}"#.to_owned(), "kty \"oct\""),
            (r#"{"kty":"RSA","kid":"weak","n":"AQAB","e":"AQAB"}"#.to_owned(), "24 bits"),
            (r#"{"kty":"EC","crv":"P-384","kid":"p","x":"AA","y":"AA"}"#.to_owned(), "P-384"),
            (r#"{"kty":"OKP","crv":"X25519","kid":"p","x":"AA"}"#.to_owned(), "X25519"),
            (r#"{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AA"}"#.to_owned(), "AKP"),
            (r#"{"kty":5}"#.to_owned(), "kty is not a text"),
            (r#"{"kid":"k"}"#.to_owned(), "no kty"),
            ("7".to_owned(), "at place 9 is not an object"),
            (r#"["OKP"]"#.to_owned(), "is not an object"),
            (ed(|key| key["use"] = "enc".into()), "use \"enc\""),
            (ed(|key| key["alg"] = "RS256".into()), "alg \"RS256\""),
            (ed(|key| key["kid"] = 7.into()), "kid is not a text"),
            (ed(|key| key["kid"] = "k".repeat(257).into()), "256 bytes"),
            (ed(|key| key["key_ops"] = json!(["sign"])), "key_ops"),
            (ed(|key| key["key_ops"] = json!("verify")), "key_ops"),
            (ed(|key| key["x"] = "!".into()), "base64url"),
            (ed(|key| key["x"] = "AAAA".into()), "3 bytes"),
            (edited(RSA, |key| key["alg"] = "RSA-OAEP".into()), "RSA-OAEP"),
            (edited(RSA, |key| key["e"] = "AQ".into()), "exponent"),
            (edited(RSA, |key| key["e"] = "Ag".into()), "exponent"),
            (edited(RSA, |key| drop(key.as_object_mut().unwrap().remove("n"))), "no n"),
            (ED.to_owned(), "is there twice"),
        ];
        let all: Vec<&str> = [ED].into_iter().chain(others.iter().map(|(key, _)| key.as_str())).collect();
        let known = set(&all).unwrap();
        assert_eq!((known.keys.len(), known.left_out.len()), (1, others.len()), "{:?}", known.left_out);
        for (said, (_, word)) in known.left_out.iter().zip(&others) {
            assert!(said.contains(word), "{said}: {word}");
        }
        assert!(known.text.contains("11qYAY") && !known.text.contains("nWGxne"));
        assert!(matches!(set(&all[1..22]), Err(KeySetError::None(_))));
        assert!(matches!(KeySet::parse(&" ".repeat(JWKS_MAX_BYTES + 1)), Err(KeySetError::TooLong)));
        for text in ["[]", "[[]]", "{\"keys\":{}}", "{}", "null"] {
            assert!(matches!(KeySet::parse(text), Err(KeySetError::Shape)), "{text}");
        }
        assert!(matches!(KeySet::parse("{"), Err(KeySetError::Json(_))));
    }

    #[test]
    fn one_key_is_the_same_in_every_spelling_of_its_numbers() {
        let base = &set(&[RSA]).unwrap().keys[0];
        assert_eq!(base.id, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "the thumbprint of RFC 7638 §3.1");
        let n = serde_json::from_str::<Value>(RSA).unwrap()["n"].as_str().unwrap().to_owned();
        let spelled = |n: String| edited(RSA, |key| key["n"] = n.clone().into());
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let bytes = URL_SAFE_NO_PAD.decode(&n).unwrap();
        let longer = [&[0][..], &bytes].concat();
        for other in [format!("{n}=="), STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&longer)] {
            assert_eq!(set(&[&spelled(other)]).unwrap().keys[0].thumbprint, base.thumbprint);
        }
    }

    #[test]
    fn a_token_finds_its_keys_by_id_and_kind_and_without_an_id_where_there_is_no_choice() {
        let named = |kid: &str| edited(RSA, |key| key["kid"] = kid.into());
        let found = |set: &KeySet, kid: Option<&str>, alg: &str| {
            set.candidates(kid, alg).iter().map(|key| key.algorithm).collect::<Vec<_>>()
        };
        let two = set(&[ED, &named("a")]).unwrap();
        assert_eq!(two.keys.len(), 2, "one id of two kinds");
        for (kid, alg, expected) in [
            (Some("a"), "EdDSA", vec![Algorithm::EdDSA]),
            (Some("a"), "Ed25519", vec![Algorithm::EdDSA]),
            (Some("a"), "RS256", vec![Algorithm::RS256]),
            (Some("a"), "HS256", vec![]),
            (Some("a"), "none", vec![]),
            (Some("b"), "RS256", vec![]),
            (None, "RS256", vec![Algorithm::RS256]),
        ] {
            assert_eq!(found(&two, kid, alg), expected, "{kid:?} {alg}");
        }
        let several = set(&[&named("a"), &named("b")]).unwrap();
        assert_eq!(found(&several, None, "RS256"), []);
        let unnamed = set(&[RSA, ED]).unwrap();
        assert_eq!(found(&unnamed, Some("other"), "RS256"), [Algorithm::RS256]);
        assert_eq!(found(&unnamed, Some("a"), "RS256"), [], "another key has this id");
        // Even if many keys have the same id, a token must not cost a hundred checks of signatures.
        let many: Vec<String> = (0..120).map(|n| edited(ED, |key| key["x"] = numbered(n).into())).collect();
        let many = set(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!((many.keys.len(), many.left_out.len()), (KEYS_MAX, 20));
        assert_eq!(many.candidates(Some("a"), "EdDSA").len(), CANDIDATES_MAX);
    }

    /// A text with the form of an Ed25519 key, different for each `n`.
    fn numbered(n: usize) -> String {
        format!("{n:03}{}", &X[3..])
    }

    #[test]
    fn a_secret_is_long_enough_and_nothing_of_it_is_public() {
        for short in [&b""[..], b"\n", &[b'x'; 31], &[&[b'x'; 31][..], b"\n"].concat()] {
            assert!(matches!(KeySet::secret(short), Err(KeySetError::ShortSecret(_))), "{short:?}");
        }
        let set = KeySet::secret(&[&[b'x'; 32][..], b"\r\n"].concat()).unwrap();
        assert_eq!(&*set.text, r#"{"keys":[]}"#);
        assert_eq!(set.candidates(None, "HS256").len(), 1);
        assert_eq!(set.candidates(Some("any"), "HS256").len(), 1);
        for alg in ["RS256", "none", "HS512", "hs256"] {
            assert!(set.candidates(None, alg).is_empty());
        }
        assert!(set.equals(&KeySet::secret(&[b'x'; 32]).unwrap()), "without the line end");
    }
}
