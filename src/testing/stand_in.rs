//! The stand-in for ClickHouse in a server for tests. The delivery of the node asks the stand-in with its own client,
//! over streams in memory. The stand-in accepts every insert, keeps no row, and answers that every table exists. A
//! fault changes the answers of the stand-in.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::app::Drain;
use crate::backoff::Backoff;
use crate::http::testing::{ClickHouseFault, Refused};
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::layout::Layout;
use crate::warehouse::sender::{OVERTAKEN_MAX, Pace, SAFE_HORIZON_MS};
use crate::warehouse::{Target, VIEW_TARGETS};

use super::felt::Felt;

/// How long the delivery waits for an answer of the stand-in. The timeout of the stand-in is short, so that a test with
/// slow answers need not wait as long as in production.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The number of bytes that one direction of a connection can hold.
const PIPE_BYTES: usize = 64 << 10;

/// The pace of the delivery to the stand-in. The pace of the delivery is fast, because a test waits for the next
/// attempt. The stand-in does not accept a request that gets no answer, so the rows of the request do not arrive later.
pub(super) const PACE: Pace = Pace {
    backoff: Backoff { first: Duration::from_millis(10), last: Duration::from_millis(100) },
    // A stall lasts longer than the total time of the failures that open the breaker, so nova reports a server that
    // does not answer as out of reach.
    stall_ms: 1_000,
    safe_horizon_ms: SAFE_HORIZON_MS,
    overtaken_max: OVERTAKEN_MAX,
    held_max_ms: 0,
};
/// The drain is short, because nobody needs the remaining rows of a node that ends.
pub(super) const DRAIN: Drain = Drain { idle: Duration::ZERO, most: Duration::ZERO };

#[derive(Default)]
struct Inner {
    /// The number of the node to which faults apply. Requests of earlier nodes, which may still be ending, do not meet
    /// faults.
    node: u64,
    fault: Option<ClickHouseFault>,
    /// The number of requests that met the fault.
    met: u64,
    /// The content of the table `schema_migrations`: each line has the name and the checksum of one migration.
    migrations: String,
}

/// The stand-in for ClickHouse in a server for tests.
#[derive(Default)]
pub(super) struct StandIn {
    inner: Mutex<Inner>,
}

/// Sets a fault of the stand-in, or ends the present fault.
pub(super) fn put(stand_in: Option<&StandIn>, fault: Option<&ClickHouseFault>) -> Result<(), Refused> {
    const NOBODY: &str = "clickhouse: nothing stands for ClickHouse here: start the server with --clickhouse, or with \
        TestNova::builder().clickhouse()";
    match (stand_in, fault) {
        (Some(stand_in), fault) => stand_in.set(fault.cloned()),
        (None, Some(_)) => return Err(Refused::No(NOBODY.to_owned())),
        (None, None) => {}
    }
    Ok(())
}

impl StandIn {
    /// Makes the node with this number the current node, and ends the present fault.
    pub fn begin(&self, node: u64) {
        let mut inner = self.inner.lock();
        (inner.node, inner.fault, inner.met) = (node, None, 0);
    }

    fn set(&self, fault: Option<ClickHouseFault>) {
        let mut inner = self.inner.lock();
        (inner.fault, inner.met) = (fault, 0);
    }

    /// Returns the effect that the present fault has had until now. Returns `None` if no fault of the stand-in is set.
    pub fn felt(&self) -> Option<Felt> {
        let inner = self.inner.lock();
        let fault = inner.fault.as_ref()?;
        let slow = Duration::from_millis(fault.slow_ms.unwrap_or(0));
        let words = refusal(fault).map(|(_, words)| words.trim().to_owned());
        let keeps_rows = fault.refuses == Some(true) || words.is_some() || slow >= TIMEOUT;
        Some(Felt { met: inner.met, keeps_rows, words: words.filter(|words| !words.is_empty()) })
    }

    /// Returns the client with which a node asks the stand-in.
    pub fn client(self: &Arc<StandIn>, node: u64) -> ClickHouse {
        let line = Line { stand_in: Arc::clone(self), node };
        let http = HttpClient::builder(TokioExecutor::new()).build(line);
        let settings = ClickHouseSettings {
            url: "http://stand-in".to_owned(),
            database: "nova".to_owned(),
            user: None,
            password: None,
            ca_file: None,
            layout: Layout::default(),
            timeout: TIMEOUT,
        };
        ClickHouse::over(Client::with_http_client(http), &settings)
    }

    /// Returns the fault for a request of a node, if a fault applies to the request.
    fn meets(&self, node: u64, wanted: impl FnOnce(&ClickHouseFault) -> bool) -> Option<ClickHouseFault> {
        let mut inner = self.inner.lock();
        let fault = inner.fault.clone().filter(wanted).filter(|_| inner.node == node)?;
        inner.met += 1;
        if fault.times.is_some_and(|times| inner.met >= times) {
            inner.fault = None;
        }
        Some(fault)
    }

