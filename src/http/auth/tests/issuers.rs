//! Tests of tokens and key sets in the form that well-known issuers document, with keys that the tests make.

use super::*;

/// An RSA key pair, and its JWK without an id.
fn rsa() -> (EncodingKey, Value) {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
    let jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap()).unwrap();
    let jwk = json!({ "kty": "RSA", "n": jwk["n"], "e": jwk["e"] });
    (key, jwk)
}

/// Adds members to a JWK. A member with the value null is removed.
fn with(jwk: &Value, more: Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(jwk.as_object_mut().unwrap().remove(name)),
            value => jwk[name] = value.clone(),
        }
    }
    jwk
}

/// One issuer: its settings, and one of its tokens.
struct Issuer {
    auth: Auth,
    _dir: tempfile::TempDir,
    key: EncodingKey,
    header: Value,
    claims: Value,
}

impl Issuer {
    /// `keys` makes the key set from the signing key's JWK.
    fn new(settings: KeySettings, header: Value, claims: Value, keys: impl Fn(&Value) -> Value) -> Issuer {
        let ((key, jwk), dir) = (rsa(), tempfile::tempdir().unwrap());
        let path = dir.path().join("keys.json");
        std::fs::write(&path, json!({ "keys": keys(&jwk) }).to_string()).unwrap();
        let auth = Auth::configured(dir.path(), &KeySettings { jwks_file: Some(path), ..settings }).unwrap();
        Issuer { auth, _dir: dir, key, header, claims }
    }

    fn verify(&self, header: Value, claims: Value) -> Result<Subject, Reason> {
        let token = raw(
            &with(&self.header, header).to_string(),
            &with(&self.claims, claims).to_string(),
            &self.key,
            Algorithm::RS256,
        );
        self.auth.verify(&token, NOW_MS).map_err(|refusal| refusal.reason)
    }

    fn user(&self) -> String {
        self.verify(json!({}), json!({})).unwrap().user.to_string()
    }

    /// Checks refusals that apply to every issuer.
    fn refuses(&self) {
        for (header, claims, reason) in [
            (json!({}), json!({ "iss": "https://evil.example" }), Reason::Issuer),
            (json!({}), json!({ "exp": NOW_S - 3_600 }), Reason::Expired),
            (json!({ "typ": "dpop+jwt" }), json!({}), Reason::Typ),
            (json!({ "jku": "https://evil.example/keys" }), json!({}), Reason::Header),
            (json!({ "crit": ["x"], "x": 1 }), json!({}), Reason::Header),
            (json!({ "kid": "nobody's" }), json!({}), Reason::UnknownKey),
            (json!({ "alg": "HS256" }), json!({}), Reason::Algorithm),
        ] {
            assert_eq!(self.verify(header.clone(), claims.clone()).unwrap_err(), reason, "{header} {claims}");
        }
    }
}

fn settings(issuer: &str, audience: &[&str]) -> KeySettings {
    let audience = audience.iter().map(|name| (*name).to_owned()).collect();
    KeySettings { issuer: Some(issuer.to_owned()), audience, ..KeySettings::default() }
}

fn named(issuer: &str, subject: &str) -> String {
    let name = format!("{issuer}#{subject}");
    subject::user(None, &name).to_string()
}

#[test]
fn clerk() {
    // The token is a session token of version 2, with `cat` in the header, no `aud`, and a subject that is no UUID.
    let issuer = "https://clean-mayfly-62.clerk.accounts.dev";
    let header =
        json!({ "alg": "RS256", "cat": "cl_B7d4PD111AAA", "kid": "ins_2GIoQhbUpy0hX7B2cVkuTMinXoD", "typ": "JWT" });
    let claims = json!({
        "azp": "https://app.example", "exp": NOW_S + 60, "fva": [0, -1], "iat": NOW_S, "iss": issuer, "jti": "39a0",
        "nbf": NOW_S - 10, "sid": "sess_2GbDB4enNdCa5vS1zpC3Xzg9tK9", "sts": "active", "sub": "user_2GIpXOEpVyJw51rkZn9Kmnc6Sxr",
        "v": 2, "pla": "u:free", "o": { "id": "org_2", "rol": "admin" },
    });
    let keys = |jwk: &Value| {
        json!([with(jwk, json!({ "use": "sig", "kid": "ins_2GIoQhbUpy0hX7B2cVkuTMinXoD", "alg": "RS256" }))])
    };
    let clerk = Issuer::new(settings(issuer, &[ANY]), header, claims, keys);
    assert_eq!(clerk.user(), named(issuer, "user_2GIpXOEpVyJw51rkZn9Kmnc6Sxr"));
    clerk.refuses();
}

