//! A ClickHouse within the test process: the real client over streams in memory, and a server that behaves as the seed
//! draws.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use clickhouse::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::support::clickhouse::{Inner, answer};
use crate::support::events::Rng;
use crate::support::http_text::{parameter, request, response};

const PIPE_BYTES: usize = 256 << 10;
/// Error codes of ClickHouse for every verdict that does not blame a row: retry, overload, stall, ambiguous, unknown.
const CODES: [u32; 14] = [159, 202, 209, 210, 425, 999, 252, 241, 439, 60, 16, 516, 319, 4_711];

/// How the simulated ClickHouse behaves at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// The simulated ClickHouse refuses connections.
    Down,
    /// The percentage of inserts that fail in the simulated ClickHouse.
    Rough(u64),
    /// The server answers every insert with the given error code.
    Code(u32),
    /// The materialised view throws an error after its source table has stored the rows.
    ViewThrows,
    /// The server stores every insert, and ends the connection without an answer.
    Unanswered,
    /// Every insert runs for this number of milliseconds, which is longer than the client waits. With `GivenUp`, a
    /// proxy reports that it has stopped waiting for an insert that is still running.
    Slow(u64),
    GivenUp(u64),
}

/// What happens to one insert in the simulated ClickHouse.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Stored,
    Proxy503,
    Code(u32),
    /// The connection ends before or after the rows are stored.
    Broken {
        stored: bool,
    },
    /// The client gets no answer, or the answer of a proxy that has stopped waiting. The server stores the rows after
    /// `after_ms`, unless the query is killed first. A kill does not reach a request that a proxy holds back.
    Zombie {
        after_ms: u64,
        in_proxy: bool,
        answered: bool,
    },
    Lost,
}

struct Running {
    query_id: String,
    alive: Arc<Mutex<bool>>,
}

struct Plan {
    rng: Rng,
    weather: Weather,
    running: Vec<Running>,
}

/// The server.
#[derive(Clone)]
pub struct Server {
    pub tables: Arc<Mutex<Inner>>,
    plan: Arc<Mutex<Plan>>,
    /// The longest time in milliseconds for which an insert runs on the server (`slowest_ms`), or for which a proxy
    /// holds it back (`proxy_ms`).
    slowest_ms: u64,
    proxy_ms: u64,
    /// Whether the server prints its requests and answers.
    told: bool,
}

impl Server {
    /// Starts the simulated server in a tokio runtime. `window_ms` is the time for which the server remembers
    /// deduplication tokens.
    pub fn start(seed: u64, window_ms: usize, (slowest_ms, proxy_ms): (u64, u64), told: bool) -> Server {
        let began = Instant::now();
        let now = move || began.elapsed().as_millis() as usize;
        let mut tables = Inner::default();
        (tables.now, tables.window_moments) = (Box::new(now), window_ms);
        let plan = Plan { rng: Rng(seed), weather: Weather::Fair, running: Vec::new() };
        Server { tables: Arc::new(Mutex::new(tables)), plan: Arc::new(Mutex::new(plan)), slowest_ms, proxy_ms, told }
    }

    pub fn client(&self) -> Client {
        let pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(self.clone());
        Client::with_http_client(pool)
    }

    pub fn set(&self, weather: Weather) {
        let mut plan = self.plan.lock();
        plan.weather = weather;
        self.tables.lock().view_throws = weather == Weather::ViewThrows;
        if weather == Weather::Down {
            // If the server is killed, its queries end. The server stores an insert completely or not at all.
            plan.running.drain(..).for_each(|query| *query.alive.lock() = false);
        }
    }

    /// Whether inserts are running whose clients have stopped waiting.
    pub fn haunted(&self) -> bool {
        let mut plan = self.plan.lock();
        plan.running.retain(|query| *query.alive.lock());
        !plan.running.is_empty()
    }

    fn down(&self) -> bool {
        self.plan.lock().weather == Weather::Down
    }

