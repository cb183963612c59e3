//! Connections, the route table, and what every answer carries.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use matchit::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::auth::Subject;
use super::error::Problem;
use super::events::BODY_MAX_BYTES;
use super::{Body, Edge, dismiss, events, feed_metrics, overrides, read, stream};

/// Connections at once; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 4_096;
const HEADERS_MAX: usize = 64;
/// Head of a request.
const HEAD_MAX_BYTES: usize = 16 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take once the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const REQUEST_ID_MAX_BYTES: usize = 128;

#[derive(Clone, Copy, Debug)]
enum Route {
    Live,
    Ready,
    Metrics,
    Jwks,
    Events,
    Feed,
    Invalidate,
    Trending,
    TrendingStream,
    FeedMetrics,
    Suggestions,
    Dismiss,
    Override,
    Overrides,
}

impl Route {
    const ALL: [(&'static str, Route); 17] = [
        ("/health/live", Route::Live),
        ("/health/ready", Route::Ready),
        ("/api/v1/health", Route::Ready),
        ("/api/v1/health/live", Route::Live),
        ("/api/v1/health/ready", Route::Ready),
        ("/metrics", Route::Metrics),
        ("/.well-known/jwks.json", Route::Jwks),
        ("/api/v1/events", Route::Events),
        ("/api/v1/feed", Route::Feed),
        ("/api/v1/feed/invalidate", Route::Invalidate),
        ("/api/v1/feed/trending", Route::Trending),
        ("/api/v1/feed/trending/stream", Route::TrendingStream),
        ("/api/v1/feed/metrics", Route::FeedMetrics),
        ("/api/v1/admin/trending/overrides", Route::Overrides),
        ("/api/v1/admin/trending/overrides/{post}", Route::Override),
        ("/api/v1/discover/suggested-users", Route::Suggestions),
        ("/api/v1/discover/suggested-users/{user_id}", Route::Dismiss),
    ];

    const fn allow(self) -> &'static str {
        match self {
            Route::Events | Route::Invalidate => "POST",
            Route::Dismiss => "DELETE",
            Route::Override => "PUT, DELETE",
            Route::TrendingStream => "GET",
            _ => "GET, HEAD",
        }
    }
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    edge: Arc<Edge>,
    routes: Arc<Router<Route>>,
}

/// Binds an address; nothing is accepted before [`Server::run`].
pub async fn bind(addr: SocketAddr, edge: Arc<Edge>) -> std::io::Result<Server> {
    let mut routes = Router::new();
    for (path, route) in Route::ALL {
        routes.insert(path, route).map_err(std::io::Error::other)?;
    }
    Ok(Server { listener: TcpListener::bind(addr).await?, edge, routes: Arc::new(routes) })
}

impl Server {
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true, then lets requests in flight finish.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let graceful = GracefulShutdown::new();
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    // Out of descriptors: give others the time to end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Small answers must not wait for more.
            let _ = stream.set_nodelay(true);
            let (edge, routes) = (Arc::clone(&self.edge), Arc::clone(&self.routes));
            let service = service_fn(move |request| {
                let (edge, routes) = (Arc::clone(&edge), Arc::clone(&routes));
                async move { Ok::<_, Infallible>(answer(&edge, &routes, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_MAX_BYTES)
                .max_headers(HEADERS_MAX)
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("connection: {error}");
                }
                drop(permit);
            });
        }
        drop(self.listener);
        self.edge.streams.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }
}

async fn answer(edge: &Edge, routes: &Router<Route>, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    let head = request.method() == Method::HEAD;
    let request_id = request_id(&request);
    let mut response = match dispatch(edge, routes, request).await {
        Ok(response) => response,
        Err(problem) => problem.response(&path, &request_id).map(Body::Left),
    };
    if head {
        let length = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
        *response.body_mut() = Body::Left(Full::default());
        response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    let timing = format!("total;dur={:.3}", started.elapsed().as_secs_f64() * 1e3);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        headers.insert(SERVER_TIMING, value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The caller's request id if it is a plain one, else a new one.
fn request_id(request: &Request<Incoming>) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain =
        |id: &&str| !id.is_empty() && id.len() <= REQUEST_ID_MAX_BYTES && id.bytes().all(|b| b.is_ascii_graphic());
    given.filter(plain).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

async fn dispatch(edge: &Edge, routes: &Router<Route>, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let route = *routes.at(request.uri().path()).map_err(|_| Problem::NotFound)?.value;
    let allowed = match route {
        Route::Events | Route::Invalidate => request.method() == Method::POST,
        Route::Dismiss => request.method() == Method::DELETE,
        Route::Override => matches!(*request.method(), Method::PUT | Method::DELETE),
        Route::TrendingStream => request.method() == Method::GET,
        _ => matches!(*request.method(), Method::GET | Method::HEAD),
    };
    if !allowed {
        return Err(Problem::MethodNotAllowed { allow: route.allow() });
    }
    let query = request.uri().query().unwrap_or_default();
    let response = match route {
        Route::TrendingStream => return stream::open(edge, query),
        Route::Live => Ok(json(StatusCode::OK, r#"{"status":"live"}"#.to_owned())),
        Route::Ready => Ok(read::ready(edge)),
        Route::Metrics => read::metrics(edge),
        Route::Jwks => Ok(json(StatusCode::OK, edge.auth.jwks().to_owned())),
        Route::Trending => read::trending(edge, query, request.headers()),
        Route::Feed => read::feed(edge, query, &subject(edge, &request)?),
        Route::Invalidate => Ok(read::invalidate(edge, &subject(edge, &request)?)),
        Route::Suggestions => read::suggestions(edge, query, &subject(edge, &request)?),
        Route::Dismiss => {
            let subject = subject(edge, &request)?;
            let other = request.uri().path().rsplit('/').next().unwrap_or_default();
            dismiss::dismiss(edge, &subject, other).await
        }
        Route::FeedMetrics => feed_metrics::answer(edge, query),
        Route::Overrides => {
            admin(&subject(edge, &request)?)?;
            Ok(overrides::list(edge))
        }
        Route::Override => {
            admin(&subject(edge, &request)?)?;
            let post = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            match *request.method() {
                Method::PUT => overrides::put(edge, &post, &body(request).await?).await,
                _ => overrides::remove(edge, &post).await,
            }
        }
        Route::Events => {
            let subject = subject(edge, &request)?;
            let headers = request.headers().clone();
            events::publish(edge, &subject, &headers, body(request).await?).await
        }
    };
    response.map(|response| response.map(Body::Left))
}

/// The whole body, within its time and size.
async fn body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    let body = Limited::new(request.into_body(), BODY_MAX_BYTES).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    let body = body.map_err(|_| Problem::RequestTimeout)?;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Problem::TooLarge { detail: format!("a body of at most {BODY_MAX_BYTES} bytes") },
        None => Problem::MalformedJson(format!("the body broke off: {error}")),
    })?;
    Ok(body.to_bytes())
}

fn admin(subject: &Subject) -> Result<(), Problem> {
    if subject.role.as_deref() == Some("admin") { Ok(()) } else { Err(Problem::InsufficientScope) }
}

fn subject(edge: &Edge, request: &Request<Incoming>) -> Result<Subject, Problem> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Problem::InvalidToken) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Problem::InvalidToken)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::InvalidToken);
    }
    edge.auth.verify(token.trim()).ok_or(Problem::InvalidToken)
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
