//! Serves one connection, with TLS if TLS is configured. The read lane, hyper's HTTP/1.1 or hyper's HTTP/2 handles the
//! requests.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::body::Asked;
use super::head::{HEAD_MAX_BYTES, HEADERS_MAX};
use super::lane::{self, After, Rest};
use super::patience::{Idle, Pace, Patient, Phase, STALL_TIMEOUT};
use super::pieces::Body;
use super::sites::Sites;
use super::{request, tls};

const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of open requests of one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// The most requests that a client may reset before nova has looked at the requests. nova ends a connection with more
/// resets than this (CVE-2023-44487).
const RESETS_MAX: usize = 20;
/// The most streams that nova resets because of the client's data. nova ends a connection that needs more resets than
/// this (CVE-2025-8671).
const OWN_RESETS_MAX: usize = 100;
/// The most bytes of answers that may wait on one HTTP/2 stream.
const SEND_MAX_BYTES: usize = 64 << 10;
/// The most bytes of answers that the kernel holds for a client. By default Linux holds up to 4 MiB of answers for each
/// client. In a test with 300 clients that read nothing, copying 4 MiB for each client delayed a page for another user
/// by two seconds.
#[cfg(target_os = "linux")]
const SEND_BUFFER_BYTES: usize = 512 << 10;
/// The number of bytes of request bodies that a client may send ahead: on one HTTP/2 stream, and on one connection. The
/// body of a request has at most 256 KiB.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;

/// The parts that nova needs to serve a connection.
pub(super) struct Connection {
    pub peer: IpAddr,
    pub pace: Pace,
    pub tls: Option<TlsAcceptor>,
    pub sites: Sites,
    pub idle: Idle,
    pub stop: watch::Receiver<bool>,
    /// A connection keeps its watcher until the connection ends. A shutdown waits for all watchers.
    pub watcher: Watcher,
}

impl Connection {
    pub async fn serve(mut self, stream: std::net::TcpStream) {
        bounded_by_kernel(&stream);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("connection: {error}"),
        };
        match self.tls.take() {
            None => self.serve_plain(stream).await,
            Some(acceptor) => Box::pin(self.serve_tls(acceptor, stream)).await,
        }
    }

    async fn serve_tls(self, acceptor: TlsAcceptor, stream: TcpStream) {
        match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP_2) => {
                let Connection { peer, pace, sites, idle, stop, watcher, .. } = self;
                let stream = Rest::unread(Patient::new(stream, pace.clone(), idle));
                serve_http2(stream, Served { peer, sites, pace }, stop, watcher).await;
            }
            Ok(Ok(stream)) => self.serve_plain(stream).await,
            Ok(Err(error)) => tracing::debug!("TLS: {error}"),
            Err(_) => tracing::debug!("TLS: no handshake in time"),
        }
    }

    /// Serves the connection in the short lane as long as possible, and after that by hyper. The parts for hyper are in
    /// boxes, so that an idle connection in the lane takes no memory for these parts.
    pub async fn serve_plain<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Connection { peer, pace, sites, idle, stop, watcher, .. } = self;
        let stream = Patient::new(stream, pace.clone(), idle);
        let after = lane::serve(stream, peer, &sites, stop.clone()).await;
        let served = Served { peer, sites, pace };
        match after {
            Ok(After::Ended) => {}
            Ok(After::Http1(rest)) => Box::pin(serve_http1(rest, served, watcher)).await,
            Ok(After::Http2(rest)) => Box::pin(serve_http2(rest, served, stop, watcher)).await,
            Err(error) => tracing::debug!("connection: {error}"),
        }
    }
}

/// Sets the kernel's options for a client's connection. The kernel sends small answers at once, and holds at most
/// [`SEND_BUFFER_BYTES`] of answers for the client. The connection ends if the client takes nothing for
/// [`STALL_TIMEOUT`]. The kernel ends a stalled connection even if all sent bytes fit into buffers and no write waits.
pub(crate) fn bounded_by_kernel(stream: &std::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout};

        if let Err(error) = set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES) {
            tracing::debug!("the kernel keeps its own bound on what waits for a client: {error}");
        }
        if let Err(error) = set_tcp_user_timeout(stream, STALL_TIMEOUT.as_millis() as u32) {
            tracing::debug!("a client that takes nothing is noticed late: {error}");
        }
    }
}

/// Answers the requests that hyper reads.
#[derive(Clone)]
struct Served {
    peer: IpAddr,
    sites: Sites,
    pace: Pace,
}

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        request::answer_whole(&self.sites.now(), self.peer, request.map(Asked::Right)).await
    }
}

async fn serve_http1<S>(stream: Rest<Patient<S>>, served: Served, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let served = served.clone();
        served.pace.set(Phase::Busy);
        async move {
            let response = served.answer(request).await;
            // An event stream stays open without requests, because the stream has its own pings.
            if matches!(response.body(), Body::Left(_)) {
                served.pace.set(Phase::Idle);
            }
            Ok::<_, Infallible>(response)
        }
    });
    // `Patient` limits the time for a request's head and for the next request, so hyper's own limit is off.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("connection: {error}");
    }
}

/// The open requests of one connection.
#[derive(Clone, Default)]
struct Open(Arc<AtomicUsize>);

/// One open request, which counts as open until this value is dropped.
struct OpenOne(Open, Pace);

impl Open {
    fn one(&self, pace: &Pace) -> OpenOne {
        self.0.fetch_add(1, Ordering::Relaxed);
        pace.set(Phase::Busy);
        OpenOne(self.clone(), pace.clone())
    }
}

impl OpenOne {
    /// Notes that the answer is an event stream with its own pings. The stream counts as an open request until the
    /// connection ends, so nova ends the connection only if no data moves.
    fn stays(self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for OpenOne {
    fn drop(&mut self) {
        if self.0.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.set(Phase::Quiet);
        }
    }
}

async fn serve_http2<S>(stream: Rest<Patient<S>>, served: Served, mut stop: watch::Receiver<bool>, _watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pace = served.pace.clone();
    pace.set(Phase::Quiet);
    let open = Open::default();
    let service = service_fn(move |request| {
        let (served, one) = (served.clone(), open.one(&served.pace));
        async move {
            let response = served.answer(request).await;
            if matches!(response.body(), Body::Right(_)) {
                one.stays();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(OWN_RESETS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES as u32)
        .max_send_buf_size(SEND_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopped => None,
        () = pace.quiet() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection: {error}");
    }
}
