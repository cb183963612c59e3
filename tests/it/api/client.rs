//! A node that listens on a socket, and an HTTP client that writes raw bytes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nova::app::{self, Node, Setup};
use nova::clock::Clock;
use nova::decode::{NoSchemas, Topics};
use nova::event::Id;
use nova::http::EdgeSettings;
use nova::redis_port::{self, Strangers};
use nova::state::State;
use parking_lot::RwLock;
use tokio::sync::watch;

pub const NOW_MS: i64 = 1_795_500_000_000;

/// An answer. An answer of the node, whose header names are in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection.
pub struct Client(pub TcpStream);

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads the next answer from the connection. `bodiless` is true for the answer to a HEAD request.
    pub fn answer(&mut self, bodiless: bool) -> Answer {
        self.try_answer(bodiless).unwrap()
    }

    fn try_answer(&mut self, bodiless: bool) -> io::Result<Answer> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: Vec<_> = lines.filter_map(pair).collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if !bodiless && status != 304 {
            match answer.header("transfer-encoding") {
                // An event stream has no end, so its body is not read.
                Some(_) if answer.header("content-type") == Some("text/event-stream") => {}
                Some(_) => answer.body = self.chunks()?,
                None => {
                    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
                    answer.body = vec![0; length];
                    self.0.read_exact(&mut answer.body)?;
                }
            }
        }
        Ok(answer)
    }

    /// Reads a body in chunked transfer coding (RFC 9112 §7.1) to its end.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let (mut line, mut byte) = (Vec::new(), [0]);
            while !line.ends_with(b"\r\n") {
                self.0.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            let length = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            let from = body.len();
            body.resize(from + length + 2, 0);
            self.0.read_exact(&mut body[from..])?;
            body.truncate(from + length);
            if length == 0 {
                return Ok(body);
            }
        }
    }

    pub fn get(&mut self, path: &str, headers: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes());
        self.answer(false)
    }

    pub fn post(&mut self, headers: &str, body: &[u8]) -> Answer {
        self.ask("POST", "/api/v1/events", headers, body)
    }

    /// Sends a request with any method and a body, which may be empty.
    pub fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body).unwrap()
    }

    /// Sends a request like `ask`, to a server that may end at any moment.
    pub fn try_ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.0.write_all(&[head.as_bytes(), body].concat())?;
        self.try_answer(method == "HEAD")
    }
}

/// Returns the headers of a JSON request with a token.
pub fn bearer(token: &str) -> String {
    format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n")
}

/// A node that serves on a free port until it is dropped.
pub struct Live {
    pub addr: SocketAddr,
    /// The address of metrics and admin routes, if it differs from the public address.
    pub admin: Option<SocketAddr>,
    /// The address of the Redis port, if the setup has one.
    pub redis: Option<SocketAddr>,
    pub dir: tempfile::TempDir,
    pub auth: nova::http::Auth,
    /// The state that the node serves, for changes that no request can make.
    pub state: Arc<RwLock<State>>,
    pub health: Arc<nova::http::limit::health::Health>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Live {
    pub fn start() -> Live {
        Live::with(EdgeSettings::default())
    }

    pub fn with(settings: EdgeSettings) -> Live {
        Live::again(tempfile::tempdir().unwrap(), settings)
    }

    /// Starts a node with a directory that may have a store.
    pub fn start_in(dir: tempfile::TempDir) -> Live {
        Live::start_at(dir, NOW_MS)
    }

    /// Starts a node whose clock shows the time `now_ms`.
    pub fn start_at(dir: tempfile::TempDir, now_ms: i64) -> Live {
        // The limits are off, because the tests of served data send requests as fast as they can.
        let mut settings = EdgeSettings::default();
        settings.limits.enabled = false;
        Live::over(dir, settings, now_ms)
    }

    /// Starts a node with a directory that may have the store of an earlier node.
    pub fn again(dir: tempfile::TempDir, settings: EdgeSettings) -> Live {
        Live::over(dir, settings, NOW_MS)
    }

    fn over(dir: tempfile::TempDir, settings: EdgeSettings, now_ms: i64) -> Live {
        let mut setup = Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas));
        setup.clock = Clock::manual(now_ms);
        setup.edge = settings;
        Live::of(dir, &setup)
    }

    /// Starts a node with the given setup and directory.
    pub fn of(dir: tempfile::TempDir, setup: &Setup) -> Live {
        let opened = app::open(setup).unwrap();
        let Node { running, edge } = app::start_node(setup, opened, Duration::ZERO).unwrap();
        let (state, health) = (Arc::clone(&edge.serving.state), Arc::clone(&edge.gate.limiter.health));
        let (stop, stopped) = watch::channel(false);
        let (told, addr) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let free = "127.0.0.1:0".parse().unwrap();
                let reserved = nova::http::Reserved::bind(free, edge.gate.settings.admin_listen).unwrap();
                let (server, admin) = nova::http::listen(reserved, &edge).unwrap();
                let redis = edge.watch.port.as_ref().map(|watch| {
                    let reserved = redis_port::Reserved::bind(free).unwrap();
                    redis_port::listen(reserved, &edge, watch, Strangers::Refused, 2).unwrap()
                });
                drop(edge);
                let admin_addr = admin.as_ref().map(|admin| admin.local_addr().unwrap());
                let redis_addr = redis.as_ref().map(|redis| redis.local_addr().unwrap());
                told.send((server.local_addr().unwrap(), admin_addr, redis_addr)).unwrap();
                let redis = redis.map(|redis| tokio::spawn(redis.run(stopped.clone())));
                if let Some(admin) = admin {
                    tokio::spawn(admin.run(stopped.clone()));
                }
                server.run(stopped).await;
                if let Some(redis) = redis {
                    redis.await.unwrap();
                }
            });
            drop(runtime);
            running.shared.stop();
            running.finish(|_| {}).unwrap();
        });
        let auth = nova::http::Auth::open(dir.path()).unwrap();
        let (addr, admin, redis) = addr.recv().unwrap();
        Live { addr, admin, redis, dir, auth, state, health, stop, thread: Some(thread) }
    }

    /// Returns the headers of a JSON request by a user with a role.
    pub fn role(&self, user: Id, role: &str) -> String {
        bearer(&self.auth.mint(user, Some(role), NOW_MS, 60).unwrap())
    }

    /// Returns the headers of a JSON request by a user.
    pub fn headers(&self, user: Id) -> String {
        self.headers_of(user, None)
    }

    pub fn headers_of(&self, user: Id, role: Option<&str>) -> String {
        bearer(&self.auth.mint(user, role, NOW_MS, 60).unwrap())
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Stops the node, and returns its directory.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.stop.send(true).unwrap();
        self.thread.take().unwrap().join().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, dir)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
