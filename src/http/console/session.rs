//! The session of the console. A person enters a token once, and nova exchanges the token for a cookie. No script can
//! read the cookie, and the browser sends the cookie only with requests from the console's own site. nova accepts the
//! cookie only in a request with the console's own header, which the page of a foreign site cannot set (OWASP, "custom
//! request headers").

use http::header::{COOKIE, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::answers::{self, Answer};
use crate::http::auth::{ADMIN, Subject, bearer};
use crate::http::call::{Call, UserCall};
use crate::http::edge::Edge;
use crate::http::error::Problem;
use crate::http::settings::ConsoleMode;
use crate::schema::{Uuid, example};

/// The header of the console's requests. The value of the header has no meaning.
pub(in crate::http) const HEADER: HeaderName = HeaderName::from_static("x-nova-console");
const COOKIE_NAME: &str = "nova_console";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The user who is signed in at the console, and the allowed actions.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    rename = "ConsoleSession",
    example = example(r#"{ "signed_in": true, "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "admin": true, "console": "full" }"#)
)]
pub(in crate::http) struct Session {
    pub signed_in: bool,
    /// The user of the token, or null if nobody is signed in.
    pub user_id: Option<Uuid>,
    /// Whether the token has the role admin.
    pub admin: bool,
    /// `read` if the console only shows data, or `full` if people with the role admin can also change something.
    pub console: &'static str,
}

impl Session {
    fn of(edge: &Edge, subject: Option<&Subject>) -> Session {
        Session {
            signed_in: subject.is_some(),
            user_id: subject.map(|subject| Uuid(subject.user)),
            admin: subject.is_some_and(|subject| subject.has_role(ADMIN)),
            console: edge.gate.settings.console.name(),
        }
    }
}

/// Whether a request to the host and port in `authority` comes from the console. `Sec-Fetch-Site` takes precedence over
/// `Origin`, because a proxy may have changed the host. Browsers send `Sec-Fetch-Site` only over TLS and to the local
/// machine, so over plain http nova compares `Origin`.
fn is_console(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let same = match headers.get(FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => own_origin(headers, authority),
    };
    same && headers.contains_key(HEADER)
}

/// Whether the request has no `Origin`, or the origin of the host and port in `authority`. A page without an origin
/// sends `null`.
fn own_origin(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (origin, more) = (origins.next(), origins.next());
    let Some(origin) = origin else { return true };
    let named = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let (Some((scheme, host)), Some(authority), None) = (named, authority, more) else { return false };
    // A browser leaves out the default port of the scheme, but a client that is no browser may write the port.
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    bare(host) == bare(authority)
}

/// The token in the console's cookie, if the request may use the cookie. The result is an error if the request would
/// change something and the console may only read.
pub(in crate::http) fn cookie_token<'h>(
    mode: ConsoleMode,
    method: &Method,
    (headers, authority): (&'h HeaderMap, Option<&str>),
) -> Result<Option<&'h str>, Problem> {
    if mode == ConsoleMode::Off || !is_console(headers, authority) {
        return Ok(None);
    }
    let token = token(headers);
    let reads = [Method::GET, Method::HEAD].contains(method);
    match (mode, token) {
        (ConsoleMode::Read, Some(_)) if !reads => Err(Problem::ConsoleReads),
        _ => Ok(token),
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == COOKIE_NAME && !value.is_empty()).map(|(_, value)| value)
}

/// The field `Set-Cookie` that sets the console's cookie to a value, or deletes the cookie if `value` is `None`.
fn cookie(edge: &Edge, value: Option<&str>) -> Result<HeaderValue, Problem> {
    let secure = if edge.gate.settings.tls_cert.is_some() { "; Secure" } else { "" };
    let ends = if value.is_none() { "; Max-Age=0" } else { "" };
    let text = format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict{secure}{ends}", value.unwrap_or_default());
    HeaderValue::from_str(&text).map_err(|_| Problem::InvalidToken)
}

fn here(edge: &Edge) -> Result<(), Problem> {
    if edge.gate.settings.console == ConsoleMode::Off { Err(Problem::NotFound) } else { Ok(()) }
}

/// `POST /console/session` exchanges the token of the request for a cookie.
pub(in crate::http) async fn sign_in(call: UserCall<'_>) -> Answer {
    let edge = call.edge();
    here(edge)?;
    let token = bearer(call.call.headers).ok_or(Problem::MissingToken)?;
    let mut response = answers::object(StatusCode::OK, &Session::of(edge, Some(&call.subject)));
    response.headers_mut().insert(SET_COOKIE, cookie(edge, Some(token))?);
    Ok(response)
}

/// Answers `DELETE /console/session`.
pub(in crate::http) fn sign_out(call: &Call<'_>) -> Answer {
    here(call.edge())?;
    let mut response = answers::object(StatusCode::OK, &Session::of(call.edge(), None));
    if is_console(call.headers, call.authority) {
        response.headers_mut().insert(SET_COOKIE, cookie(call.edge(), None)?);
    }
    Ok(response)
}

/// Answers `GET /console/session`.
pub(in crate::http) fn whoami(call: &Call<'_>) -> Answer {
    let edge = call.edge();
    here(edge)?;
    let token = if is_console(call.headers, call.authority) { token(call.headers) } else { None };
    let subject = token.and_then(|token| edge.auth.verify(token, edge.clock.day_ms()).ok());
    Ok(answers::object(StatusCode::OK, &Session::of(edge, subject.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_consoles_own_by_host_and_port() {
        let own = |origins: &[&'static str], authority| {
            let line = |origin: &&'static str| (ORIGIN, HeaderValue::from_static(origin));
            own_origin(&origins.iter().map(line).collect(), authority)
        };
        for (origin, authority) in [
            ("http://nova.example", "nova.example"),
            ("http://nova.example:80", "Nova.example"),
            ("http://nova.example", "nova.example:80"),
            ("https://nova.example", "nova.example:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(own(&[origin], Some(authority)), "{origin} {authority}");
        }
        assert!(own(&[], Some("nova.example")) && own(&[], None));
        for (origin, authority) in [
            ("http://evil", Some("nova.example")),
            ("http://nova.example:8080", Some("nova.example")),
            ("http://nova.example", Some("nova.example:8080")),
            ("https://nova.example", Some("nova.example:80")),
            ("http://nova.example.evil", Some("nova.example")),
            ("http://evil/nova.example", Some("nova.example")),
            ("null", Some("nova.example")),
            ("", Some("")),
            ("nova.example", Some("nova.example")),
            ("http://nova.example", None),
        ] {
            assert!(!own(&[origin], authority), "{origin} {authority:?}");
        }
        assert!(!own(&["http://nova.example", "http://nova.example"], Some("nova.example")));
    }
}
