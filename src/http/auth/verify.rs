//! Checks tokens, and signs tokens with the development key.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::event::Id;

use super::super::head::HEAD_MAX_BYTES;
use super::super::settings::{ANY, KeySettings};
use super::cache::TokenCache;
use super::development::{AUDIENCE, ISSUER, development, own_key};
use super::jwk::Key;
use super::keeper::Keeper;
use super::key_error::KeyError;
use super::keys::KeySet;
use super::refusal::{Reason, Refusal, Refused, shown};
use super::revocation::Revocations;
use super::source::KeySource;
use super::subject::{self, Roles, Subject};
use super::token;
use super::verified::Verified;

/// The default of the claim that names the user of a token.
const SUBJECT_CLAIM: &str = "sub";
/// The most bytes of a token. nova refuses a token above this limit without reading it. The head of a request is too
/// small for such a token.
pub(super) const TOKEN_MAX_BYTES: usize = HEAD_MAX_BYTES;

/// The claims of a token that the development key signs.
#[derive(Serialize)]
struct Minted<'a> {
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
}

/// Checks tokens, and signs tokens with the development key.
pub struct Auth {
    /// The signing key and its id, set while the development key is in use.
    pub(super) signing: Option<(EncodingKey, String)>,
    pub(super) source: KeySource,
    pub(super) keys: RwLock<Arc<KeySet>>,
    pub(super) keeper: Keeper,
    /// The required issuer of tokens, or `None` if any issuer is allowed.
    issuer: Option<String>,
    /// The accepted audiences of tokens, or an empty list if any audience is allowed.
    audience: Vec<String>,
    subject_claim: String,
    require_typ: Option<String>,
    cache: TokenCache,
    /// The rules of revocation. The code that runs right after a commit shares the rules, so that a new rule is in
    /// force from its commit on.
    pub revocations: Arc<Revocations>,
    /// The counts of requests that were refused because of their token.
    pub refused: Refused,
    /// A hash of the development key's file, from which nova derives further secrets.
    root: [u8; 32],
    /// Whether a caller may send a user's id in place of a token, which only a server for tests allows.
    anyone: bool,
}

impl Auth {
    /// Checks tokens with the development key of a data directory. nova makes the key with mode 0600 if it is missing.
    pub fn open(data_dir: &Path) -> Result<Auth, KeyError> {
        Auth::configured(data_dir, &KeySettings::default())
    }

    /// Checks tokens with the configured keys. If keys are configured, the development key only derives secrets.
    pub fn configured(data_dir: &Path, settings: &KeySettings) -> Result<Auth, KeyError> {
        Auth::with(&own_key(data_dir)?, settings)
    }

    /// Checks tokens with a development key that is not on the disk. If `anyone` is set, a caller may send a user's id
    /// in place of a token (see [`Auth::unchecked`]).
    pub fn of_key(pem: &[u8], anyone: bool) -> Result<Auth, KeyError> {
        Ok(Auth { anyone, ..Auth::with(pem, &KeySettings::default())? })
    }

    fn with(pem: &[u8], settings: &KeySettings) -> Result<Auth, KeyError> {
        let root = Sha256::digest(pem).into();
        let named = |name: &&String| *name != ANY;
        let mut issuer = settings.issuer.as_ref().filter(named).cloned();
        let mut audience: Vec<_> = settings.audience.iter().filter(named).cloned().collect();
        if settings.audience.iter().any(|name| name == ANY) {
            audience.clear();
        }
        let mut signing = None;
        let (source, keys) = match KeySource::configured(settings)? {
            Some(source) => source,
            None => {
                let (key, id, keys) = development(pem)?;
                signing = Some((key, id));
                issuer = Some(ISSUER.to_owned());
                audience = vec![AUDIENCE.to_owned()];
                (KeySource::Development, keys)
            }
        };
        for unset in settings.unchecked() {
            tracing::warn!("{unset}");
        }
        keys.left_out.iter().for_each(|odd| tracing::warn!("the key set: {odd}; it is left out"));
        Ok(Auth {
            signing,
            source,
            keys: RwLock::new(Arc::new(keys)),
            keeper: Keeper::default(),
            issuer,
            audience,
            subject_claim: settings.subject_claim.clone().unwrap_or_else(|| SUBJECT_CLAIM.to_owned()),
            require_typ: settings.require_typ.clone(),
            cache: TokenCache::new(RandomState::new().hash_one(root)),
            revocations: Arc::default(),
            refused: Refused::default(),
            root,
            anyone: false,
        })
    }

