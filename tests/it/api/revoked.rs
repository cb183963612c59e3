//! Tokens that are revoked, and tokens of issuers other than nova.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nova::event::Id;
use nova::http::{EdgeSettings, KeySettings};
use nova_storage::schema::AUDIT;
use serde_json::{Value, json};

use super::client::{Client, Live, NOW_MS, bearer};

const REVOCATIONS: &str = "/api/v1/admin/revocations";

/// Returns a decoded part of a token: part 0 is the header, part 1 the claims.
fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

fn feed(client: &mut Client, token: &str) -> u16 {
    client.get("/api/v1/feed", &bearer(token)).status
}

#[test]
fn a_revocation_holds_when_the_call_returns_and_after_a_restart() {
    let live = Live::start();
    let mut client = live.client();
    let user = Id::from_u128(1);
    let mint = |user| live.auth.mint(user, None, NOW_MS, 60).unwrap();
    let (one, two, other) = (mint(user), mint(user), mint(Id::from_u128(2)));
    let admin = live.role(Id::from_u128(9), "admin");
    // The tokens are used first so that nova caches them, because nova must also check a cached token.
    assert_eq!([&one, &two, &other].map(|token| feed(&mut client, token)), [200; 3]);
    let revoke =
        |client: &mut Client, body: Value| client.ask("POST", REVOCATIONS, &admin, body.to_string().as_bytes());
    let by_token = revoke(&mut client, json!({ "jti": part(&one, 1)["jti"], "reason": "lost phone" }));
    assert_eq!((by_token.status, by_token.json()["kind"].as_str()), (201, Some("jti")), "{by_token:?}");
    assert_eq!([&one, &two, &other].map(|token| feed(&mut client, token)), [401, 200, 200]);
    let by_user = revoke(&mut client, json!({ "user_id": user.to_string() }));
    assert_eq!(by_user.status, 201);
    assert_eq!([&one, &two, &other].map(|token| feed(&mut client, token)), [401, 401, 200]);
    // A second, weaker revocation for the user changes nothing.
    let weaker = revoke(&mut client, json!({ "user_id": user.to_string(), "before": NOW_MS - 60_000 }));
    assert_eq!(weaker.json()["before"], by_user.json()["before"]);
    assert_eq!(feed(&mut client, &two), 401);
    let later = live.auth.mint(user, None, NOW_MS + 1_000, 60).unwrap();
    assert_eq!(feed(&mut client, &later), 200, "issued after the rule");

    let dir = live.stop();
    let live = Live::again(dir, EdgeSettings::default());
    let mut client = live.client();
    assert_eq!([&one, &two, &other].map(|token| feed(&mut client, token)), [401, 401, 200]);
    let list = client.get(REVOCATIONS, &admin).json();
    assert_eq!((&list["total"], list["revocations"].as_array().unwrap().len()), (&json!(2), 2));
    // The token is valid again after the revocation was removed.
    let path = format!("{REVOCATIONS}?user_id={user}");
    assert_eq!(client.ask("DELETE", &path, &admin, b"").status, 204);
    assert_eq!(client.ask("DELETE", &path, &admin, b"").status, 404);
    assert_eq!([&one, &two].map(|token| feed(&mut client, token)), [401, 200]);
    // The key is revoked last, because this revocation also covers the admin's own token.
    let by_key = json!({ "key_id": part(&one, 0)["kid"] }).to_string();
    assert_eq!(client.ask("POST", REVOCATIONS, &admin, by_key.as_bytes()).status, 201);
    assert_eq!(feed(&mut client, &other), 401);
    assert_eq!(client.get(REVOCATIONS, &admin).status, 401);

    let dir = live.stop();
    let setup = nova::app::Setup::new(
        dir.path(),
        nova::decode::Topics::default(),
        std::sync::Arc::new(nova::decode::NoSchemas),
    );
    let opened = nova::app::open(&setup).unwrap();
    let mut audit = String::new();
    opened
        .store
        .read()
        .unwrap()
        .scan(AUDIT, 0u64.., |_, entry| {
            audit.push_str(&String::from_utf8_lossy(entry));
            true
        })
        .unwrap();
    assert_eq!(audit.matches("revoke").count(), 5, "{audit}");
    assert!(audit.contains("lost phone") && audit.contains(&format!("user {}", Id::from_u128(9))));
}

