//! Tests of refused tokens and secrets.

use super::*;

#[test]
fn every_refusal_says_its_reason_to_the_operator() {
    let world = world();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        world.signed(&claims.to_string())
    };
    let good = with("jti", json!("one"));
    let (id, revoked) = (world.key().1.to_owned(), with("jti", json!("gone")));
    world.auth.revocations.put(Target::Token("gone".to_owned()), Rule { before_ms: NEVER, expires_ms: NEVER });
    let header = |header: Value| world.with_header(&header.to_string());
    let cut = good.rsplit_once('.').unwrap().0;
    for (token, reason, word) in [
        ("x".to_owned(), Reason::Malformed, "dot"),
        ("x".repeat(TOKEN_MAX_BYTES + 1), Reason::Malformed, "longer than 16384 bytes"),
        (header(json!({ "alg": "EdDSA", "kid": id, "crit": ["b64"] })), Reason::Header, "crit"),
        (header(json!({ "alg": "EdDSA", "kid": id, "typ": "logout+jwt" })), Reason::Typ, "logout+jwt"),
        (header(json!({ "alg": "RS256", "kid": id })), Reason::Algorithm, "RS256"),
        (header(json!({ "alg": "EdDSA", "kid": "other" })), Reason::UnknownKey, "other"),
        (format!("{cut}.{}", "A".repeat(86)), Reason::Signature, id.as_str()),
        (with("exp", Value::Null), Reason::Claims, "null"),
        (with("exp", json!("s".repeat(9_000))), Reason::Claims, "string"),
        (with("iss", json!("other")), Reason::Issuer, "other"),
        (with("aud", json!(["other", "others"])), Reason::Audience, "other"),
        (with("sub", json!("")), Reason::Subject, "sub"),
        (with("nbf", json!(NOW_S + 60)), Reason::NotYetValid, ""),
        (with("exp", json!(NOW_S - 60)), Reason::Expired, ""),
        (revoked, Reason::Revoked, ""),
    ] {
        let refusal = world.auth.verify(&token, NOW_MS).unwrap_err();
        assert_eq!(refusal.reason, reason, "{refusal:?}");
        assert!(refusal.detail.contains(word) && refusal.detail.len() < 250, "{refusal:?}");
    }
}

#[test]
fn a_secret_that_others_can_read_or_guess_is_refused_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let settings = KeySettings { hs256_secret_file: Some(path.clone()), ..KeySettings::default() };
    let configured = |secret: &str, mode: u32| {
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Auth::configured(dir.path(), &settings)
    };
    let secret = "0123456789abcdef0123456789abcdef";
    for (text, mode, word) in [
        (secret, 0o644, "chmod 600"),
        (secret, 0o640, "chmod 600"),
        ("short", 0o600, "at least 32"),
        ("", 0o600, "0 bytes"),
    ] {
        let error = configured(text, mode).err().unwrap().to_string();
        assert!(error.starts_with("auth.hs256_secret_file: ") && error.contains(word), "{error}");
    }
    let auth = configured(&format!("{secret}\n"), 0o600).unwrap();
    let signed = |header: Value, secret: &str| {
        raw(&header.to_string(), &claims().to_string(), &EncodingKey::from_secret(secret.as_bytes()), Algorithm::HS256)
    };
    for header in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "typ": "JWT", "kid": "any" })] {
        assert_eq!(auth.verify(&signed(header.clone(), secret), NOW_MS).unwrap().user, user());
        assert_eq!(auth.verify(&signed(header, &secret[1..]), NOW_MS).unwrap_err().reason, Reason::Signature);
    }
    for alg in ["HS512", "none", "RS256"] {
        assert!(auth.verify(&signed(json!({ "alg": alg }), secret), NOW_MS).is_err());
    }
    assert!(!auth.jwks().contains("0123") && auth.ready());
    // A key file that becomes empty while nova runs does not change the keys.
    std::fs::write(&path, "").unwrap();
    assert!(!auth.reload_file());
    assert!(auth.verify(&signed(json!({ "alg": "HS256" }), secret), NOW_MS).is_ok());
    // A new shared secret invalidates the tokens of the previous secret.
    let token = signed(json!({ "alg": "HS256" }), secret);
    std::fs::write(&path, secret.replace('0', "9")).unwrap();
    assert!(auth.reload_file() && auth.verify(&token, NOW_MS).is_err());
}

/// An earlier version of nova accepted an empty key file, because the content of the file equalled the initial value in
/// memory.
#[test]
fn a_file_that_holds_no_key_is_refused_at_the_start_however_little_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let settings = KeySettings { jwks_file: Some(path.clone()), ..KeySettings::default() };
    for text in ["", " ", "\n", "{}", "{\"keys\":[]}"] {
        std::fs::write(&path, text).unwrap();
        let error = Auth::configured(dir.path(), &settings).err().unwrap().to_string();
        assert!(error.starts_with("auth.jwks_file: ") && error.contains("keys.json"), "{text:?}: {error}");
        assert!(check_keys(&settings).is_err() && odd_keys(&settings).is_err(), "{text:?}");
    }
}