    /// A token for a user, signed with the development key.
    pub fn mint(&self, user: Id, role: Option<&str>, now_ms: i64, ttl_s: u64) -> Result<String, KeyError> {
        let (key, id) = self.signing.as_ref().ok_or(KeyError::Configured)?;
        let iat = now_ms.max(0) as u64 / 1_000;
        let (sub, jti) = (user.to_string(), uuid::Uuid::new_v4().to_string());
        let claims = Minted { sub, role, iss: ISSUER, aud: AUDIENCE, iat, exp: iat.saturating_add(ttl_s), jti };
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, &claims, key)?)
    }

    /// Signs claims with the development key.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let (key, id) = self.signing.as_ref().ok_or(KeyError::Configured)?;
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, claims, key)?)
    }

    /// The caller of a request that needs no token. If the request has a UUID in place of a token, the UUID names the
    /// user, who has every role. Without a token, the caller is the nil user. The result is `None` if nova demands
    /// tokens, or if the text is a token.
    pub fn unchecked(&self, token: Option<&str>) -> Option<Subject> {
        let user = token.map_or(Some(Id::NIL), |text| Id::parse(text.as_bytes()).ok());
        user.filter(|_| self.anyone).map(|user| Subject { user, roles: Roles { admin: true, service: true } })
    }

    /// Verifies a token at the time `now_ms` with the keys that are known now.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Subject, Refusal> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(Refusal::new(Reason::Malformed, format!("it is longer than {TOKEN_MAX_BYTES} bytes")));
        }
        let keys = Arc::clone(&self.keys.read());
        let known = self.cache.get(token).filter(|known| keys.holds(&known.key));
        let verified = match known {
            Some(known) => known,
            None => {
                let verified = Arc::new(self.check(token, &keys)?);
                verified.in_time(now_ms)?;
                self.cache.put(token, Arc::clone(&verified));
                verified
            }
        };
        verified.in_time(now_ms)?;
        if self.revocations.take(&verified, now_ms) {
            return Err(Reason::Revoked.into());
        }
        Ok(verified.subject)
    }

    /// Makes those checks of a token that give the same result at any time.
    pub(super) fn check(&self, token: &str, keys: &KeySet) -> Result<Verified, Refusal> {
        let token = token::split(token, self.require_typ.as_deref())?;
        let kid = token.kid.as_deref();
        let message = token.message.as_bytes();
        let signed = |key: &&&Arc<Key>| {
            jsonwebtoken::crypto::verify(token.signature, message, &key.key, key.algorithm).unwrap_or(false)
        };
        let candidates = keys.candidates(kid, &token.alg);
        let Some(key) = candidates.iter().find(signed) else {
            // The issuer may have replaced a key without an id, so nova reads the keys again.
            let look = !keys.names(kid);
            let reason = match candidates.is_empty() {
                false => Reason::Signature,
                true if look => Reason::UnknownKey,
                true => Reason::Algorithm,
            };
            let (kid, alg) = (kid.map_or("none".to_owned(), shown), shown(&token.alg));
            return Err(Refusal { look, ..Refusal::new(reason, format!("its kid is {kid}, its alg {alg}")) });
        };
        let (claims, subject) = token::claims(token.payload, &self.subject_claim)?;
        if self.issuer.is_some() && claims.iss != self.issuer {
            let found = claims.iss.as_deref().map_or("missing".to_owned(), shown);
            return Err(Refusal::new(Reason::Issuer, format!("its iss is {found}, not auth.issuer")));
        }
        let found = claims.aud.as_ref().map_or(&[][..], token::Audience::names);
        if !self.audience.is_empty() && !found.iter().any(|name| self.audience.contains(name)) {
            let first = found.first().map_or("missing".to_owned(), |name| shown(name));
            return Err(Refusal::new(Reason::Audience, format!("its aud is {first}, none of auth.audience")));
        }
        Ok(Verified {
            subject: Subject { user: self.user(claims.iss.as_deref(), subject)?, roles: claims.role },
            key: Arc::clone(key),
            jti: claims.jti,
            issued_ms: claims.iat.unwrap_or(0) * 1_000,
            not_before_ms: claims.nbf.unwrap_or(0) * 1_000,
            expires_ms: claims.exp * 1_000,
        })
    }

    /// The user that the configured claim of a token names. `sub` is always a text (RFC 7519 §4.1.2), but a claim other
    /// than `sub` may be a whole number.
    fn user(&self, issuer: Option<&str>, subject: Option<Value>) -> Result<Id, Refusal> {
        let claim = &self.subject_claim;
        match subject {
            Some(Value::String(text)) if !text.is_empty() => Ok(subject::user(issuer, &text)),
            Some(Value::Number(number)) if claim != SUBJECT_CLAIM && !number.is_f64() => {
                Ok(subject::user(issuer, &number.to_string()))
            }
            Some(_) => Err(Refusal::new(Reason::Subject, format!("its {claim} is no text, or an empty one"))),
            None => Err(Refusal::new(Reason::Subject, format!("it has no {claim}"))),
        }
    }

    /// Derives a secret for a purpose. The secret stays the same as long as the development key's file stays the same.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.root).chain_update(purpose).finalize().into()
    }

    /// The key set of public keys, as `/.well-known/jwks.json` shows it.
    pub fn jwks(&self) -> Arc<str> {
        Arc::clone(&self.keys.read().text)
    }

    /// Whether nova has a key for checking tokens. nova has no key before the first answer of `auth.jwks_url`.
    pub fn ready(&self) -> bool {
        !self.keys.read().text.is_empty()
    }
}