    async fn serve(self, mut stream: DuplexStream) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let Some((length, target, body)) = request(&buffer) else {
                let mut piece = [0; 16 << 10];
                match stream.read(&mut piece).await? {
                    0 => return Ok(()),
                    read => buffer.extend_from_slice(&piece[..read]),
                }
                continue;
            };
            buffer.drain(..length);
            if self.down() {
                return Ok(());
            }
            let query = parameter(&target, "query");
            let asked = if self.told { body.clone() } else { Vec::new() };
            let answered = match query.strip_prefix("INSERT INTO ") {
                Some(rest) => self
                    .insert(rest.split(')').next().unwrap(), &target, body)
                    .await
                    .map(|(status, text)| (status, text.into())),
                None => self.ask(&target, &body).await,
            };
            if self.told {
                let at_ms = (self.tables.lock().now)();
                let asked = if query.is_empty() { String::from_utf8_lossy(&asked).into_owned() } else { query };
                let asked = asked.split(" (").next().unwrap().replace('\n', " ");
                let token = parameter(&target, "insert_deduplication_token");
                let text = answered.as_ref().map(|(status, bytes)| (status, String::from_utf8_lossy(bytes)));
                eprintln!("{at_ms:>12} ms      {asked:.100} {token}: {text:.100?}");
            }
            let Some((status, text)) = answered else { return Ok(()) };
            stream.write_all(&response(status, &text)).await?;
        }
    }

    async fn ask(&self, target: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let sql = String::from_utf8_lossy(body).into_owned();
        let (delay_ms, trouble) = {
            let mut plan = self.plan.lock();
            let rough = if let Weather::Rough(percent) = plan.weather { percent } else { 0 };
            (1 + plan.rng.below(10), (plan.rng.below(100) < rough / 3).then(|| plan.rng.below(4)))
        };
        sleep(Duration::from_millis(delay_ms)).await;
        match trouble {
            Some(0) => return Some((503, "no healthy upstream".into())),
            Some(1) => return None,
            Some(2) => return Some((500, "Code: 202. DB::Exception: Too many simultaneous queries. (X)".into())),
            Some(_) => {
                sleep(Duration::from_secs(40)).await;
                return None;
            }
            None => {}
        }
        if let Some((_, rest)) = sql.split_once("KILL QUERY WHERE startsWith(query_id, '") {
            let prefix = rest.split('\'').next().unwrap();
            self.plan.lock().running.retain(|query| {
                let hit = query.query_id.starts_with(prefix);
                if hit {
                    *query.alive.lock() = false;
                }
                !hit
            });
            return Some((200, Vec::new()));
        }
        answer(target, body, &self.tables)
    }

    fn fate(&self) -> (u64, Fate) {
        let mut plan = self.plan.lock();
        let weather = plan.weather;
        let rng = &mut plan.rng;
        let delay_ms = 1 + rng.below(30);
        let fate = match weather {
            Weather::Code(code) => Fate::Code(code),
            Weather::Unanswered => Fate::Broken { stored: true },
            Weather::Slow(after_ms) => Fate::Zombie { after_ms, in_proxy: false, answered: false },
            Weather::GivenUp(after_ms) => Fate::Zombie { after_ms, in_proxy: false, answered: true },
            Weather::Rough(percent) if rng.below(100) < percent => match rng.below(8) {
                0 => Fate::Proxy503,
                1 | 2 => Fate::Code(CODES[rng.below(CODES.len() as u64) as usize]),
                3 => Fate::Broken { stored: false },
                4 => Fate::Broken { stored: true },
                5 => Fate::Lost,
                // A request that a proxy holds back arrives while the server still remembers the token of the retry.
                6 if self.proxy_ms > 0 => {
                    Fate::Zombie { after_ms: rng.below(self.proxy_ms), in_proxy: true, answered: false }
                }
                _ => {
                    let answered = rng.below(3) == 0;
                    Fate::Zombie { after_ms: rng.below(self.slowest_ms), in_proxy: false, answered }
                }
            },
            _ => Fate::Stored,
        };
        (delay_ms, fate)
    }

    /// Runs an insert on the simulated server. `into` is the table with the columns that the insert names.
    async fn insert(&self, into: &str, target: &str, body: Vec<u8>) -> Option<(u16, String)> {
        let token = parameter(target, "insert_deduplication_token");
        let (delay_ms, fate) = self.fate();
        sleep(Duration::from_millis(delay_ms)).await;
        let refused = |code| Some((500, format!("Code: {code}. DB::Exception: as the seed says. (X)")));
        match fate {
            Fate::Proxy503 => return Some((503, "no healthy upstream".to_owned())),
            Fate::Code(code) => return refused(code),
            Fate::Broken { stored: false } => return None,
            Fate::Lost => {
                sleep(Duration::from_secs(40)).await;
                return None;
            }
            Fate::Zombie { after_ms, in_proxy, answered } => {
                let alive = Arc::new(Mutex::new(true));
                let query_id = if in_proxy { String::new() } else { parameter(target, "query_id") };
                self.plan.lock().running.push(Running { query_id, alive: Arc::clone(&alive) });
                let (tables, into) = (Arc::clone(&self.tables), into.to_owned());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(after_ms)).await;
                    if std::mem::take(&mut *alive.lock()) {
                        let _ = tables.lock().store(&into, &token, &body);
                    }
                });
                if answered {
                    sleep(Duration::from_secs(10)).await;
                    return Some((504, "gateway timeout".to_owned()));
                }
                sleep(Duration::from_secs(40)).await;
                return None;
            }
            Fate::Stored | Fate::Broken { stored: true } => {}
        }
        let stored = self.tables.lock().store(into, &token, &body);
        if matches!(fate, Fate::Broken { .. }) {
            return None;
        }
        sleep(Duration::from_millis(delay_ms / 2)).await;
        Some(stored.map_or_else(|text| (500, text), |()| (200, String::new())))
    }
}

/// The client's end of a connection to the simulated server.
pub struct Pipe(DuplexStream);

impl tower_service::Service<hyper::Uri> for Server {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<TokioIo<Pipe>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        if self.down() {
            return std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(self.clone().serve(theirs));
        std::future::ready(Ok(TokioIo::new(Pipe(ours))))
    }
}

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
