//! Signing keys that change while a node runs, and who may read the data of which user.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nova::event::Id;
use nova::http::{Auth, EdgeSettings, KeySettings};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::client::{Client, Live, NOW_MS, bearer};

/// A time that is longer than any wait in the tests of this file.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of a key set that the test can change, with a count of the requests for the key set.
struct Keys {
    addr: SocketAddr,
    document: Arc<Mutex<String>>,
    asked: Arc<AtomicU64>,
}

impl Keys {
    fn of(sets: &[&Auth]) -> Keys {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (document, asked) = (Arc::new(Mutex::new(joined(sets))), Arc::new(AtomicU64::new(0)));
        let keys = Keys { addr, document: Arc::clone(&document), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4_096]);
                asked.fetch_add(1, Ordering::SeqCst);
                let document = document.lock().clone();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", document.len());
                let _ = stream.write_all((head + &document).as_bytes());
            }
        });
        keys
    }

    fn publish(&self, sets: &[&Auth]) {
        *self.document.lock() = joined(sets);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Returns the keys of several key sets as one key set.
fn joined(sets: &[&Auth]) -> String {
    let keys = |auth: &&Auth| serde_json::from_str::<Value>(&auth.jwks()).unwrap()["keys"][0].clone();
    json!({ "keys": sets.iter().map(keys).collect::<Vec<_>>() }).to_string()
}

/// Starts a node that accepts tokens signed with the keys at an address, and waits until the node is ready.
fn follower(keys: &Keys) -> Live {
    let keys = KeySettings {
        jwks_url: Some(format!("http://{}/keys", keys.addr)),
        issuer: Some("nova-dev".to_owned()),
        audience: vec!["other".to_owned(), "nova".to_owned()],
        ..KeySettings::default()
    };
    let live = Live::with(EdgeSettings { keys, ..EdgeSettings::default() });
    let until = nova::clock::monotonic_now() + PATIENCE;
    while live.client().get("/health/ready", "").status == 503 {
        assert!(nova::clock::monotonic_now() < until);
    }
    live
}

fn issuer() -> (tempfile::TempDir, Auth) {
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::open(dir.path()).unwrap();
    (dir, auth)
}

fn token(auth: &Auth, user: u128) -> String {
    auth.mint(Id::from_u128(user), None, NOW_MS, 60).unwrap()
}

fn feed(client: &mut Client, token: &str) -> u16 {
    client.get("/api/v1/feed", &bearer(token)).status
}

/// Returns the number of refused tokens with the given reason in `/metrics`.
fn refused(client: &mut Client, reason: &str) -> u64 {
    let text = String::from_utf8(client.get("/metrics", "").body).unwrap();
    let name = format!("nova_auth_refused_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[test]
fn the_first_tokens_of_a_rotated_key_wait_for_one_look_at_the_keys() {
    let ((_old_dir, old), (_new_dir, new)) = (issuer(), issuer());
    let keys = Keys::of(&[&old]);
    let live = follower(&keys);
    assert_eq!(feed(&mut live.client(), &token(&old, 1)), 200);
    keys.publish(&[&new, &old]);
    let asked = keys.asked();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |user: u128| {
            let token = token(&new, user);
            let mut client = live.client();
            scope.spawn(move || feed(&mut client, &token))
        };
        let clients: Vec<_> = (1..=40).map(ask).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 40]);
    // One read of the key set serves all of the tokens. A second read may have begun for tokens that came during the
    // first read.
    assert!((1..=2).contains(&(keys.asked() - asked)), "{} looks", keys.asked() - asked);
    let mut client = live.client();
    assert_eq!(feed(&mut client, &token(&old, 2)), 200);
    // After the next read of the key set, tokens of a removed key are refused. A token of an unknown key causes the
    // next read of the key set.
    keys.publish(&[&new]);
    let (_, third) = issuer();
    assert_eq!(feed(&mut client, &token(&third, 1)), 401);
    assert_eq!(feed(&mut client, &token(&new, 1)), 200);
    assert_eq!(feed(&mut client, &token(&old, 2)), 401);
    assert!(refused(&mut client, "unknown_key") >= 2);
}

#[test]
fn ids_of_keys_that_there_are_not_do_not_make_nova_a_burden_to_the_issuer() {
    let (_dir, auth) = issuer();
    let keys = Keys::of(&[&auth]);
    let live = follower(&keys);
    let strangers: Vec<_> = (0..6).map(|_| issuer().1).collect();
    let begun = nova::clock::monotonic_now();
    std::thread::scope(|scope| {
        for stranger in &strangers {
            let mut client = live.client();
            scope.spawn(move || {
                for user in 0..3 {
                    let status = feed(&mut client, &token(stranger, user));
                    assert!([401, 503].contains(&status), "{status}");
                }
            });
        }
    });
    // nova allows a burst of six reads of the key set, and one more read every ten seconds.
    let most = 6 + begun.elapsed().as_secs() / 10 + 1;
    assert!(keys.asked() <= most, "{} looks in {:?}", keys.asked(), begun.elapsed());
    assert_eq!(feed(&mut live.client(), &token(&auth, 1)), 200);
}

#[test]
fn while_the_issuer_is_away_an_unknown_key_is_nobodys_fault_and_nobody_waits_for_it() {
    let keys = KeySettings { jwks_url: Some("http://127.0.0.1:1/keys".to_owned()), ..KeySettings::default() };
    let live = Live::with(EdgeSettings { keys, ..EdgeSettings::default() });
    let (_dir, auth) = issuer();
    let answer = live.client().get("/api/v1/feed", &bearer(&token(&auth, 1)));
    assert_eq!((answer.status, answer.json()["error"].as_str()), (503, Some("temporary-reduced-capacity")));
    assert!(answer.header("retry-after").is_some());
    assert!(refused(&mut live.client(), "keys_away") >= 1);
    // The node does not know the keys yet. While the keys are unknown, the answer to a request for the key set must be
    // neither empty nor a set without keys.
    let answer = live.client().get("/.well-known/jwks.json", "");
    assert_eq!((answer.status, answer.header("cache-control")), (503, Some("no-store")));
    assert!(answer.header("retry-after").is_some());
    assert!(answer.json()["detail"].as_str().unwrap().contains("auth.jwks_url"));
}

#[test]
fn a_changed_key_file_is_looked_at_for_the_first_token_of_its_key() {
    let ((_old_dir, old), (_new_dir, new)) = (issuer(), issuer());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    std::fs::write(&path, joined(&[&old])).unwrap();
    let keys = KeySettings { jwks_file: Some(path.clone()), ..KeySettings::default() };
    let live = Live::with(EdgeSettings { keys, ..EdgeSettings::default() });
    let mut client = live.client();
    assert_eq!([&old, &new].map(|auth| feed(&mut client, &token(auth, 1))), [200, 401]);
    std::fs::write(&path, joined(&[&new])).unwrap();
    assert_eq!([&new, &old].map(|auth| feed(&mut client, &token(auth, 1))), [200, 401]);
}

#[test]
fn a_service_reads_for_a_user_and_an_admins_look_is_audited() {
    let live = Live::start();
    let mut client = live.client();
    let (me, other) = (Id::from_u128(1), Id::from_u128(2));
    let (service, admin) = (live.role(Id::from_u128(8), "service"), live.role(Id::from_u128(9), "admin"));
    for path in ["/api/v1/feed", "/api/v1/discover/suggested-users"] {
        let of = |user: Id| format!("{path}?limit=5&user_id={user}");
        for headers in [&service, &admin] {
            assert_eq!(client.get(&of(other), headers).status, 200, "{path}");
        }
        assert_eq!(client.get(&of(me), &live.headers(me)).status, 200, "one's own");
        let refused = client.get(&of(other), &live.headers(me));
        assert_eq!((refused.status, refused.json()["error"].as_str()), (403, Some("subject-mismatch")));
        assert_eq!(client.get(&format!("{path}?user_id=bob"), &service).json()["field"], "user_id");
    }
    let explain = format!("/api/v1/admin/users/{other}/explain-feed");
    assert_eq!(client.get(&explain, &admin).status, 200);
    let own = format!("/api/v1/admin/users/{}/explain-feed", Id::from_u128(9));
    assert_eq!(client.get(&own, &admin).status, 200);
    assert_eq!(client.ask("POST", "/api/v1/admin/backup", &admin, br#"{"name":"a"}"#).status, 200);
    // The node refuses the request of a user, of a service (twice), and of a caller without a token.
    for headers in [live.headers(me), service.clone(), service, String::new()] {
        assert!([401, 403].contains(&client.get("/api/v1/admin/limits", &headers).status));
    }
    let entries = client.get("/api/v1/admin/audit", &admin).json()["entries"].clone();
    let kept: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["actor", "action", "subject"].map(|member| one[member].as_str().unwrap().to_owned()).join(" "))
        .collect();
    let (admin, other) = (format!("user {}", Id::from_u128(9)), other.to_string());
    let expected = [
        format!("{admin} feed-read {other}"),
        format!("{admin} suggestions-read {other}"),
        format!("{admin} feed-explain {other}"),
        format!("{admin} backup a"),
        format!("user {me} refused GET /api/v1/admin/limits"),
        format!("user {} refused GET /api/v1/admin/limits", Id::from_u128(8)),
        "address 127.0.0.1 refused GET /api/v1/admin/limits".to_owned(),
    ];
    assert_eq!(kept, expected);
}