#[test]
fn entra() {
    // The key set has no `alg`, and the token's subject is pairwise. The person's id is in `oid`, and the application's
    // roles are in `roles`.
    let issuer = "https://login.microsoftonline.com/3338040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let kid = "nOo3ZDrODXEK1jKWhXslHR_KXEg";
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": kid, "x5t": kid, "nonce": "AQABAAAAAAD" });
    let claims = json!({
        "ver": "2.0", "iss": issuer, "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "aud": "6cb04018-a3f5-46a7-b995-940c78f5aef3", "exp": NOW_S + 3_600, "iat": NOW_S, "nbf": NOW_S,
        "name": "Abe Lincoln", "oid": "00000000-0000-0000-66f3-3332eca7ea81", "roles": ["Reader"], "uti": "x",
        "tid": "3338040d-6c67-4c5b-b112-36a304b66dad", "groups": vec![Id::NIL.to_string(); 190],
    });
    let keys = |jwk: &Value| {
        let more = json!({ "use": "sig", "kid": kid, "x5t": kid, "x5c": ["MIIC/TCCAeWgAwIBAgI"], "issuer": issuer });
        json!([with(&rsa().1, json!({ "use": "sig", "kid": "other" })), with(jwk, more)])
    };
    let mut settings = settings(issuer, &["api://nova", "6cb04018-a3f5-46a7-b995-940c78f5aef3"]);
    settings.subject_claim = Some("oid".to_owned());
    let entra = Issuer::new(settings, header, claims, keys);
    assert_eq!(entra.user(), "00000000-0000-0000-66f3-3332eca7ea81");
    assert_eq!(
        entra.verify(json!({}), json!({ "aud": "00000003-0000-0000-c000-000000000000" })),
        Err(Reason::Audience)
    );
    assert_eq!(entra.verify(json!({}), json!({ "oid": null })), Err(Reason::Subject));
    entra.refuses();
}

#[test]
fn auth0() {
    // The token is an access token by RFC 9068 for an API. The key set has two keys, as before a rotation. The issuer's
    // URL ends with a slash.
    let issuer = "https://tenant.eu.auth0.example/";
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "Nzc5" });
    let claims = json!({
        "iss": issuer, "sub": "auth0|5f7c8ec7c33c6c004bbafe82", "aud": ["https://nova.example", "https://tenant.eu.auth0.example/userinfo"],
        "iat": NOW_S, "exp": NOW_S + 86_400, "azp": "my_client_id", "scope": "openid profile", "jti": "x", "client_id": "my_client_id",
    });
    let keys = |jwk: &Value| {
        let shape = |kid: &str| json!({ "use": "sig", "alg": "RS256", "kid": kid, "x5t": kid, "x5c": ["MIIDA"] });
        json!([with(jwk, shape("Nzc5")), with(&rsa().1, shape("Nzc6"))])
    };
    let mut settings = settings(issuer, &["https://nova.example"]);
    settings.require_typ = Some("at+jwt".to_owned());
    let auth0 = Issuer::new(settings, header, claims, keys);
    assert_eq!(auth0.user(), named(issuer, "auth0|5f7c8ec7c33c6c004bbafe82"));
    for typ in ["AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(auth0.verify(json!({ "typ": typ }), json!({})).is_ok(), "{typ}");
    }
    // An ID token is for the application and not for an API.
    assert_eq!(auth0.verify(json!({ "typ": "JWT" }), json!({})), Err(Reason::Typ));
    assert_eq!(auth0.verify(json!({ "typ": null }), json!({})), Err(Reason::Typ));
    assert_eq!(auth0.verify(json!({}), json!({ "iss": issuer.trim_end_matches('/') })), Err(Reason::Issuer));
    // The subject of a machine's token is a client.
    let machine =
        auth0.verify(json!({}), json!({ "sub": "x@clients", "gty": "client-credentials", "role": "service" }));
    assert!(machine.unwrap().roles.service);
    auth0.refuses();
}

#[test]
fn firebase() {
    let issuer = "https://securetoken.google.com/my-project";
    let header = json!({ "alg": "RS256", "kid": "dc37f7c6", "typ": "JWT" });
    let claims = json!({
        "iss": issuer, "aud": "my-project", "auth_time": NOW_S - 100, "user_id": "UnT8sD4mvXbN0e1kqjQ1hEK6Gpx1",
        "sub": "UnT8sD4mvXbN0e1kqjQ1hEK6Gpx1", "iat": NOW_S, "exp": NOW_S + 3_600, "email_verified": true,
        "firebase": { "identities": { "email": ["a@b.example"] }, "sign_in_provider": "password" }, "role": "moderator",
    });
    let keys = |jwk: &Value| {
        let shape = |kid: &str| json!({ "use": "sig", "alg": "RS256", "kid": kid });
        json!([with(&rsa().1, shape("8e1b")), with(jwk, shape("dc37f7c6"))])
    };
    let firebase = Issuer::new(settings(issuer, &["my-project"]), header, claims, keys);
    assert_eq!(firebase.user(), named(issuer, "UnT8sD4mvXbN0e1kqjQ1hEK6Gpx1"));
    assert_eq!(firebase.verify(json!({}), json!({ "aud": "another-project" })), Err(Reason::Audience));
    firebase.refuses();
}

