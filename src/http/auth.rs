//! Bearer tokens: JWTs (RFC 7519, RFC 8725) of the development key, which lives beside the store.

use std::io::{Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::event::Id;

/// File of the development key within the data directory.
pub const KEY_FILE: &str = "dev-key.pem";
const ISSUER: &str = "nova-dev";
const AUDIENCE: &str = "nova";
const KEY_ID: &str = "dev";
/// A longer token is not looked at.
const TOKEN_MAX_BYTES: usize = 4_096;
/// Clocks of issuer and verifier may differ so much.
const LEEWAY_S: u64 = 30;
/// RFC 8410: an Ed25519 private key in PKCS #8 is this and 32 random bytes.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    pub sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub iss: String,
    pub aud: String,
    pub iat: u64,
    pub exp: u64,
    #[serde(default)]
    pub jti: String,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub user: Id,
    pub role: Option<String>,
}

/// Why the development key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or write the development key {path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("the development key cannot be used: {0}; remove it to have a new one made")]
    Key(#[from] jsonwebtoken::errors::Error),
}

/// Signs and verifies with the development key.
pub struct Auth {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    jwks: String,
    /// Of the key file: other secrets are derived from it.
    root: [u8; 32],
}

impl Auth {
    /// Reads the key of a data directory, or makes one (mode 0600).
    pub fn open(data_dir: &Path) -> Result<Auth, KeyError> {
        let path = data_dir.join(KEY_FILE);
        let io = |source| KeyError::Io { path: path.display().to_string(), source };
        if !path.exists() {
            std::fs::create_dir_all(data_dir).map_err(io)?;
            make_key(&path).map_err(io)?;
        }
        let pem = std::fs::read(&path).map_err(io)?;
        let signing = EncodingKey::from_ed_pem(&pem)?;
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::EdDSA)?;
        jwk.common.key_id = Some(KEY_ID.to_owned());
        let verifying = DecodingKey::from_jwk(&jwk)?;
        let jwks = serde_json::json!({ "keys": [jwk] }).to_string();
        // The algorithm is the key's, whatever the token's header says.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        let root = Sha256::digest(&pem).into();
        Ok(Auth { signing, verifying, validation, jwks, root })
    }

    /// A token for a user.
    pub fn mint(&self, user: Id, role: Option<&str>, now_ms: i64, ttl_s: u64) -> Result<String, KeyError> {
        let iat = now_ms.max(0) as u64 / 1_000;
        let claims = Claims {
            sub: user.to_string(),
            role: role.map(str::to_owned),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat,
            exp: iat + ttl_s,
            jti: uuid::Uuid::new_v4().to_string(),
        };
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, &claims, &self.signing)?)
    }

    /// Who a token is for; `None` for any that is not valid, without a reason.
    pub fn verify(&self, token: &str) -> Option<Subject> {
        if token.len() > TOKEN_MAX_BYTES || !plain_header(token) {
            return None;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).ok()?.claims;
        Some(Subject { user: Id::parse(claims.sub.as_bytes()).ok()?, role: claims.role })
    }

    /// A secret for another purpose, the same as long as the key file is.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.root).chain_update(purpose).finalize().into()
    }

    /// The public key, for `/.well-known/jwks.json`.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }
}

/// Only headers of this key and without members that point to another key or ask for more than a signature.
fn plain_header(token: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        alg: String,
        kid: Option<String>,
        typ: Option<String>,
    }
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|bytes| serde_json::from_slice::<Plain>(&bytes).ok());
    header.is_some_and(|header| {
        header.alg == "EdDSA"
            && header.kid.as_deref() == Some(KEY_ID)
            && header.typ.as_deref().is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"))
    })
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
mod tests {
    use super::*;

    fn now_ms() -> i64 {
        crate::clock::Clock::System.now_ms()
    }

    fn forged(auth: &Auth, header: &str, change: impl Fn(&mut serde_json::Value)) -> String {
        let token = auth.mint(Id::from_u128(5), None, now_ms(), 60).unwrap();
        let parts: Vec<_> = token.split('.').collect();
        let mut claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        change(&mut claims);
        let (header, claims) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{header}.{claims}.{}", parts[2])
    }

    /// Signs whatever claims with the right key.
    fn signed(auth: &Auth, claims: &serde_json::Value, header: &Header) -> String {
        jsonwebtoken::encode(header, claims, &auth.signing).unwrap()
    }

