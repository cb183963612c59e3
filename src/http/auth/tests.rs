//! Tests of tokens that are accepted, and a table of tokens that are refused.

mod issuers;
mod refusals;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::event::Id;
use crate::http::settings::{ANY, KeySettings};

use super::revocation::{Rule, Target};
use super::verified::Verified;
use super::verify::TOKEN_MAX_BYTES;
use super::*;

const NOW_MS: i64 = 1_795_500_000_000;
const NOW_S: i64 = NOW_MS / 1_000;
const NEVER: i64 = i64::MAX;

fn user() -> Id {
    Id::from_u128(5)
}

/// A verified token with arbitrary content.
pub(super) fn verified() -> Arc<Verified> {
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::open(dir.path()).unwrap();
    let token = auth.mint(user(), None, NOW_MS, 60).unwrap();
    Arc::new(auth.check(&token, &auth.keys.read()).unwrap())
}

/// A token of arbitrary text.
fn raw(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    json!({
        "sub": user().to_string(), "iss": ISSUER, "aud": AUDIENCE, "iat": NOW_S, "exp": NOW_S + 60, "jti": "one",
    })
}

struct World {
    _dir: tempfile::TempDir,
    auth: Auth,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::open(dir.path()).unwrap();
    World { _dir: dir, auth }
}

impl World {
    fn key(&self) -> (&EncodingKey, &str) {
        let (key, id) = self.auth.signing.as_ref().unwrap();
        (key, id)
    }

    fn header(&self) -> String {
        json!({ "alg": "EdDSA", "kid": self.key().1, "typ": "JWT" }).to_string()
    }

    fn signed(&self, claims: &str) -> String {
        raw(&self.header(), claims, self.key().0, Algorithm::EdDSA)
    }

    fn with_header(&self, header: &str) -> String {
        raw(header, &claims().to_string(), self.key().0, Algorithm::EdDSA)
    }
}

#[test]
fn a_minted_token_is_verified_also_after_the_key_was_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let token = Auth::open(dir.path()).unwrap().mint(user(), Some("admin"), NOW_MS, 60).unwrap();
    let again = Auth::open(dir.path()).unwrap();
    let subject = again.verify(&token, NOW_MS).unwrap();
    assert_eq!((subject.user, subject.roles), (user(), Roles { admin: true, service: false }));
    assert!(again.jwks().contains("Ed25519") && !again.jwks().contains("\"d\""));
    let other = tempfile::tempdir().unwrap();
    let refusal = Auth::open(other.path()).unwrap().verify(&token, NOW_MS).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownKey, "another node's key");
}

/// Sets of claims, each of which is invalid because of one change.
fn bad_claims() -> Vec<String> {
    let edits = [
        ("exp", json!(NOW_S - 60)),
        ("exp", json!("tomorrow")),
        ("exp", Value::Null),
        ("exp", json!(-1)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(1e300)),
        ("exp", json!(true)),
        ("nbf", json!(NOW_S + 600)),
        ("nbf", json!("now")),
        ("nbf", json!(-1e300)),
        ("iat", json!(NOW_S + 600)),
        ("iat", json!([NOW_S])),
        ("iss", json!("other")),
        ("iss", json!(["nova-dev"])),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!(["other", "others"])),
        ("aud", json!([])),
        ("aud", json!({"0": AUDIENCE})),
        ("aud", Value::Null),
        ("sub", json!("")),
        ("sub", json!(5)),
        ("sub", Value::Null),
        ("sub", json!({"id": 1})),
        ("jti", json!(7)),
    ];
    let mut all: Vec<String> = edits
        .into_iter()
        .map(|(name, value)| {
            let mut claims = claims();
            claims[name] = value;
            claims.to_string()
        })
        .collect();
    let good = claims().to_string();
    let open = good.strip_suffix('}').unwrap();
    all.extend([
        // The claims below have repeated members, or numbers that do not fit into an integer.
        format!("{open},\"sub\":\"{}\"}}", Id::from_u128(6)),
        format!("{open},\"exp\":{}}}", NOW_S + 60),
        format!("{open},\"role\":\"admin\",\"role\":null}}"),
        format!("{open},\"nbf\":1e999}}"),
        format!("{open},\"nbf\":{}}}", "9".repeat(400)),
        format!("{open},\"nbf\":{}{}}}", "[".repeat(500), "]".repeat(500)),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        // nova must not accept an array of the claims' values in place of an object with the claims.
        json!(["admin", ISSUER, AUDIENCE, NOW_S, NOW_S, NOW_S + 60, "one"]).to_string(),
        String::new(),
        good[..good.len() - 1].to_owned(),
        format!("{good}{good}"),
    ]);
    all
}

