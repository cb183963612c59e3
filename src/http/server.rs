//! Listeners and connections.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::patience::Patient;
use super::places::Places;
use super::request::{self, Site};
use super::route::{Plane, Routes};
use super::{Edge, openapi, tls, upkeep};

/// Connections at once; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Of them, those of one address that is not a trusted proxy; more are closed at once.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_024;
const HEADERS_MAX: usize = 64;
/// Head of a request.
const HEAD_MAX_BYTES: usize = 16 << 10;
/// For the head of a request, also of the next one on a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in flight may take once the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The runtime that listeners are bound and served in: a worker a core, as one alone bounds the rate of reads.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    site: Arc<Site>,
    tls: Option<TlsAcceptor>,
    /// Set on the one that also does the edge's upkeep.
    upkeep: bool,
}

/// Binds the API's address; nothing is accepted before [`Server::run`].
pub async fn bind(addr: SocketAddr, edge: Arc<Edge>) -> io::Result<Server> {
    let plane = edge.gate.settings.admin_listen.map(|_| Plane::Api);
    listen(addr, edge, plane, true).await
}

/// Binds the address of metrics and admin routes where it is another one.
pub async fn bind_admin(edge: Arc<Edge>) -> io::Result<Option<Server>> {
    match edge.gate.settings.admin_listen {
        Some(addr) => Ok(Some(listen(addr, edge, Some(Plane::Admin), false).await?)),
        None => Ok(None),
    }
}

async fn listen(addr: SocketAddr, edge: Arc<Edge>, plane: Option<Plane>, upkeep: bool) -> io::Result<Server> {
    let settings = &edge.gate.settings;
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key)?),
        _ => None,
    };
    let routes = Routes::new(plane).map_err(io::Error::other)?;
    let openapi = openapi::document(&routes).to_string();
    let listener = TcpListener::bind(addr).await?;
    Ok(Server { listener, site: Arc::new(Site { edge, routes, openapi }), tls, upkeep })
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
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
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
            let (site, tls, watcher) = (Arc::clone(&self.site), self.tls.clone(), graceful.watcher());
            tokio::spawn(async move {
                connect(stream, peer, tls, site, watcher).await;
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
    }
}

async fn connect(stream: TcpStream, peer: IpAddr, tls: Option<TlsAcceptor>, site: Arc<Site>, watcher: Watcher) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, peer, site, watcher).await,
        Some(acceptor) => match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, peer, site, watcher).await,
            Ok(Err(error)) => tracing::debug!("TLS: {error}"),
            Err(_) => tracing::debug!("TLS: no handshake in time"),
        },
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: IpAddr,
    site: Arc<Site>,
    watcher: Watcher,
) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(request::answer(&site, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, IDLE_TIMEOUT)), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("connection: {error}");
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
