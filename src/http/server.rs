//! Listeners and connections.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::body::Asked;
use super::patience::Patient;
use super::places::Places;
use super::request::{self, Site};
use super::route::{Plane, Routes};
use super::workers::Workers;
use super::{Edge, lane, openapi, tls, upkeep};

/// Connections at once; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Of them, those of one address that is not a trusted proxy; more are closed at once.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_024;
pub(super) const HEADERS_MAX: usize = 64;
/// Head of a request.
pub(super) const HEAD_MAX_BYTES: usize = 16 << 10;
/// For the head of a request, also of the next one on a connection that is kept.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in flight may take once the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The runtime that listeners are bound in and connections taken; what they ask is answered by workers of their own.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    site: Arc<Site>,
    tls: Option<TlsAcceptor>,
    workers: Workers,
    /// Set on the one that also does the edge's upkeep.
    upkeep: bool,
}

/// Binds the API's address; nothing is accepted before [`Server::run`].
pub async fn bind(addr: SocketAddr, edge: Arc<Edge>) -> io::Result<Server> {
    let plane = edge.gate.settings.admin_listen.map(|_| Plane::Api);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    listen(addr, edge, plane, cores, true).await
}

/// Binds the address of metrics and admin routes where it is another one.
pub async fn bind_admin(edge: Arc<Edge>) -> io::Result<Option<Server>> {
    match edge.gate.settings.admin_listen {
        Some(addr) => Ok(Some(listen(addr, edge, Some(Plane::Admin), 1, false).await?)),
        None => Ok(None),
    }
}

async fn listen(
    addr: SocketAddr,
    edge: Arc<Edge>,
    plane: Option<Plane>,
    threads: usize,
    upkeep: bool,
) -> io::Result<Server> {
    let settings = &edge.gate.settings;
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key)?),
        _ => None,
    };
    let routes = Routes::new(plane).map_err(io::Error::other)?;
    let openapi = openapi::document(&routes).to_string();
    let listener = TcpListener::bind(addr).await?;
    let workers = Workers::start(threads)?;
    Ok(Server { listener, site: Arc::new(Site { edge, routes, openapi }), tls, workers, upkeep })
}

impl Server {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true, then lets requests in flight finish.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let addresses = Places::default();
        let graceful = GracefulShutdown::new();
        let upkeep = self.upkeep.then(|| tokio::spawn(upkeep::run(Arc::clone(&self.site.edge))));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            // A worker's runtime takes it over.
            let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer.ip())));
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    // Out of descriptors: give others the time to end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let trusted = &self.site.edge.gate.settings.trusted_proxies;
            let proxy = trusted.iter().any(|net| net.contains(&peer.to_canonical()));
            let most = if proxy { CONNECTIONS_MAX } else { CONNECTIONS_PER_ADDRESS_MAX };
            let Some(place) = addresses.enter(peer, most) else { continue };
            let connection = Connection {
                peer,
                tls: self.tls.clone(),
                site: Arc::clone(&self.site),
                stop: stop.clone(),
                watcher: graceful.watcher(),
            };
            self.workers.spawn(async move {
                connection.serve(stream).await;
                drop((permit, place));
            });
        }
        drop(self.listener);
        self.site.edge.streams.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        if let Some(upkeep) = upkeep {
            upkeep.abort();
            // Gone with what it holds of the edge.
            let _ = upkeep.await;
        }
        self.workers.stop();
    }
}

/// What a connection is served with.
struct Connection {
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    site: Arc<Site>,
    stop: watch::Receiver<bool>,
    /// Held until the connection ends: who drains waits for it.
    watcher: Watcher,
}

impl Connection {
    async fn serve(mut self, stream: std::net::TcpStream) {
        // Small answers must not wait for more.
        let _ = stream.set_nodelay(true);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("connection: {error}"),
        };
        match self.tls.take() {
            None => self.serve_plain(stream).await,
            Some(acceptor) => match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.serve_plain(stream).await,
                Ok(Err(error)) => tracing::debug!("TLS: {error}"),
                Err(_) => tracing::debug!("TLS: no handshake in time"),
            },
        }
    }

    /// In the short lane as long as that goes, then by hyper.
    async fn serve_plain<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Connection { peer, site, stop, watcher, .. } = self;
        let rest = match lane::serve(Patient::new(stream, IDLE_TIMEOUT), peer, &site, stop).await {
            Ok(Some(rest)) => rest,
            Ok(None) => return,
            Err(error) => return tracing::debug!("connection: {error}"),
        };
        let service = service_fn(move |request: Request<Incoming>| {
            let site = Arc::clone(&site);
            async move { Ok::<_, Infallible>(request::answer_whole(&site, peer, request.map(Asked::Right)).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_MAX_BYTES)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(rest), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!("connection: {error}");
        }
    }
}

pub(super) fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = text("application/json", body);
    *response.status_mut() = status;
    response
}

pub(super) fn text(kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