#[test]
fn only_an_admin_revokes_and_a_wrong_rule_is_refused() {
    let live = Live::start();
    let mut client = live.client();
    let body = json!({ "jti": "x" }).to_string();
    for headers in [live.headers(Id::from_u128(1)), live.role(Id::from_u128(1), "service")] {
        let answer = client.ask("POST", REVOCATIONS, &headers, body.as_bytes());
        assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("insufficient-scope")));
    }
    assert_eq!(client.ask("POST", REVOCATIONS, "Content-Type: application/json\r\n", body.as_bytes()).status, 401);
    let admin = live.role(Id::from_u128(1), "admin");
    for wrong in [
        json!({}),
        json!({ "jti": "" }),
        json!({ "jti": "x".repeat(257) }),
        json!({ "jti": "x", "key_id": "y" }),
        json!({ "jti": "x", "before": NOW_MS }),
        json!({ "user_id": "nobody" }),
        json!({ "user_id": Id::NIL.to_string(), "before": "yesterday" }),
        json!({ "jti": "x", "expires_at": -1 }),
        // A rule with a time in seconds instead of milliseconds is refused, and so is a rule that has already expired.
        json!({ "user_id": Id::NIL.to_string(), "before": NOW_MS / 1_000 }),
        json!({ "user_id": Id::NIL.to_string(), "before": NOW_MS * 1_000 }),
        json!({ "user_id": Id::NIL.to_string(), "before": NOW_MS as f64 + 0.5 }),
        json!({ "jti": "x", "expires_at": NOW_MS / 1_000 + 3_600 }),
        json!({ "jti": "x", "expires_at": NOW_MS - 1 }),
        json!({ "key_id": "x", "expires_at": NOW_MS }),
        json!({ "jti": "x", "expires_at": "2020-01-01T00:00:00Z" }),
    ] {
        let answer = client.ask("POST", REVOCATIONS, &admin, wrong.to_string().as_bytes());
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid-parameter")), "{wrong}");
    }
    for right in
        [json!({ "jti": "x", "expires_at": NOW_MS + 1 }), json!({ "jti": "y", "expires_at": (NOW_MS + 1) as f64 })]
    {
        assert_eq!(client.ask("POST", REVOCATIONS, &admin, right.to_string().as_bytes()).status, 201, "{right}");
    }
}

/// Starts a server that answers every request with one document, until its listener is dropped.
fn key_server(document: String) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let length = document.len();
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{document}");
        }
    });
    addr
}

#[test]
fn tokens_of_a_configured_address_are_taken_and_the_development_key_is_not() {
    let issuer = Live::start();
    let keys = String::from_utf8(issuer.client().get("/.well-known/jwks.json", "").body).unwrap();
    let keys = KeySettings {
        jwks_url: Some(format!("http://{}/keys", key_server(keys))),
        issuer: Some("nova-dev".to_owned()),
        audience: vec!["nova".to_owned()],
        ..KeySettings::default()
    };
    let live = Live::with(EdgeSettings { keys, ..EdgeSettings::default() });
    let mut client = live.client();
    // The node is not ready before it has a key set. Once the node has the key set, the tokens of the issuer are valid,
    // and tokens signed with the node's own key are not.
    let until = nova::clock::monotonic_now() + std::time::Duration::from_secs(20);
    while client.get("/health/ready", "").status == 503 {
        assert!(nova::clock::monotonic_now() < until);
    }
    assert_eq!(client.get("/api/v1/feed", &issuer.headers(Id::from_u128(1))).status, 200);
    assert_eq!(client.get("/api/v1/feed", &live.headers(Id::from_u128(1))).status, 401);
    let shown = |client: &mut Client| String::from_utf8(client.get("/metrics", "").body).unwrap();
    assert!(shown(&mut client).contains("circuit_breaker_state{target=\"jwks\"} 0"));
    // The node reports an address for keys that does not answer.
    let keys = KeySettings { jwks_url: Some("http://127.0.0.1:1/keys".to_owned()), ..KeySettings::default() };
    let live = Live::with(EdgeSettings { keys, ..EdgeSettings::default() });
    let mut client = live.client();
    while shown(&mut client).contains("circuit_breaker_state{target=\"jwks\"} 0") {
        assert!(nova::clock::monotonic_now() < until);
    }
}