fn bad_headers(id: &str) -> Vec<String> {
    let plain = json!({ "alg": "EdDSA", "kid": id, "typ": "JWT" });
    let edits = [
        ("kid", json!(7)),
        ("kid", json!("other")),
        ("kid", json!("../../dev-key.pem")),
        ("kid", json!("' OR 1=1 --")),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("jwk", json!({})),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("typ", json!("at+evil")),
        ("typ", json!("application/dpop+jwt")),
        ("typ", json!("text/jwt")),
        ("typ", json!("")),
        ("typ", json!(7)),
        ("alg", json!("none")),
        ("alg", json!("NONE")),
        ("alg", json!("")),
        ("alg", json!("HS256")),
        ("alg", json!("RS256")),
        ("alg", json!("ES256")),
        ("alg", json!("eddsa")),
        ("alg", json!(["EdDSA"])),
        ("alg", Value::Null),
    ];
    let mut all: Vec<String> = edits
        .into_iter()
        .map(|(name, value)| {
            let mut header = plain.clone();
            header[name] = value;
            header.to_string()
        })
        .collect();
    all.push(format!(r#"{{"alg":"EdDSA","alg":"none","kid":"{id}"}}"#));
    all.push(format!(r#"{{"alg":"EdDSA","kid":"other","kid":"{id}"}}"#));
    all.push("[]".to_owned());
    all.push(json!(["EdDSA", id, "JWT"]).to_string());
    all.push(String::new());
    all
}

#[test]
fn hostile_tokens_are_refused() {
    let world = world();
    let good = world.signed(&claims().to_string());
    assert!(world.auth.verify(&good, NOW_MS).is_ok());
    let mut refused: Vec<String> = bad_claims().iter().map(|claims| world.signed(claims)).collect();
    refused.extend(bad_headers(world.key().1).iter().map(|header| world.with_header(header)));
    let header = world.header();
    // A well-known attack signs a token by HS256 with the public key as the secret. The test tries each form of the
    // public key.
    let public = world.auth.jwks();
    let x = serde_json::from_str::<Value>(&public).unwrap()["keys"][0]["x"].as_str().unwrap().to_owned();
    for secret in [public.as_bytes(), x.as_bytes(), &URL_SAFE_NO_PAD.decode(&x).unwrap()] {
        for alg in ["HS256", "EdDSA"] {
            let header = header.replace("EdDSA", alg);
            refused.push(raw(&header, &claims().to_string(), &EncodingKey::from_secret(secret), Algorithm::HS256));
        }
    }
    let parts: Vec<_> = good.split('.').collect();
    let swap = |change: fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
    };
    refused.extend([
        swap(|claims| claims["sub"] = Id::from_u128(6).to_string().into()),
        swap(|claims| claims["role"] = "admin".into()),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        format!("{good}.a.b"),
        format!("{good}="),
        format!(" {good}"),
        good.replace('.', ".."),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
        format!("{}.{}.{}", "A".repeat(10_000), parts[1], parts[2]),
        // The payload of each token below is itself a token, or contains a token as a claim.
        raw(&header, &good, world.key().0, Algorithm::EdDSA),
        world.signed(&json!(good).to_string()),
        "é.é.é".to_owned(),
    ]);
    assert!(refused.len() >= 80, "{}", refused.len());
    for token in &refused {
        assert!(world.auth.verify(token, NOW_MS).is_err(), "{token}");
        assert!(world.auth.verify(token, NOW_MS).is_err(), "at its second use: {token}");
    }
    assert!(world.auth.verify(&good, NOW_MS).is_ok());
}

#[test]
fn a_cached_token_ends_with_its_time_and_its_revocation() {
    let world = world();
    let token = |change: fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        world.signed(&claims.to_string())
    };
    let (one, two) = (token(|_| {}), token(|claims| claims["jti"] = "two".into()));
    let young = token(|claims| claims["iat"] = (NOW_S + 5).into());
    let undated = token(|claims| drop(claims.as_object_mut().unwrap().remove("iat")));
    let auth = &world.auth;
    let valid =
        |tokens: &[&String], now_ms| tokens.iter().map(|token| auth.verify(token, now_ms).is_ok()).collect::<Vec<_>>();
    let all = [&one, &two, &young, &undated];
    assert_eq!(valid(&all, NOW_MS), [true; 4]);
    assert_eq!(valid(&all, NOW_MS + 89_999), [true; 4], "leeway");
    assert_eq!(valid(&all, NOW_MS + 90_000), [false; 4], "cached, then expired");
    assert_eq!(valid(&[&young], NOW_MS - 26_000), [false], "cached, and not yet valid");
    let rule = Rule { before_ms: NEVER, expires_ms: NEVER };
    auth.revocations.put(Target::Token("one".to_owned()), rule);
    assert_eq!(valid(&all, NOW_MS), [false, true, false, false]);
    auth.revocations.remove(&Target::Token("one".to_owned()));
    assert_eq!(valid(&all, NOW_MS), [true; 4]);
    auth.revocations.put(Target::User(user()), Rule { before_ms: NOW_MS + 1, expires_ms: NOW_MS + 1_000 });
    assert_eq!(valid(&all, NOW_MS), [false, false, true, false], "issued up to now");
    assert_eq!(valid(&all, NOW_MS + 1_000), [true; 4], "the rule expired");
    auth.revocations.put(Target::User(user()), Rule { before_ms: NOW_MS - 60_000, expires_ms: NOW_MS + 2_000 });
    assert_eq!(valid(&all, NOW_MS), [false, false, true, false], "a weaker rule does not weaken");
    auth.revocations.remove(&Target::User(user()));
    let within = |ms| auth.revocations.put(Target::User(user()), Rule { before_ms: NOW_MS + ms, expires_ms: NEVER });
    within(-1);
    assert_eq!(valid(&all, NOW_MS), [true, true, true, false], "issued in the second after");
    within(0);
    assert_eq!(valid(&all, NOW_MS), [false, false, true, false], "issued in the very second");
    within(4_999);
    assert_eq!(valid(&all, NOW_MS), [false, false, true, false]);
    auth.revocations.remove(&Target::User(user()));
    auth.revocations.put(Target::Key(world.key().1.to_owned()), rule);
    assert_eq!(valid(&all, NOW_MS + 5_000), [false; 4]);
}

/// A key set with one key of each kind, and the private keys that belong to the keys of the set.
fn foreign_keys() -> (Value, Vec<(&'static str, Algorithm, EncodingKey)>) {
    let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let point = ec.public_key_raw();
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let rsa_key = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
    let ec_key = EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap();
    let mut rsa_jwk = serde_json::to_value(Jwk::from_encoding_key(&rsa_key, Algorithm::RS256).unwrap()).unwrap();
    rsa_jwk["kid"] = "rsa".into();
    let keys = json!({ "keys": [
        rsa_jwk,
        { "kty": "EC", "crv": "P-256", "kid": "ec", "x": base64(&point[1..33]), "y": base64(&point[33..]) },
    ]});
    (keys, vec![("rsa", Algorithm::RS256, rsa_key), ("ec", Algorithm::ES256, ec_key)])
}

fn foreign_token(kid: &str, alg: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let claims = json!({
        "sub": user().to_string(), "iss": "https://id.example", "aud": ["nova", "other"], "exp": NOW_S as f64 + 60.5,
        "iat": NOW_S, "scope": "everything",
    });
    let header = json!({ "alg": alg, "kid": kid, "typ": "at+jwt", "x5t": "abc", "x5t#S256": "def", "cty": "x" });
    raw(&header.to_string(), &claims.to_string(), key, algorithm)
}

#[test]
fn configured_keys_are_pinned_to_their_algorithm_and_kept_when_a_reload_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let (mut jwks, keys) = foreign_keys();
    std::fs::write(&path, jwks.to_string()).unwrap();
    let settings = KeySettings {
        jwks_file: Some(path.clone()),
        issuer: Some("https://id.example".to_owned()),
        audience: vec!["nova".to_owned()],
        ..KeySettings::default()
    };
    let auth = Auth::configured(dir.path(), &settings).unwrap();
    assert!(matches!(auth.mint(user(), None, NOW_MS, 60), Err(KeyError::Configured)));
    let tokens: Vec<_> = keys
        .iter()
        .map(|(kid, algorithm, key)| foreign_token(kid, jwk::names(*algorithm)[0], key, *algorithm))
        .collect();
    let valid = || tokens.iter().map(|token| auth.verify(token, NOW_MS).is_ok()).collect::<Vec<_>>();
    assert_eq!(valid(), [true, true]);
    let (rsa, ec) = (&keys[0], &keys[1]);
    let secret = EncodingKey::from_secret(jwks["keys"][0]["n"].as_str().unwrap().as_bytes());
    let own = Auth::open(dir.path()).unwrap();
    for token in [
        foreign_token("rsa", "HS256", &secret, Algorithm::HS256),
        foreign_token("rsa", "RS256", &secret, Algorithm::HS256),
        foreign_token("rsa", "RS512", &rsa.2, Algorithm::RS512),
        foreign_token("rsa", "PS256", &rsa.2, Algorithm::PS256),
        foreign_token("rsa", "ES256", &ec.2, Algorithm::ES256),
        foreign_token("ec", "RS256", &rsa.2, Algorithm::RS256),
        foreign_token("ec", "ES256", &rsa.2, Algorithm::RS256),
        foreign_token("rsa", "RS256", &ec.2, Algorithm::ES256),
        own.mint(user(), Some("admin"), NOW_MS, 60).unwrap(),
    ] {
        assert!(auth.verify(&token, NOW_MS).is_err(), "{token}");
    }
    // An invalid key file does not change the keys. The removal of a key from the file invalidates the key's cached
    // tokens.
    assert!(!auth.reload_file());
    std::fs::write(&path, "{").unwrap();
    assert!(!auth.reload_file());
    std::fs::remove_file(&path).unwrap();
    assert!(!auth.reload_file());
    assert_eq!(valid(), [true, true]);
    jwks["keys"].as_array_mut().unwrap().remove(0);
    std::fs::write(&path, jwks.to_string()).unwrap();
    assert!(auth.reload_file());
    assert_eq!(valid(), [false, true]);
    assert!(matches!(
        Auth::configured(dir.path(), &KeySettings { jwks_file: Some("/nowhere".into()), ..settings }),
        Err(KeyError::File { .. })
    ));
}

#[test]
fn an_address_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["", "keys.json", "ftp://x/keys", "https://", "/keys"] {
        let settings = KeySettings { jwks_url: Some(url.to_owned()), ..KeySettings::default() };
        assert!(matches!(Auth::configured(dir.path(), &settings), Err(KeyError::Url(_))), "{url}");
    }
}
