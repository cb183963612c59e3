//! One request: found, allowed, handled, and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tracing::Instrument as _;

use crate::feed::page::push_ms;

use super::auth::{Reason, Refusal, Roles, Subject};
use super::body::Asked;
use super::encoding::Compressed;
use super::error::Problem;
use super::limit::{Caller, Class, Decision, Verdict, client};
use super::metrics::Scrapes;
use super::route::{ADMIN, ADMIN_OR_SERVICE, Access, Found, Operation, Route, Routes};
use super::shared::{Kept, Shared};
use super::trace::{TRACEPARENT, Trace};
use super::{
    Body, Edge, admin, body, cors, dismiss, encoding, events, feed_metrics, host, idempotency, openapi, overrides,
    percent, read, ready, server, stream,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const REQUEST_ID_MAX_BYTES: usize = 128;

/// What a listener serves.
pub(super) struct Site {
    pub edge: Arc<Edge>,
    routes: Routes,
    openapi: Shared,
    jwks: Kept<Arc<str>>,
    compressed: Compressed,
    scrapes: Scrapes,
}

impl Site {
    pub fn new(edge: Arc<Edge>, routes: Routes) -> Site {
        let openapi = Shared::new("application/json", openapi::document(&routes).to_string());
        Site {
            edge,
            routes,
            openapi,
            jwks: Kept::default(),
            compressed: Compressed::default(),
            scrapes: Scrapes::default(),
        }
    }
}

type Answer = Result<Response<Full<Bytes>>, Problem>;

/// Where a request came from, and when.
struct Arrival {
    peer: IpAddr,
    started: Instant,
    /// By the time of the day.
    day_ms: i64,
}

/// What an answer says of its request alone: headers that stand in no map until they must.
pub(super) struct Own {
    /// When the request came, by the time of the day.
    pub day_ms: i64,
    request_id: RequestId,
    trace: Trace,
    took_us: u64,
}

impl Own {
    /// Hands over each header.
    pub fn each(&self, mut put: impl FnMut(HeaderName, &str)) {
        let mut timing = "total;dur=".to_owned();
        push_ms(self.took_us, &mut timing);
        // No browser is to guess another type than the one that is said.
        put(X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(REQUEST_ID, self.request_id.text());
        put(SERVER_TIMING, &timing);
        put(TRACEPARENT, self.trace.text());
    }
}

/// Answers a request of hyper's from `peer`, also with the headers that are the request's own. What the lane takes has
/// passed [`host::check`] there.
pub(super) async fn answer_whole(site: &Site, peer: IpAddr, request: Request<Asked>) -> Response<Body> {
    let (version, refused) = (request.version(), host::check(request.version(), request.headers()).err());
    let ends = refused == Some(Problem::UnknownTransferCoding) && version < Version::HTTP_2;
    let (mut response, own) = answer(site, peer, request, refused).await;
    own.each(|name, value| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    });
    if ends {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers a request of a connection from `peer`; one that was `refused` by its head is not looked at.
pub(super) async fn answer(
    site: &Site,
    peer: IpAddr,
    request: Request<Asked>,
    refused: Option<Problem>,
) -> (Response<Body>, Own) {
    let arrival = Arrival { peer, started: Instant::now(), day_ms: site.edge.clock.day_ms() };
    let (head, body) = request.into_parts();
    let (request_id, trace) = (RequestId::of(&head.headers, arrival.day_ms), Trace::of(&head.headers));
    let span = tracing::info_span!(
        "request", method = %head.method, path = head.uri.path(), request_id = request_id.text(),
        trace_id = trace.trace_id(), span_id = trace.span_id(),
    );
    let mut verdict = None;
    let handled = match refused {
        Some(problem) => Err(problem),
        None => handle(site, &arrival, &head, body, &mut verdict).instrument(span).await,
    };
    let failed = |problem: Problem| problem.response(head.uri.path(), request_id.text()).map(Body::Left);
    let mut response = match handled.unwrap_or_else(failed).into_parts() {
        (parts, Body::Left(whole)) => {
            encoding::finish(Response::from_parts(parts, whole), &head.headers, &site.compressed).map(Body::Left)
        }
        // Events go out as they come.
        (parts, events) => Response::from_parts(parts, events),
    };
    if head.method == Method::HEAD {
        let length = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
        *response.body_mut() = Body::Left(Full::default());
        if response.status() != StatusCode::NOT_MODIFIED {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    let headers = response.headers_mut();
    if let Some(verdict) = verdict {
        verdict.write(headers);
    }
    let origins = &site.edge.gate.settings.cors_origins;
    if !origins.is_empty() {
        cors::write(cors::allowed(origins, &head.headers), headers);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let took_us = arrival.started.elapsed().as_micros() as u64;
    (response, Own { day_ms: arrival.day_ms, request_id, trace, took_us })
}

enum RequestId {
    Given(HeaderValue),
    New([u8; uuid::fmt::Hyphenated::LENGTH]),
}

impl RequestId {
    /// The caller's if it is a plain one, else a new one (a UUID of version 7).
    fn of(headers: &HeaderMap, now_ms: i64) -> RequestId {
        let plain = |id: &&HeaderValue| {
            (1..=REQUEST_ID_MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(given) = headers.get(REQUEST_ID).filter(plain) {
            return RequestId::Given(given.clone());
        }
        let (mut random, mut text) = ([0; 10], [0; uuid::fmt::Hyphenated::LENGTH]);
        fastrand::fill(&mut random);
        let new = uuid::Builder::from_unix_timestamp_millis(now_ms.max(0) as u64, &random).into_uuid();
        new.hyphenated().encode_lower(&mut text);
        RequestId::New(text)
    }

    fn text(&self) -> &str {
        match self {
            RequestId::Given(given) => given.to_str().unwrap_or_default(),
            RequestId::New(text) => std::str::from_utf8(text).unwrap_or_default(),
        }
    }
}

async fn handle(
    site: &Site,
    arrival: &Arrival,
    head: &Parts,
    body: Asked,
    verdict: &mut Option<Verdict>,
) -> Result<Response<Body>, Problem> {
    let edge = &site.edge;
    let path = percent::path(head.uri.path())?;
    let (operation, name) = match site.routes.find(&head.method, &path) {
        Found::Nothing => return Err(Problem::NotFound),
        Found::Methods(methods) if !edge.gate.settings.cors_origins.is_empty() => {
            let asks = cors::preflight(&head.method, &head.headers);
            return if asks {
                Ok(cors::answer(methods, &head.headers).map(Body::Left))
            } else {
                Err(Problem::MethodNotAllowed { allow: methods })
            };
        }
        Found::Methods(methods) => return Err(Problem::MethodNotAllowed { allow: methods }),
        Found::Operation(operation, name) => (operation, percent::segment(name.unwrap_or_default())?),
    };
    let query = head.uri.query().unwrap_or_default();
    let subject = match operation {
        Operation { access: Access::Anyone, class: None, .. } => None,
        _ => {
            let asker = asker(edge, operation.access, &head.headers, arrival.day_ms).await;
            let caller = caller(edge, arrival, &head.headers, asker.as_ref().ok());
            let allowed = allowed(edge, operation, caller, asker, verdict);
            let refused = matches!(allowed, Err(Problem::InvalidToken | Problem::InsufficientScope(_)));
            if refused && operation.access == Access::Admin {
                Box::pin(admin::refused(edge, caller, &head.method, operation.path)).await;
            }
            allowed?
        }
    };
    let whole = match subject {
        None if operation.route == Route::TrendingStream && head.method == Method::HEAD => {
            return Err(Problem::MethodNotAllowed { allow: "GET" });
        }
        None if operation.route == Route::TrendingStream => {
            let address = client::address(arrival.peer, &head.headers, &edge.gate.settings.trusted_proxies);
            return stream::open(edge, address, query);
        }
        None => anonymous(site, operation.route, head),
        Some(subject) => match operation.route {
            Route::Feed => {
                let whose = whose(edge, &subject, query, "feed-read").await?;
                read::feed(edge, query, &whose, arrival.started)
            }
            Route::Suggestions => {
                let whose = whose(edge, &subject, query, "suggestions-read").await?;
                read::suggestions(edge, query, &whose)
            }
            // Boxed, as it holds the futures of all the others: reads would move some kilobytes about for nothing.
            _ => Box::pin(by_user(edge, operation, &subject, &name, head, body)).await,
        },
    };
    Ok(whole?.map(Body::Left))
}

/// Whose quota a request takes from.
fn caller(edge: &Edge, arrival: &Arrival, headers: &HeaderMap, asker: Option<&Subject>) -> Caller {
    match asker {
        Some(subject) => Caller::User { id: subject.user, service: subject.has_role(ADMIN_OR_SERVICE) },
        None => Caller::address(client::address(arrival.peer, headers, &edge.gate.settings.trusted_proxies)),
    }
}

/// Who asks, if the operation wants to know, may, and is within the quota.
fn allowed(
    edge: &Edge,
    operation: &Operation,
    caller: Caller,
    asker: Result<Subject, Refusal>,
    verdict: &mut Option<Verdict>,
) -> Result<Option<Subject>, Problem> {
    let refused = asker.is_err() && operation.access != Access::Anyone;
    if let Some(class) = if refused { Some(Class::Refused) } else { operation.class } {
        charge(edge, class, caller, verdict)?;
    }
    match operation.access {
        Access::Anyone => Ok(None),
        Access::Admin if asker.as_ref().is_ok_and(|subject| !subject.has_role(ADMIN)) => {
            Err(Problem::InsufficientScope(ADMIN))
        }
        Access::User | Access::Admin => asker.map(Some).map_err(|refusal| match refusal.reason {
            Reason::KeysAway => Problem::Unavailable("the keys of the tokens' issuer cannot be had just now"),
            _ => Problem::InvalidToken,
        }),
    }
}

/// Takes the request out of the caller's quota; the verdict is for the answer's headers.
fn charge(edge: &Edge, class: Class, caller: Caller, verdict: &mut Option<Verdict>) -> Result<(), Problem> {
    let limiter = &edge.gate.limiter;
    *verdict = limiter.check(class, caller, limiter.now_us());
    let seconds = |us: u64| us.div_ceil(1_000_000).max(1);
    match verdict.map(|verdict| verdict.decision) {
        None | Some(Decision::Granted) => Ok(()),
        Some(Decision::OverQuota { retry_after_us }) => {
            Err(Problem::QuotaExceeded { retry_after_s: seconds(retry_after_us) })
        }
        Some(Decision::Shed { retry_after_us }) => Err(Problem::Shed { retry_after_s: seconds(retry_after_us) }),
    }
}

/// Whose token the request has. One that no known key fits waits for a look at the keys where a token is needed.
async fn asker(edge: &Edge, access: Access, headers: &HeaderMap, day_ms: i64) -> Result<Subject, Refusal> {
    let asker = match bearer(headers) {
        Some(token) if access == Access::Anyone => edge.auth.verify(token, day_ms),
        Some(token) => edge.auth.verify_or_look(token, day_ms).await,
        None => Err(Reason::Missing.into()),
    };
    if let Err(refusal) = &asker
        && (access != Access::Anyone || refusal.reason != Reason::Missing)
    {
        edge.auth.refused.note(refusal);
    }
    asker
}

/// Whose answer is asked for: the caller's own, or with `user_id` that of the user for whom a service asks. An admin's
/// look at another user's goes into the audit.
async fn whose(edge: &Arc<Edge>, subject: &Subject, query: &str, action: &'static str) -> Result<Subject, Problem> {
    let Some(name) = percent::parameter(query, "user_id")? else { return Ok(*subject) };
    let whose = Subject { user: admin::user(&name)?, roles: Roles::default() };
    if whose.user != subject.user {
        if !subject.has_role(ADMIN_OR_SERVICE) {
            return Err(Problem::SubjectMismatch);
        }
        if subject.has_role(ADMIN) {
            Box::pin(admin::looked(edge, subject, action, whose.user.to_string())).await?;
        }
    }
    Ok(whose)
}

/// The token of the one `Authorization: Bearer` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn anonymous(site: &Site, route: Route, head: &Parts) -> Answer {
    let edge = &site.edge;
    match route {
        Route::Live => Ok(server::json(StatusCode::OK, r#"{"status":"live"}"#.to_owned())),
        Route::Ready => Ok(ready::answer(edge)),
        Route::Metrics => site.scrapes.answer(edge, &head.headers),
        Route::FeedMetrics => feed_metrics::answer(edge, head.uri.query().unwrap_or_default()),
        Route::Jwks => {
            let make = |text: &Arc<str>| Ok(Shared::new("application/json", text.to_string()));
            site.jwks.get(edge.auth.jwks(), make).map(|jwks| jwks.cacheable())
        }
        Route::OpenApi => Ok(site.openapi.cacheable()),
        Route::Trending => read::trending(edge, head.uri.query().unwrap_or_default()),
        _ => Err(Problem::InvalidToken),
    }
}

/// What needs a user and is no read of memory. `name` is the part of the path that the route names.
async fn by_user(
    edge: &Arc<Edge>,
    operation: &Operation,
    subject: &Subject,
    name: &str,
    head: &Parts,
    body: Asked,
) -> Answer {
    let (headers, query) = (&head.headers, head.uri.query().unwrap_or_default());
    let body = if operation.body.is_empty() { Bytes::new() } else { body::content(headers, body).await? };
    match operation.route {
        Route::Dismiss => dismiss::dismiss(edge, subject, name).await,
        Route::Events => {
            let Some(key) = idempotency::Key::of(headers, subject.user)? else {
                return events::publish(edge, subject, headers, None, body).await;
            };
            let work = events::publish(edge, subject, headers, Some(key), body.clone());
            idempotency::once(edge, key, &body, work).await
        }
        Route::Invalidate => admin::invalidate(edge, subject, headers, &body).await,
        Route::CacheInvalidate => admin::invalidate_cache(edge, subject, headers, &body).await,
        Route::Revocations => admin::list(edge, query),
        Route::Revoke => admin::revoke(edge, subject, headers, &body).await,
        Route::Unrevoke => admin::unrevoke(edge, subject, query).await,
        Route::Audit => admin::audit(edge, query).await,
        Route::Dlq => admin::dead_letters(edge, query).await,
        Route::DlqLetter => admin::dead_letter(edge, subject, name).await,
        Route::DlqReplay => admin::replay(edge, subject, headers, &body).await,
        Route::DlqDiscard => admin::discard(edge, subject, headers, &body).await,
        Route::Cdc => admin::cdc(edge).await,
        Route::CdcPause => admin::pause(edge, subject, name).await,
        Route::CdcResume => admin::resume(edge, subject, name, headers, &body).await,
        Route::CdcEpoch => admin::bump_epoch(edge, subject, name).await,
        Route::CdcSeek => admin::seek(edge, subject, headers, &body).await,
        Route::CdcResnapshot => admin::resnapshot(edge, subject, headers, &body).await,
        Route::ExplainFeed => admin::explain(edge, subject, name, query).await,
        Route::Limits => Ok(admin::limits(edge)),
        Route::Backup => admin::backup(edge, subject, headers, &body).await,
        Route::Overrides => Ok(overrides::list(edge)),
        Route::Override => overrides::put(edge, subject, name, headers, &body).await,
        Route::Unoverride => overrides::remove(edge, subject, name).await,
        Route::Live
        | Route::Ready
        | Route::Metrics
        | Route::Jwks
        | Route::OpenApi
        | Route::Feed
        | Route::Suggestions
        | Route::Trending
        | Route::TrendingStream
        | Route::FeedMetrics => Err(Problem::NotFound),
    }
}