#[test]
fn cognito() {
    // Access tokens of this issuer have neither `typ` nor `aud`, and the subject is a UUID.
    let issuer = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_example";
    let header = json!({ "kid": "abcdefghijklmnopqrsexample=", "alg": "RS256" });
    let claims = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["admin"], "iss": issuer, "version": 2,
        "client_id": "xxxxxxxxxxxxexample", "origin_jti": "a", "event_id": "b", "token_use": "access",
        "scope": "openid", "auth_time": NOW_S, "exp": NOW_S + 3_600, "iat": NOW_S, "jti": "c", "username": "my-test-user",
    });
    let keys = |jwk: &Value| {
        let shape = |kid: &str| json!({ "alg": "RS256", "use": "sig", "kid": kid });
        json!([with(jwk, shape("abcdefghijklmnopqrsexample=")), with(&rsa().1, shape("other="))])
    };
    let cognito = Issuer::new(settings(issuer, &[ANY]), header, claims, keys);
    assert_eq!(cognito.user(), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    assert_eq!(cognito.verify(json!({}), json!({})).unwrap().roles, Roles::default(), "groups are no role of nova");
    cognito.refuses();
}

#[test]
fn keycloak() {
    // The key set also has a key for encryption and a key of a kind that nova does not use. The token has the claim
    // `typ`, and its claim `role` is a list.
    let issuer = "https://id.example/realms/social";
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE" });
    let claims = json!({
        "exp": NOW_S + 300, "iat": NOW_S, "auth_time": NOW_S - 5, "jti": "onrtac:5a", "iss": issuer, "aud": ["nova", "account"],
        "sub": "f:3304d920:alice", "typ": "Bearer", "azp": "web", "sid": "s", "acr": "1", "allowed-origins": ["*"],
        "realm_access": { "roles": ["admin"] }, "scope": "profile email", "role": ["offline_access", "service"],
    });
    let keys = |jwk: &Value| {
        let kid = "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE";
        json!([
            with(&rsa().1, json!({ "kid": "enc", "alg": "RSA-OAEP", "use": "enc", "x5c": ["M"] })),
            { "kid": "p", "kty": "EC", "alg": "ES512", "use": "sig", "crv": "P-521", "x": "AA", "y": "AA" },
            with(jwk, json!({ "kid": kid, "alg": "RS256", "use": "sig", "x5t": "t", "x5t#S256": "T", "key_ops": ["verify"] })),
        ])
    };
    let keycloak = Issuer::new(settings(issuer, &["nova"]), header, claims, keys);
    assert_eq!(keycloak.user(), named(issuer, "f:3304d920:alice"));
    let roles = keycloak.verify(json!({}), json!({})).unwrap().roles;
    assert_eq!(roles, Roles { admin: false, service: true });
    keycloak.refuses();
}

#[test]
fn a_token_of_nine_kilobytes_is_taken() {
    let claims = json!({
        "iss": "me", "aud": "nova", "sub": user().to_string(), "exp": NOW_S + 60,
        "groups": (0..190).map(|n| Id::from_u128(n).to_string()).collect::<Vec<_>>(),
    });
    let issuer = Issuer::new(settings("me", &["nova"]), json!({ "alg": "RS256" }), claims, |jwk| json!([jwk]));
    assert_eq!(issuer.user(), user().to_string());
}

#[test]
fn a_subject_may_be_a_number_where_another_claim_names_it() {
    let claims = json!({ "iss": "me", "exp": NOW_S + 60, "uid": 42 });
    let mut settings = settings("me", &[ANY]);
    settings.subject_claim = Some("uid".to_owned());
    let issuer = Issuer::new(settings, json!({ "alg": "RS256" }), claims, |jwk| json!([jwk]));
    assert_eq!(issuer.user(), named("me", "42"));
    for wrong in [json!(4.5), json!(true), json!(""), json!(["42"]), json!({})] {
        assert_eq!(issuer.verify(json!({}), json!({ "uid": wrong })), Err(Reason::Subject));
    }
}