    /// Returns the answer to a request that inserts no rows, tab-separated as the delivery expects it.
    fn told(&self, sql: &str) -> String {
        if sql.contains("FROM system.columns") {
            return columns(sql);
        }
        if sql.contains("FROM system.tables") {
            return tables();
        }
        if let Some((_, values)) = sql.split_once("INSERT INTO schema_migrations (name, checksum) VALUES ") {
            let mut fields = values.split('\'').skip(1).step_by(2);
            let (name, checksum) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            self.inner.lock().migrations.extend([name, "\t", checksum, "\n"]);
            return String::new();
        }
        if sql.contains("FROM schema_migrations") {
            return self.inner.lock().migrations.clone();
        }
        match sql.split_once("_nova_batch IN (") {
            // Every batch that the query names counts as stored, because the stand-in has acknowledged it.
            Some((_, rest)) => {
                let batches = rest.split(')').next().unwrap_or_default();
                batches.split(", ").flat_map(|batch| [batch, "\n"]).collect()
            }
            // The answer to a query that no case above handles is empty, which is correct, because the stand-in keeps
            // no row.
            None => String::new(),
        }
    }
}

/// Returns the columns of all tables, or the columns of the requested table.
fn columns(sql: &str) -> String {
    let whole = sql.contains("SELECT table, name, type");
    let mut out = String::new();
    for target in Target::ALL {
        if !whole && !sql.contains(&format!("'{target}'")) {
            continue;
        }
        for (name, wire) in target.columns().iter() {
            if whole {
                out.extend([target.name(), "\t"]);
            }
            out.extend([name, "\t", wire.type_name(), "\n"]);
        }
    }
    out
}

/// Returns each table with its engine, its sorting key, and its settings.
fn tables() -> String {
    let ours = Target::ALL.iter().map(|target| match target {
        Target::Rows(_) => (target.name(), "ReplacingMergeTree"),
        Target::Events => (target.name(), "MergeTree"),
    });
    let views = VIEW_TARGETS.map(|name| (name, "MergeTree"));
    let row = |(name, engine): (&str, &str)| {
        let window = "SETTINGS non_replicated_deduplication_window = 10000";
        format!("{name}\t{engine}\tid\t{engine}(_version, _deleted) {window}\n")
    };
    ours.chain(views).map(row).collect()
}

/// Returns the answer that a fault gives. Returns `None` if the fault only makes the answer slow.
fn refusal(fault: &ClickHouseFault) -> Option<(StatusCode, String)> {
    let words = fault.body.as_deref();
    let (status, text) = match (fault.code, fault.status) {
        (Some(code), status) => {
            let words = words.unwrap_or("a test says so");
            (status, format!("Code: {code}. DB::Exception: {words}"))
        }
        (None, Some(status)) => (Some(status), words.unwrap_or_default().to_owned()),
        (None, None) => return None,
    };
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    Some((status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text))
}

fn response(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

/// The connector from a node's client to the stand-in.
#[derive(Clone)]
struct Line {
    stand_in: Arc<StandIn>,
    node: u64,
}

impl Line {
    fn connect(&self) -> io::Result<TokioIo<Pipe>> {
        if self.stand_in.meets(self.node, |fault| fault.refuses == Some(true)).is_some() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let line = self.clone();
        let service = service_fn(move |request| line.clone().answer(request));
        tokio::spawn(async move {
            // The result of the connection is ignored, because the client also sees how the connection ends, and
            // reports it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(far), service).await;
        });
        Ok(TokioIo::new(Pipe(near)))
    }

    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let has_rows = head.uri.query().is_some_and(|query| query.contains("query=INSERT"));
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        // A fault with a code is ClickHouse's own answer to an insert. A fault without a code applies to every request,
        // before ClickHouse would answer.
        if let Some(fault) = self.stand_in.meets(self.node, |fault| has_rows || fault.code.is_none()) {
            if fault.refuses == Some(true) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if let Some(slow_ms) = fault.slow_ms {
                tokio::time::sleep(Duration::from_millis(slow_ms)).await;
            }
            if let Some((status, text)) = refusal(&fault) {
                return Ok(response(status, text));
            }
        }
        let text = if has_rows { String::new() } else { self.stand_in.told(&String::from_utf8_lossy(&body)) };
        Ok(response(StatusCode::OK, text))
    }
}

impl tower_service::Service<Uri> for Line {
    type Response = TokioIo<Pipe>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Pipe>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.connect())
    }
}

/// The client's end of a connection to the stand-in.
struct Pipe(DuplexStream);

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

#[cfg(test)]
mod tests;
