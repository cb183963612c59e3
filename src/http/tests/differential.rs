//! Tests that the read lane and hyper give the same answers, and agree about where a request ends.

use super::{PATHS, WARM, World, essences, paused};

/// The number of mutated requests. A mutated request differs from a valid request by a few bytes or lines.
const MUTATIONS: usize = 4_000;
/// The seed of the random mutations. A different seed makes different mutations.
const SEED: u64 = 7;

/// The request that follows each tested request. The answer to the following request shows whether nova found the right
/// end of the tested request.
const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Sends a request through the lane and through hyper, and compares the answers.
async fn compare(world: &World, name: &str, data: &[u8], heads: &[bool]) {
    let (lane, lane_ended) = world.talk(&[data, SENTINEL.as_bytes()].concat()).await;
    let (hyper, hyper_ended) = world.talk(&[WARM.as_bytes(), data, SENTINEL.as_bytes()].concat()).await;
    let (lane, mut hyper) = (essences(&lane, heads), essences(&hyper, &[&[false], heads].concat()));
    let warm = hyper.remove(0);
    assert!(warm.0.contains(" 404"), "{warm:?}");
    let sent = String::from_utf8_lossy(data);
    assert_eq!((&lane, lane_ended), (&hyper, hyper_ended), "{name}: {sent:?}: the lane is left, hyper right");
}

const LINES: [&str; 72] = [
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: ",
    "Content-Length : 5",
    "Content-Length: 99999999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Expect: 100-continue",
    "Expect: 100-continue\r\nContent-Length: 5",
    "Expect: x",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Keep-Alive, close",
    "Connection: keep-alive\r\nConnection: close",
    "Connection: authorization",
    "Connection: ",
    "TE: trailers",
    "X-Request-ID: abc",
    "X-Request-ID: a b",
    "X-Request-ID: \u{ff}",
    "traceparent: x",
    "Accept-Encoding: gzip",
    "Accept-Encoding: gzip;q=0",
    "Accept: text/plain",
    "Accept: application/openmetrics-text",
    "If-None-Match: *",
    "If-None-Match: W/\"x\", \"y\"",
    "Origin: https://app.example",
    "Origin: null",
    "X-Forwarded-For: 1.2.3.4:5",
    "Forwarded: for=1.1.1.1;host=evil",
    "Range: bytes=0-1",
    "Host: y",
    "Host: ",
    "Host: a b",
    "Host: [::1",
    "Cookie: a=b",
    "User-Agent: x",
    "Authorization: Basic eDp5",
    "Authorization: Bearer x\r\nAuthorization: Bearer y",
    ": x",
    "X",
    "X y: z",
    "X\0: y",
    "X: \0",
    "X: \x01",
    "X: \x7f",
    "X:y",
    "X:  y  ",
    "X: y\r\n z",
    "X:",
    "\r\nX: y",
    "X(: y",
    "Host:x",
];

/// Makes one random mutation of a request.
fn mutated(random: &mut fastrand::Rng, plain: &[u8]) -> Vec<u8> {
    const BYTES: &[u8] = b" \t\r\n\0:;,/?#%\"<>\\{}|^`~\x0b\x7f\xff\xc3aA0.=-_()@[]";
    const PARTS: [&[u8]; 10] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"\r\nContent-Length: 3",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\nConnection: close",
        b"\r\n\r\n",
        b" HTTP/1.1",
        b"\r\nHost: y",
    ];
    let mut data = plain.to_vec();
    let line = plain.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
    let cut = if random.f32() < 0.6 { data.len() } else { line };
    for _ in 0..random.choice([1, 1, 1, 2, 3]).unwrap_or(1) {
        let at = random.usize(..cut.min(data.len()).max(1));
        let byte = if random.f32() < 0.7 { BYTES[random.usize(..BYTES.len())] } else { random.u8(..) };
        let end = (at + random.usize(1..30)).min(data.len());
        match random.u8(..6) {
            0 => data.insert(at, byte),
            1 => data[at] = byte,
            2 => drop(data.drain(at..end.min(at + 3))),
            3 => drop(data.splice(at..at, data[at..end].to_vec())),
            4 => drop(data.splice(at..at, PARTS[random.usize(..PARTS.len())].to_vec())),
            _ => data[at] ^= 1 << random.u8(..8),
        }
        if data.is_empty() {
            return data;
        }
    }
    data
}

#[test]
fn the_lane_and_hyper_give_the_same_answers_to_known_attacks() {
    paused(async |world: &World| {
        let auth = format!("Authorization: Bearer {}\r\n", world.token(1));
        for method in ["GET", "HEAD"] {
            for path in PATHS {
                for who in ["", &auth] {
                    let data = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{who}\r\n");
                    compare(world, path, data.as_bytes(), &[method == "HEAD"]).await;
                }
            }
            for line in LINES {
                for body in ["", "hello", "5\r\nhello\r\n0\r\n\r\n"] {
                    let data = format!("{method} /health/live HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n{body}");
                    compare(world, line, data.as_bytes(), &[method == "HEAD"]).await;
                }
            }
        }
        for line in LINES {
            for path in ["/metrics", "/openapi.json", "/api/v1/feed?limit=2"] {
                let data = format!("GET {path} HTTP/1.1\r\n{line}\r\nHost: x\r\n{auth}\r\n");
                compare(world, line, data.as_bytes(), &[false]).await;
            }
        }
        for host in ["", "Host: a\r\nHost: a\r\n", "Host: \r\n", "Host: a/../b\r\n", "Host: u@h\r\n"] {
            for version in ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2"] {
                let data = format!("GET /health/live {version}\r\n{host}\r\n");
                compare(world, host, data.as_bytes(), &[false]).await;
            }
        }
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        compare(world, "the begin of HTTP/2 and no settings", preface.as_bytes(), &[]).await;
        for method in ["OPTIONS", "PUT", "TRACE", "CONNECT", "get", "GE T", "PRI", "", "POST", "BREW"] {
            let data = format!("{method} /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
            compare(world, method, data.as_bytes(), &[false]).await;
        }
    });
}

#[test]
fn the_lane_and_hyper_give_the_same_answers_to_mutated_requests() {
    paused(async |world: &World| {
        let auth = format!("Authorization: Bearer {}\r\n", world.token(1));
        let plain = [
            format!("GET /api/v1/feed?limit=2 HTTP/1.1\r\nHost: x\r\n{auth}\r\n"),
            "GET /api/v1/feed/trending?window=24h&limit=2 HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\nAccept: */*\r\n\r\n"
                .to_owned(),
            "HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n".to_owned(),
        ];
        let mut random = fastrand::Rng::with_seed(SEED);
        for number in 0..MUTATIONS {
            let chosen = random.usize(..plain.len());
            let data = mutated(&mut random, plain[chosen].as_bytes());
            compare(world, &format!("mutation {number}"), &data, &[data.starts_with(b"HEAD")]).await;
        }
    });
}
