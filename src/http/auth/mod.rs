//! Bearer tokens: JWTs (RFC 7519, RFC 8725) of the development key, which lives beside the store, or of a configured
//! key set. The algorithm is the key's, whatever a token says.

mod cache;
mod keys;
pub mod revocation;
mod source;
mod token;

use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::breaker::BreakerState;
use crate::event::Id;

use self::cache::TokenCache;
use self::keys::{Key, KeySet, KeySetError, algorithm_name};
use self::revocation::Revocations;
use self::source::Fetch;
use super::settings::KeySettings;

/// File of the development key within the data directory.
pub const KEY_FILE: &str = "dev-key.pem";
const ISSUER: &str = "nova-dev";
const AUDIENCE: &str = "nova";
/// Clocks of issuer and verifier may differ so much.
const LEEWAY_MS: i64 = 30_000;
/// RFC 8410: an Ed25519 private key in PKCS #8 is this and 32 random bytes.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What a token of the development key says.
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

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub user: Id,
    pub role: Option<String>,
}

impl Subject {
    pub fn has_role(&self, roles: &[&str]) -> bool {
        self.role.as_deref().is_some_and(|role| roles.contains(&role))
    }
}

/// Why no token can be signed or checked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or write the development key {path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("the development key cannot be used: {0}; remove it to have a new one made")]
    Key(#[from] jsonwebtoken::errors::Error),
    #[error("the development key cannot be used: {0}; remove it to have a new one made")]
    Own(#[from] KeySetError),
    #[error("auth.jwks_file: {path}: {detail}")]
    File { path: String, detail: String },
    #[error("auth.jwks_url: {0}")]
    Url(String),
    #[error("tokens come from the configured issuer: nova signs its own only while no auth.* setting is made")]
    Configured,
}

/// A token whose signature was checked, and all that can end it.
pub(super) struct Verified {
    subject: Subject,
    key: Arc<Key>,
    jti: Option<String>,
    /// 0 where the token does not say: every not-before rule takes it.
    issued_ms: i64,
    not_before_ms: i64,
    expires_ms: i64,
}

impl Verified {
    fn in_time(&self, now_ms: i64) -> bool {
        let begun = self.not_before_ms.max(self.issued_ms) <= now_ms + LEEWAY_MS;
        begun && now_ms < self.expires_ms + LEEWAY_MS
    }
}

/// Where the keys come from.
enum KeySource {
    Development,
    File { path: PathBuf, last: Mutex<String> },
    Url { fetch: Box<Fetch>, wanted: Notify, breaker: Mutex<BreakerState> },
}

/// Checks tokens; signs them with the development key.
pub struct Auth {
    /// Set while the development key is in force.
    signing: Option<(EncodingKey, String)>,
    source: KeySource,
    keys: RwLock<Arc<KeySet>>,
    issuer: Option<String>,
    audience: Option<String>,
    cache: TokenCache,
    /// Shared with the writer's answers: a rule holds from its commit on.
    pub revocations: Arc<Revocations>,
    /// Of the key file: other secrets are derived from it.
    root: [u8; 32],
}

impl Auth {
    /// With the key of a data directory, made (mode 0600) where there is none.
    pub fn open(data_dir: &Path) -> Result<Auth, KeyError> {
        Auth::configured(data_dir, &KeySettings::default())
    }

    /// With the configured keys; the data directory's key then only makes secrets.
    pub fn configured(data_dir: &Path, settings: &KeySettings) -> Result<Auth, KeyError> {
        let pem = own_key(data_dir)?;
        let root = Sha256::digest(&pem).into();
        let (mut signing, mut issuer, mut audience) = (None, settings.issuer.clone(), settings.audience.clone());
        let (source, keys) = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), _) => {
                let wrong = |detail| KeyError::File { path: path.display().to_string(), detail };
                let (text, keys) = source::read(path).map_err(wrong)?;
                (KeySource::File { path: path.clone(), last: Mutex::new(text) }, keys)
            }
            (None, Some(url)) => {
                let fetch = Box::new(Fetch::new(url).map_err(KeyError::Url)?);
                let breaker = Mutex::new(BreakerState::Closed);
                (KeySource::Url { fetch, wanted: Notify::new(), breaker }, KeySet::default())
            }
            (None, None) => {
                let key = EncodingKey::from_ed_pem(&pem)?;
                let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA)?;
                // Another key has another id: revoking a key does not lock out the one after it.
                let id = format!("dev-{}", &jwk.thumbprint(ThumbprintHash::SHA256)?[..8]);
                jwk.common.key_id = Some(id.clone());
                let keys = KeySet::parse(&serde_json::json!({ "keys": [jwk] }).to_string())?;
                signing = Some((key, id));
                issuer = Some(ISSUER.to_owned());
                audience = Some(AUDIENCE.to_owned());
                (KeySource::Development, keys)
            }
        };
        for (name, value) in [("issuer", &issuer), ("audience", &audience)] {
            if value.is_none() {
                tracing::warn!("auth.{name} is not set: tokens for anyone else are taken too");
            }
        }
        let (keys, cache) = (RwLock::new(Arc::new(keys)), TokenCache::new(RandomState::new().hash_one(root)));
        Ok(Auth { signing, source, keys, issuer, audience, cache, revocations: Arc::default(), root })
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

    /// Who a token is for at this time; `None` for any that is not valid, without a reason.
    pub fn verify(&self, token: &str, now_ms: i64) -> Option<Subject> {
        if token.len() > token::TOKEN_MAX_BYTES {
            return None;
        }
        let keys = Arc::clone(&self.keys.read());
        let known = self.cache.get(token).filter(|known| keys.holds(&known.key));
        let verified = match known {
            Some(known) => known,
            None => {
                let verified = Arc::new(self.check(token, &keys)?);
                if !verified.in_time(now_ms) {
                    return None;
                }
                self.cache.put(token, Arc::clone(&verified));
                verified
            }
        };
        let valid = verified.in_time(now_ms) && !self.revocations.take(&verified, now_ms);
        valid.then(|| verified.subject.clone())
    }

    /// Everything that does not change with time.
    fn check(&self, token: &str, keys: &KeySet) -> Option<Verified> {
        let token = token::split(token)?;
        let Some(key) = keys.get(&token.kid) else {
            if let KeySource::Url { wanted, .. } = &self.source {
                wanted.notify_one();
            }
            return None;
        };
        if token.alg != algorithm_name(key.algorithm) {
            return None;
        }
        let message = token.message.as_bytes();
        if !jsonwebtoken::crypto::verify(token.signature, message, &key.key, key.algorithm).ok()? {
            return None;
        }
        let claims = token::claims(token.payload)?;
        let issued_here = self.issuer.is_none() || claims.iss == self.issuer;
        let for_us = |name: &String| claims.aud.as_ref().is_some_and(|aud| aud.contains(name));
        if !issued_here || !self.audience.as_ref().is_none_or(for_us) {
            return None;
        }
        Some(Verified {
            subject: Subject { user: Id::parse(claims.sub.as_bytes()).ok()?, role: claims.role },
            key: Arc::clone(key),
            jti: claims.jti,
            issued_ms: claims.iat.unwrap_or(0) * 1_000,
            not_before_ms: claims.nbf.unwrap_or(0) * 1_000,
            expires_ms: claims.exp * 1_000,
        })
    }

    /// Puts another key set in force; tokens of keys that are gone are refused from now on.
    fn replace(&self, keys: KeySet) {
        let mut current = self.keys.write();
        if current.text != keys.text {
            tracing::info!("the key set changed");
            *current = Arc::new(keys);
        }
    }

    /// A secret for another purpose, the same as long as the key file is.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.root).chain_update(purpose).finalize().into()
    }

    /// The public keys, for `/.well-known/jwks.json`.
    pub fn jwks(&self) -> Arc<str> {
        Arc::clone(&self.keys.read().text)
    }

    /// Whether `auth.jwks_url` is being asked; `None` where there is no address to ask.
    pub fn breaker(&self) -> Option<BreakerState> {
        match &self.source {
            KeySource::Url { breaker, .. } => Some(*breaker.lock()),
            KeySource::Development | KeySource::File { .. } => None,
        }
    }

    /// Whether there is a key to check tokens with: not before the first answer of `auth.jwks_url`.
    pub fn ready(&self) -> bool {
        !self.keys.read().text.is_empty()
    }
}

fn own_key(data_dir: &Path) -> Result<Vec<u8>, KeyError> {
    let path = data_dir.join(KEY_FILE);
    let io = |source| KeyError::Io { path: path.display().to_string(), source };
    if !path.exists() {
        crate::files::private_dir(data_dir).map_err(io)?;
        make_key(&path).map_err(io)?;
    }
    crate::files::check_private_key(&path).map_err(io)?;
    std::fs::read(&path).map_err(io)
}

fn make_key(path: &Path) -> std::io::Result<()> {
    let mut der = PKCS8_PREFIX.to_vec();
    std::fs::File::open("/dev/urandom")?.take(32).read_to_end(&mut der)?;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&der));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(pem.as_bytes())
}

#[cfg(test)]
mod tests;