    #[test]
    fn a_minted_token_is_verified_also_after_the_key_was_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let token = Auth::open(dir.path()).unwrap().mint(Id::from_u128(5), Some("admin"), now_ms(), 60).unwrap();
        let again = Auth::open(dir.path()).unwrap();
        let subject = again.verify(&token).unwrap();
        assert_eq!((subject.user, subject.role.as_deref()), (Id::from_u128(5), Some("admin")));
        assert!(again.jwks().contains("Ed25519") && !again.jwks().contains("\"d\""));
        let other = tempfile::tempdir().unwrap();
        assert_eq!(Auth::open(other.path()).unwrap().verify(&token), None, "another node's key");
    }

    #[test]
    fn hostile_tokens_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth::open(dir.path()).unwrap();
        let now_s = now_ms() / 1_000;
        let good = serde_json::json!({
            "sub": Id::from_u128(5).to_string(), "iss": ISSUER, "aud": AUDIENCE, "iat": now_s, "exp": now_s + 60,
        });
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::EdDSA) };
        assert!(auth.verify(&signed(&auth, &good, &header)).is_some());
        let mut refused: Vec<String> = Vec::new();
        let edits: [(&str, serde_json::Value); 16] = [
            ("exp", (now_s - 60).into()),
            ("exp", "tomorrow".into()),
            ("exp", serde_json::Value::Null),
            ("exp", (-1).into()),
            ("nbf", (now_s + 600).into()),
            ("iss", "other".into()),
            ("iss", serde_json::json!(["other"])),
            ("iss", serde_json::Value::Null),
            ("aud", "other".into()),
            ("aud", serde_json::Value::Null),
            ("sub", "root".into()),
            ("sub", "".into()),
            ("sub", 5.into()),
            ("sub", serde_json::Value::Null),
            ("sub", serde_json::json!({"id": 1})),
            ("role", serde_json::json!(["admin"])),
        ];
        for (name, value) in edits {
            let mut claims = good.clone();
            claims[name] = value;
            refused.push(signed(&auth, &claims, &header));
        }
        for header in [
            Header { kid: None, ..header.clone() },
            Header { kid: Some("other".to_owned()), ..header.clone() },
            Header { jku: Some("https://evil.example/keys".to_owned()), ..header.clone() },
            Header { x5u: Some("https://evil.example/cert".to_owned()), ..header.clone() },
            Header { typ: Some("at+evil".to_owned()), ..header.clone() },
        ] {
            refused.push(signed(&auth, &good, &header));
        }
        // HS256 keyed with the public key, the classic confusion.
        let mut confused = Header::new(Algorithm::HS256);
        confused.kid = Some(KEY_ID.to_owned());
        let secret = EncodingKey::from_secret(auth.jwks.as_bytes());
        refused.push(jsonwebtoken::encode(&confused, &good, &secret).unwrap());
        let plain = r#"{"alg":"EdDSA","kid":"dev","typ":"JWT"}"#;
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"none","kid":"dev"}"#,
            r#"{"alg":"NONE","kid":"dev"}"#,
            r#"{"alg":"HS256","kid":"dev"}"#,
            r#"{"alg":"RS256","kid":"dev"}"#,
            r#"{"alg":"EdDSA","alg":"none","kid":"dev"}"#,
            r#"{"alg":"EdDSA","kid":"dev","crit":["exp"]}"#,
            r#"{"alg":"EdDSA","kid":"dev","jwk":{}}"#,
            "[]",
            "",
        ] {
            refused.push(forged(&auth, header, |_| {}));
        }
        refused.push(forged(&auth, plain, |claims| claims["sub"] = Id::from_u128(6).to_string().into()));
        refused.push(forged(&auth, plain, |claims| claims["role"] = "admin".into()));
        let token = signed(&auth, &good, &header);
        let parts: Vec<_> = token.split('.').collect();
        refused.extend([
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}.x"),
            format!("{token}="),
            format!(" {token}"),
            token.replace('.', ".."),
            format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
            format!("{}.{}.{}", "A".repeat(5_000), parts[1], parts[2]),
            "é.é.é".to_owned(),
        ]);
        assert!(refused.len() >= 40, "{}", refused.len());
        for token in &refused {
            assert_eq!(auth.verify(token), None, "{token}");
        }
    }
}
