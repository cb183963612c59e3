//! Handles one request: finds its operation, checks the caller, calls the handler, and adds the headers of every
//! answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tracing::Instrument as _;

use crate::clock::monotonic_now;
use crate::event::Id;
use crate::feed::page::push_ms;
use crate::otlp::{Kind, Span, Tracer, Value};

use super::auth::{ADMIN, ADMIN_OR_SERVICE, Reason, Refusal, Roles, Subject, bearer};
use super::body::Asked;
use super::call::{Call, UserCall};
use super::edge::Edge;
use super::error::Problem;
use super::limit::{Caller, Class, Decision, Verdict, client};
use super::pieces::Body;
use super::request_id::{REQUEST_ID, RequestId, span};
use super::route::{Access, Found, Handler, Operation};
use super::site::Site;
use super::trace::{TRACEPARENT, Trace};
use super::{audit, console, cors, encoding, host, percent, query};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The origin and the time of a request.
struct Arrival {
    peer: IpAddr,
    started: Instant,
    /// The time of the request's arrival by the system's clock, in epoch milliseconds.
    day_ms: i64,
}

/// The headers that an answer has because of its request. Only hyper needs the headers in a map, and not the lane.
pub(super) struct Own {
    /// The time of the request's arrival by the system's clock, in epoch milliseconds.
    pub day_ms: i64,
    request_id: RequestId,
    trace: Trace,
    took_us: u64,
}

