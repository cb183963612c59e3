//! Tests of connections to one site over streams in memory, with a paused clock.

mod differential;
mod http2;
mod times;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::app::{self, Node, Setup};
use crate::clock::Clock;
use crate::decode::{NoSchemas, Topics};
use crate::event::{Effect, Facts, Id};

use super::connection::Connection;
use super::patience::{Idle, Pace};
use super::route::Routes;
use super::settings::IDLE_TIMEOUT_DEFAULT_S;
use super::site::Site;
use super::sites::Sites;

const NOW_MS: i64 = 1_795_500_000_000;
const IDLE: Duration = Duration::from_secs(IDLE_TIMEOUT_DEFAULT_S as u64);
/// A time on the paused clock that is longer than any timeout.
const END: Duration = Duration::from_secs(300);
/// A request with a body, after which hyper serves the connection.
const WARM: &str = "POST /warm HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
/// A node with some posts, whose edge serves connections without a listener.
struct World {
    node: Option<Node>,
    site: Arc<Site>,
    graceful: GracefulShutdown,
    stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas));
        setup.clock = Clock::manual(NOW_MS);
        setup.edge.limits.enabled = false;
        setup.edge.cors_origins = vec!["https://app.example".to_owned()];
        let opened = app::open(&setup).unwrap();
        let node = app::start_node(&setup, opened, Duration::ZERO).unwrap();
        for number in 0..40 {
            let facts =
                Facts::Post { author: Id::from_u128(2), created_at_us: (NOW_MS - number) * 1_000, published: true };
            let row = Effect::Row { key: Id::from_u128(100 + number as u128), old: None, new: Some(facts) };
            node.edge.serving.state.write().apply(&row);
        }
        let site = Arc::new(Site::new(Arc::clone(&node.edge), Routes::new(None).unwrap(), None));
        let (graceful, stop) = (GracefulShutdown::new(), watch::Sender::new(false));
        World { node: Some(node), site, graceful, stop, _dir: dir }
    }

    fn connection(&self) -> Connection {
        Connection {
            pace: Pace::default(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tls: None,
            sites: Sites::One(Arc::clone(&self.site)),
            idle: Idle { time: IDLE, crowd: Box::new(|_| false) },
            stop: self.stop.subscribe(),
            watcher: self.graceful.watcher(),
        }
    }

    /// Opens a connection, and returns the client's end of it.
    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(self.connection().serve_plain(near));
        far
    }

    fn token(&self, user: u128) -> String {
        self.site.edge.auth.mint(Id::from_u128(user), None, NOW_MS, 3_600).unwrap()
    }

    /// Sends bytes, and returns all answers and whether nova ended the connection.
    async fn talk(&self, sent: &[u8]) -> (Vec<u8>, bool) {
        let (mut far, mut out) = (self.connect(), Vec::new());
        far.write_all(sent).await.unwrap();
        let ended = timeout(END, far.read_to_end(&mut out)).await.is_ok();
        (out, ended)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Some(Node { running, edge }) = self.node.take() else { return };
        running.shared.stop();
        self.site = Arc::new(Site::new(Arc::clone(&edge), Routes::new(None).unwrap(), None));
        drop(edge);
        let _ = running.finish(|_| {});
    }
}

fn paused(test: impl AsyncFnOnce(&World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let world = World::new();
    runtime.block_on(test(&world));
    drop(runtime);
}

/// Most connections of a busy node are idle. With the parts of TLS and hyper, each idle connection took 18 KiB.
#[test]
fn a_connection_takes_little_until_something_is_said() {
    const MAX_BYTES: usize = 4 << 10;
    paused(async |world| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let took = std::mem::size_of_val(&world.connection().serve(stream));
        assert!(took <= MAX_BYTES, "{took}");
    });
}

/// The headers that differ between two answers to one request.
const VOLATILE: [&str; 4] = ["date", "server-timing", "traceparent", "x-request-id"];
const CHANGING: [&str; 6] = ["latency_ms", "request_id", "snapshot", "cursor", "cache_hit", "generated_at"];

/// The status line, the headers and the body of an answer, without the headers that vary.
#[derive(Debug, PartialEq)]
struct Essence(String, Vec<String>, String);

/// Divides a byte stream into answers. `heads` says which answers belong to HEAD requests.
fn essences(mut bytes: &[u8], heads: &[bool]) -> Vec<Essence> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            out.push(Essence("rest".to_owned(), Vec::new(), String::from_utf8_lossy(bytes).into_owned()));
            break;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 4..];
        let mut lines = head.lines().map(str::to_owned);
        let status = lines.next().unwrap_or_default();
        let mut fields: Vec<_> = lines.collect();
        let value =
            |name: &str| fields.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
        if value("transfer-encoding").is_some() {
            out.push(Essence(status, Vec::new(), "a stream".to_owned()));
            break;
        }
        let bodiless = [" 204", " 304"].iter().any(|code| status.contains(code)) || heads.get(out.len()) == Some(&true);
        let length = value("content-length").and_then(|length| length.parse().ok()).filter(|_| !bodiless).unwrap_or(0);
        let (body, rest) = bytes.split_at(bytes.len().min(length));
        bytes = rest;
        let body = shown(body);
        let named = |line: &String, names: &[&str]| names.iter().any(|name| line.starts_with(&format!("{name}: ")));
        // The length of a feed depends on the digits of its numbers, also in an answer to HEAD.
        fields.retain(|line| !named(line, &VOLATILE) && !named(line, &["content-length", "etag"]));
        fields.sort();
        out.push(Essence(status, fields, body));
    }
    out
}

fn shown(body: &[u8]) -> String {
    let mut plain = Vec::new();
    if body.starts_with(&[0x1f, 0x8b]) {
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut plain).unwrap();
    } else {
        plain.extend_from_slice(body);
    }
    match serde_json::from_slice::<Value>(&plain) {
        Ok(Value::Object(mut members)) => {
            members.retain(|name, _| !CHANGING.contains(&name.as_str()));
            Value::Object(members).to_string()
        }
        _ if plain.starts_with(b"# HELP") => "metrics".to_owned(),
        _ => String::from_utf8_lossy(&plain).into_owned(),
    }
}

/// Valid and odd targets of requests.
const PATHS: [&str; 38] = [
    "/api/v1/feed",
    "/api/v1/feed?limit=3&explain=1&hydrate=1",
    "/api/v1/feed?%6cimit=%33",
    "/api/v1/%66eed?limit=2",
    "/api/v1/feed?limit=%zz",
    "/api/v1/feed?limit=%",
    "/api/v1/feed?limit=2&limit=x",
    "/api/v1/feed?cursor=x",
    "/api/v1/feed/trending?window=24h&limit=200",
    "/api/v1/feed/trending?window=9h",
    "/api/v1/feed/metrics",
    "/api/v1/feed/metrics?date=2026%2D11%2D24",
    "/api/v1/discover/suggested-users?limit=2",
    "/health/live",
    "/health/ready",
    "/health/%6Cive",
    "/health/live%zz",
    "/health%2Flive",
    "/.well-known/jwks.json",
    "/openapi.json",
    "/metrics",
    "/%6detrics",
    "/",
    "//",
    "//x/health/live",
    "/api/v1/events",
    "/api/v1/feed/trending/stream?window=bad",
    "/api/v1/feed/trending/%73tream?limit=1",
    "/api/v1/admin/limits",
    "/api/v1/feed/",
    "/API/V1/FEED",
    "/api/v1/../v1/feed",
    "*",
    "http://x/api/v1/feed",
    "http://",
    "/health/live#frag",
    "/a\"b<c>",
    "/a|b{c}\\^`",
];
