//! The short lane and hyper give equal answers, whatever bytes arrive in whatever pieces.

use std::io::Write as _;

use nova::event::Id;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::client::{Answer, Client, Live};
use super::edge::world;

/// The headers whose values differ between two answers to one request.
const OWN: [&str; 3] = ["date", "server-timing", "traceparent"];

fn essence(mut answer: Answer) -> (u16, Vec<(String, String)>, String) {
    answer.headers.retain(|(name, _)| !OWN.contains(&name.as_str()));
    answer.headers.sort();
    let mut body = String::from_utf8(answer.body).unwrap();
    // The time that nova needed for the answer differs between two answers.
    if let Some(at) = body.find(",\"latency_ms\":") {
        let end = at + 1 + body[at + 1..].find(',').unwrap();
        body.replace_range(at..end, "");
        answer.headers.retain(|(name, _)| name != "content-length");
    }
    (answer.status, answer.headers, body)
}

/// Returns requests without the empty line that ends them.
fn requests(live: &Live) -> Vec<String> {
    let reader = live.headers(Id::from_u128(1));
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: same\r\n{more}");
    vec![
        get("/health/live", ""),
        get("/api/v1/feed?limit=3", &reader),
        get("/api/v1/feed?limit=3&explain=1", &format!("{reader}Connection: keep-alive\r\n")),
        get("/api/v1/feed?limit=3", &format!("{reader}Accept-Encoding: identity\r\n")),
        get("/api/v1/feed?limit=0", &reader),
        get("/api/v1/feed", "Authorization: Bearer x\r\n"),
        get("/api/v1/feed/trending?window=24h", ""),
        get("/api/v1/feed/trending?window=24h", "If-None-Match: *\r\n"),
        get("/api/v1/feed/trending?window=2h", ""),
        get("/api/v1/discover/suggested-users", &reader),
        get("/nothing%20here?x", ""),
        get("/api/v1/events", &reader),
        get("/openapi.json", ""),
        get("/health/live", "").replacen("GET", "HEAD", 1),
        get("/openapi.json", "").replacen("GET", "HEAD", 1),
        get("/api/v1/events", &reader).replacen("GET", "POST", 1),
        get("/health/live", "").replacen("GET", "BREW", 1),
    ]
}

#[test]
fn the_lane_and_hyper_answer_alike_in_whichever_pieces_requests_come() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    world(&live);
    let requests = requests(&live);
    // hyper handles a request with a `Content-Length` of zero.
    let by_hyper = |request: &String| {
        let mut client = live.client();
        client.send(format!("{request}Content-Length: 0\r\n\r\n").as_bytes());
        essence(client.answer(request.starts_with("HEAD")))
    };
    // The first answer to each request makes a cache entry, which later answers use.
    requests.iter().for_each(|request| drop(by_hyper(request)));
    let expected: Vec<_> = requests.iter().map(by_hyper).collect();
    let picks = proptest::collection::vec(0..requests.len(), 1..12);
    let cuts = proptest::collection::vec(1usize..700, 0..12);
    TestRunner::new(Config::with_cases(60))
        .run(&(picks, cuts), |(picks, cuts)| {
            let sent: String = picks.iter().map(|at| format!("{}\r\n", requests[*at])).collect();
            let mut client = live.client();
            client.0.set_nodelay(true).unwrap();
            let mut rest = sent.as_bytes();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                client.0.write_all(piece).unwrap();
                rest = after;
            }
            client.send(rest);
            for at in picks {
                let answer = essence(client.answer(requests[at].starts_with("HEAD")));
                prop_assert_eq!(&answer, &expected[at], "{}", &requests[at]);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_malformed_or_too_large_gets_hypers_answer_and_the_end() {
    let live = Live::start();
    for (sent, status) in [
        ("GET /health/live HTTP/1.1\r\nBad Name: x\r\n\r\n".to_owned(), 400),
        ("GET  /health/live HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET /health/live HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (format!("GET /health/live HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65)), 431),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)), 414),
    ] {
        let mut client = live.client();
        // A correct request before the broken request is answered first.
        client.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.answer(false).status, 200);
        let _ = client.0.write_all(sent.as_bytes());
        let answer = client.answer(false);
        assert!(answer.status == status || answer.status == 431, "{} for {}", answer.status, &sent[..40]);
        closed(client);
    }
}

#[test]
fn http_1_0_and_connection_close_end_the_connection() {
    let live = Live::start();
    for sent in
        ["GET /health/live HTTP/1.0\r\n\r\n", "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
    {
        let mut client = live.client();
        client.send(sent.as_bytes());
        assert_eq!(client.answer(false).status, 200);
        closed(client);
    }
}

fn closed(mut client: Client) {
    let mut rest = Vec::new();
    // A connection reset counts as an end, because the server closed the connection with unread bytes.
    let ended = std::io::Read::read_to_end(&mut client.0, &mut rest);
    assert!(rest.is_empty() || ended.is_err());
}