impl Own {
    /// Calls `put` for each header that the answer has because of its request.
    pub fn each(&self, mut put: impl FnMut(HeaderName, &str)) {
        let mut timing = "total;dur=".to_owned();
        push_ms(self.took_us, &mut timing);
        // No browser may guess a media type other than the one that `Content-Type` states.
        put(X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(REQUEST_ID, self.request_id.text());
        put(SERVER_TIMING, &timing);
        put(TRACEPARENT, self.trace.text());
    }
}

/// Answers a request that hyper read from `peer`, with the headers that belong to the request. A request of the lane
/// has already passed [`host::check`].
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

/// Answers a request of a connection from `peer`. nova does not handle a request that was `refused` because of its
/// head.
pub(super) async fn answer(
    site: &Site,
    peer: IpAddr,
    request: Request<Asked>,
    refused: Option<Problem>,
) -> (Response<Body>, Own) {
    let arrival = Arrival { peer, started: monotonic_now(), day_ms: site.edge.clock.day_ms() };
    let (head, body) = request.into_parts();
    let (request_id, mut trace) = (RequestId::of(&head.headers, arrival.day_ms), Trace::of(&head.headers));
    let tracer = site.edge.tracer.as_deref();
    if let Some(tracer) = tracer {
        let caller = trace.parent().map(|(_, sampled)| sampled);
        trace.set_sampled(tracer.takes(trace.place().trace_id, caller));
    }
    let span = span(&head, &request_id, &trace);
    let mut noted = Noted { trace: &trace, route: None, verdict: None };
    let handled = match refused {
        Some(problem) => Err(problem),
        None => handle(site, &arrival, &head, body, &mut noted).instrument(span).await,
    };
    let Noted { route, verdict, .. } = noted;
    let failed = |problem: Problem| problem.response(head.uri.path(), request_id.text()).map(Body::Left);
    let mut response = match handled.unwrap_or_else(failed).into_parts() {
        (parts, Body::Left(whole)) => {
            encoding::finish(Response::from_parts(parts, whole), &head.headers, &site.compressed).map(Body::Left)
        }
        // nova sends an answer in pieces without compression, so that each piece arrives at once.
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
    // nova writes this line of the log if `log.requests` is set. Control characters from a client are escaped in the
    // line.
    tracing::info!(
        target: "nova::requests", method = %head.method, path = ?head.uri.path(), status = response.status().as_u16(), took_us,
        request_id = request_id.text(), trace_id = trace.trace_id(), "answered"
    );
    if let Some(tracer) = tracer.filter(|_| trace.sampled()) {
        tell(tracer, &trace, (&head.method, route), (&arrival, took_us), response.status());
    }
    (response, Own { day_ms: arrival.day_ms, request_id, trace, took_us })
}

/// Facts about a request that the answer's headers and the trace need.
struct Noted<'a> {
    trace: &'a Trace,
    /// The path of the request's operation, in the form of the route table.
    route: Option<&'static str>,
    verdict: Option<Verdict>,
}

/// Reports the request to the collector of traces, by OpenTelemetry's conventions for HTTP servers. A path or a query
/// may contain personal data, so the span has only the operation's path.
fn tell(
    tracer: &Tracer,
    trace: &Trace,
    (method, route): (&Method, Option<&'static str>),
    (arrival, took_us): (&Arrival, u64),
    status: StatusCode,
) {
    let start_ns = u64::try_from(arrival.day_ms).unwrap_or_default().saturating_mul(1_000_000);
    let mut attributes = vec![
        ("http.request.method", Value::Text(method.to_string())),
        ("http.response.status_code", Value::Number(status.as_u16().into())),
    ];
    attributes.extend(route.map(|route| ("http.route", Value::Text(route.to_owned()))));
    tracer.tell(Span {
        place: trace.place(),
        parent: trace.parent().map(|(span, _)| span),
        name: route.map_or(method.to_string(), |route| format!("{method} {route}")),
        kind: Kind::Server,
        start_ns,
        end_ns: start_ns.saturating_add(took_us.saturating_mul(1_000)),
        failed: status.is_server_error(),
        attributes,
    });
}

async fn handle(
    site: &Site,
    arrival: &Arrival,
    head: &Parts,
    body: Asked,
    noted: &mut Noted<'_>,
) -> Result<Response<Body>, Problem> {
    let edge = &site.edge;
    let path = percent::path(head.uri.path())?;
    if let Some(answer) = site.console.as_ref().and_then(|console| console.answer(&head.method, &path)) {
        return answer.map(|whole| whole.map(Body::Left));
    }
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
    let call = Call {
        edge,
        documents: &site.documents,
        headers: &head.headers,
        authority: host::authority(head),
        query: head.uri.query().unwrap_or_default(),
        trace: noted.trace,
        name: &name,
        peer: arrival.peer,
        started: arrival.started,
    };
    noted.route = Some(operation.path);
    let access = operation.access();
    let asker = match operation.class {
        // If anyone may use an operation, and the operation has no limit class, nova need not know the caller.
        None if access == Access::Anyone => Err(Reason::Missing.into()),
        _ => asker(edge, access, token(site, head)?, arrival.day_ms).await,
    };
    let caller = caller(edge, arrival, &head.headers, asker.as_ref().ok());
    let allowed = allowed(edge, operation, caller, asker, &mut noted.verdict);
    let refused = allowed.as_ref().is_err_and(|problem| problem.refuses_caller());
    if refused && access == Access::Admin {
        Box::pin(audit::refused(&edge.control, caller, &head.method, operation.path)).await;
    }
    let subject = allowed?;
    let whole = match (operation.handler, subject) {
        (Handler::Anyone(answer), _) => answer(&call),
        (Handler::Stream(_) | Handler::AdminStream(_), _) if head.method == Method::HEAD => {
            return Err(Problem::MethodNotAllowed { allow: "GET" });
        }
        (Handler::Stream(open), _) => {
            return open(&call, client::address(call.peer, call.headers, &edge.gate.settings.trusted_proxies));
        }
        (Handler::Whose { looked, answer }, Some(subject)) => {
            answer(&call, &whose(edge, &subject, call.query, looked).await?)
        }
        (Handler::User(answer) | Handler::Admin(answer), Some(subject)) => {
            answer(UserCall { call, subject, body }).await
        }
        (Handler::Test(answer), _) => {
            let subject = Subject { user: Id::NIL, roles: Roles::default() };
            answer(UserCall { call, subject, body }).await
        }
        (Handler::AdminStream(open), Some(subject)) => return open(UserCall { call, subject, body }).await,
        (_, None) => Err(Problem::MissingToken),
    };
    Ok(whole?.map(Body::Left))
}

/// The caller whose quota a request uses.
fn caller(edge: &Edge, arrival: &Arrival, headers: &HeaderMap, asker: Option<&Subject>) -> Caller {
    match asker {
        Some(subject) => Caller::User { id: subject.user, service: subject.has_role(ADMIN_OR_SERVICE) },
        None => Caller::address(client::address(arrival.peer, headers, &edge.gate.settings.trusted_proxies)),
    }
}

/// Checks the caller's quota and role, and returns the user of the request, or `None` if the operation needs no user.
fn allowed(
    edge: &Edge,
    operation: &Operation,
    caller: Caller,
    asker: Result<Subject, Refusal>,
    verdict: &mut Option<Verdict>,
) -> Result<Option<Subject>, Problem> {
    let refused = asker.is_err() && operation.access() != Access::Anyone;
    if let Some(class) = if refused { Some(Class::Refused) } else { operation.class } {
        charge(edge, class, caller, verdict)?;
    }
    match operation.access() {
        Access::Anyone => Ok(None),
        Access::Admin if asker.as_ref().is_ok_and(|subject| !subject.has_role(ADMIN)) => {
            Err(Problem::InsufficientScope(ADMIN))
        }
        Access::User | Access::Admin => asker.map(Some).map_err(|refusal| match refusal.reason {
            Reason::KeysAway => Problem::Unavailable("the keys of the tokens' issuer cannot be had just now"),
            Reason::Missing => Problem::MissingToken,
            _ => Problem::InvalidToken,
        }),
    }
}

/// Takes the request from the caller's quota, and stores the verdict for the answer's headers.
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

/// The user whose token the request has. If no known key fits the token and the operation needs a token, nova first
/// reads the keys again.
async fn asker(edge: &Edge, access: Access, token: Option<&str>, day_ms: i64) -> Result<Subject, Refusal> {
    if let Some(subject) = edge.auth.unchecked(token) {
        return Ok(subject);
    }
    let asker = match token {
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

/// The user whose answer is requested: the caller, or the user that the parameter `user_id` names. A caller needs the
/// role service or admin to name a user other than the caller. The audit notes when an admin reads the answer for a
/// user other than the admin.
async fn whose(edge: &Arc<Edge>, subject: &Subject, query: &str, action: &'static str) -> Result<Subject, Problem> {
    let Some(name) = percent::parameter(query, "user_id")? else { return Ok(*subject) };
    let whose = Subject { user: query::user(&name)?, roles: Roles::default() };
    if whose.user != subject.user {
        if !subject.has_role(ADMIN_OR_SERVICE) {
            return Err(Problem::SubjectMismatch);
        }
        if subject.has_role(ADMIN) {
            Box::pin(audit::looked(&edge.serving.durable, subject, action, whose.user.to_string())).await?;
        }
    }
    Ok(whose)
}

/// The token of the request, either from its header or from the console's cookie.
fn token<'h>(site: &Site, head: &'h Parts) -> Result<Option<&'h str>, Problem> {
    if site.console.is_none() || head.headers.contains_key(AUTHORIZATION) {
        return Ok(bearer(&head.headers));
    }
    console::cookie_token(site.edge.gate.settings.console, &head.method, (&head.headers, host::authority(head)))
}
