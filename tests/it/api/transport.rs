//! Tests the headers of answers, and how the node accepts connections.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use nova::event::Id;
use nova::http::EdgeSettings;
use tokio_rustls::rustls;

use super::client::{Client, Live};

#[test]
fn a_trace_goes_on_and_long_answers_are_compressed_for_who_asks() {
    let live = Live::start();
    let mut client = live.client();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let answer = client.get("/health/live", &format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n"));
    let parent = answer.header("traceparent").unwrap();
    assert!(parent.starts_with(&format!("00-{trace}-")) && parent.ends_with("-01") && !parent.contains("b7ad6b"));
    assert!(client.get("/health/live", "").header("traceparent").is_some());
    let plain = client.get("/openapi.json", "");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let zipped = client.get("/openapi.json", "Accept-Encoding: gzip, br\r\n");
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut text).unwrap();
    assert!(text == plain.body && zipped.body.len() < plain.body.len() / 3);
    assert_eq!(client.get("/health/live", "Accept-Encoding: gzip\r\n").header("content-encoding"), None);
    client.send(b"HEAD /openapi.json HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.answer(true);
    assert_eq!(head.header("content-length"), Some(zipped.body.len().to_string().as_str()));
}

#[test]
fn browsers_may_call_from_configured_origins_only() {
    let settings = EdgeSettings { cors_origins: vec!["https://app.example".to_owned()], ..EdgeSettings::default() };
    let live = Live::with(settings);
    let mut client = live.client();
    let mut ask = |origin: &str, method: &str, path: &str| {
        let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        client.ask(method, path, &headers, b"")
    };
    let allowed = ask("https://app.example", "OPTIONS", "/api/v1/events");
    assert_eq!((allowed.status, allowed.header("access-control-allow-methods")), (204, Some("POST")));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("authorization"));
    for answer in [
        ask("https://evil.example", "OPTIONS", "/api/v1/events"),
        ask("https://app.example.evil.example", "GET", "/health/live"),
        ask("null", "GET", "/health/live"),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), Some("origin"));
    }
    // The web page of an allowed origin can also read errors.
    let error = ask("https://app.example", "POST", "/api/v1/events");
    assert_eq!((error.status, error.header("access-control-allow-origin")), (401, Some("https://app.example")));
    assert_eq!(Live::start().client().ask("OPTIONS", "/api/v1/events", "Origin: https://x\r\n", b"").status, 405);
}

#[test]
fn what_is_public_may_be_kept_by_caches_and_every_answer_says_nosniff() {
    let live = Live::start();
    let mut client = live.client();
    for (path, control) in [
        ("/api/v1/feed/trending", "no-cache"),
        ("/.well-known/jwks.json", "public, max-age=60"),
        ("/openapi.json", "public, max-age=60"),
    ] {
        for coding in ["", "Accept-Encoding: gzip\r\n"] {
            let full = client.get(path, coding);
            assert_eq!((full.status, full.header("cache-control")), (200, Some(control)), "{path}");
            let etag = full.header("etag").unwrap();
            let known = client.get(path, &format!("{coding}If-None-Match: {etag}\r\n"));
            assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
            for name in ["etag", "vary", "cache-control"] {
                assert_eq!(known.header(name), full.header(name), "{path} {name}");
            }
        }
    }
    for path in ["/health/live", "/metrics", "/nowhere", "/api/v1/feed", "/api/v1/feed/trending?window=2h"] {
        let answer = client.get(path, "");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn anonymous_routes_have_a_quota_by_address_and_what_is_written_is_written_once_a_second() {
    let mut settings = EdgeSettings::default();
    settings.limits.public_per_s = 1;
    let live = Live::with(settings);
    for path in ["/metrics", "/openapi.json", "/.well-known/jwks.json"] {
        let mut client = live.client();
        let statuses: Vec<_> = (0..20).map(|_| client.get(path, "").status).collect();
        assert!(statuses.contains(&429), "{path}: {statuses:?}");
        // The health routes have a quota of their own, so that load on the rest of the routes cannot make the node seem
        // dead.
        assert_eq!(client.get("/health/live", "").status, 200);
    }
}

#[test]
fn over_tls_the_api_is_the_same_and_without_it_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    nova_storage::file::create_new(&key).unwrap().write_all(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let live = Live::with(EdgeSettings { tls_cert: Some(cert), tls_key: Some(key), ..EdgeSettings::default() });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connect = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let session = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        rustls::StreamOwned::new(session, live.client().0)
    };
    // A client that sends the HTTP/2 preface and empty settings gets HTTP/2: nova answers with its own settings.
    let mut stream = connect(&[b"h2", b"http/1.1"]);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!((stream.conn.alpn_protocol(), frame[3]), (Some(&b"h2"[..]), 4));
    assert_eq!(status(&mut connect(&[b"http/1.1"])), "HTTP/1.1 200");
    let mut stream = connect(&[]);
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("live"), "{answer}");
    let mut plain = live.client();
    plain.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut rest = Vec::new();
    let _ = plain.0.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/"));
}

fn status(stream: &mut (impl std::io::Read + std::io::Write)) -> String {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

#[test]
fn admin_routes_are_on_their_own_listener_where_there_is_one() {
    let settings = EdgeSettings { admin_listen: Some("127.0.0.1:0".parse().unwrap()), ..EdgeSettings::default() };
    let live = Live::with(settings);
    let headers = live.role(Id::from_u128(1), "admin");
    let (mut api, mut admin) = (live.client(), Client::connect(live.admin.unwrap()));
    for path in ["/metrics", "/api/v1/admin/limits", "/api/v1/admin/revocations"] {
        assert_eq!((api.get(path, &headers).status, admin.get(path, &headers).status), (404, 200), "{path}");
    }
    for path in ["/api/v1/feed", "/api/v1/feed/metrics", "/.well-known/jwks.json"] {
        assert_eq!((api.get(path, &headers).status, admin.get(path, &headers).status), (200, 404), "{path}");
    }
    // The paths of health, OpenAPI and trending are public, and need no token. The console and its documents are served
    // on the listener of the admin routes, and the documents describe these routes.
    for path in ["/health", "/health/ready", "/openapi.json", "/api/v1/feed/trending"] {
        assert_eq!((api.get(path, "").status, admin.get(path, "").status), (200, 200), "{path}");
    }
    let paths = |client: &mut Client| client.get("/openapi.json", "").json()["paths"].as_object().unwrap().len();
    assert!(paths(&mut admin) > 5 && paths(&mut api) > 5);
}

#[test]
fn clients_that_never_finish_a_request_hold_up_nobody() {
    let live = Live::start();
    let slow: Vec<_> = (0..300)
        .map(|n| {
            let mut client = live.client();
            let whole = format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\n{}", live.headers(Id::from_u128(n)));
            client.send(&whole.as_bytes()[..10 + n as usize % (whole.len() - 10)]);
            client
        })
        .collect();
    let headers = live.headers(Id::from_u128(1));
    let mut client = live.client();
    for _ in 0..50 {
        assert_eq!(client.get("/api/v1/feed", &headers).status, 200);
    }
    // nova answers pipelined requests in order, and a request with `Connection: close` ends the connection.
    let one = format!("GET /api/v1/feed?limit=1 HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    client.send(format!("{one}{one}GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    assert_eq!(
        [client.answer(false).status, client.answer(false).status, client.answer(false).status],
        [200, 200, 404]
    );
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    drop(slow);
}
