//! The files of the console. The console's files are no operations of the API, so they are not in the route table.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use crate::console::{ASSETS, PAGE, PAGES, fingerprint};
use crate::http::answers::{self, Answer};
use crate::http::error::Problem;
use crate::http::shared::Shared;

/// The content security policy of the console's page. The page may call only its own host. A script that writes HTML
/// needs a policy of Trusted Types; lit-html has such a policy for its own templates.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";
/// The path of a file contains the fingerprint of all files, so the content at a path never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_EACH_TIME: &str = "no-cache";
const ROOT: &str = "/console/";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The files of the console, already compressed.
pub(in crate::http) struct Files {
    fingerprint: String,
    page: Shared,
    files: Vec<(&'static str, Shared)>,
}

impl Files {
    pub fn new() -> Files {
        let fingerprint = fingerprint();
        let page = PAGE.replace("{assets}", &format!("{ROOT}assets/{fingerprint}"));
        let files = ASSETS.iter().map(|asset| (asset.name, Shared::new(asset.kind, asset.text.to_owned())));
        Files { page: Shared::new("text/html; charset=utf-8", page), files: files.collect(), fingerprint }
    }

    /// The answer to a request for the console's files, or `None` if the path is not one of the console.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Answer> {
        let found = match path {
            "/" | "/console" => Ok(leads(ROOT)),
            _ => self.file(path.strip_prefix(ROOT)?)?,
        };
        if ![Method::GET, Method::HEAD].contains(method) {
            return Some(Err(Problem::MethodNotAllowed { allow: "GET, HEAD" }));
        }
        Some(found.map(guarded))
    }

    /// The answer with a file, or `None` for a path of the route table.
    fn file(&self, path: &str) -> Option<Answer> {
        if path == "session" {
            return None;
        }
        if let Some(asset) = path.strip_prefix("assets/") {
            let (of, name) = asset.split_once('/').unwrap_or_default();
            let file = self.files.iter().find(|(known, _)| *known == name && of == self.fingerprint);
            return Some(file.map(|(_, file)| file.kept(FOR_EVER)).ok_or(Problem::NotFound));
        }
        let first = path.split('/').next().unwrap_or_default();
        let page = PAGES.contains(&first).then(|| self.page.kept(ASK_EACH_TIME));
        Some(page.ok_or(Problem::NotFound))
    }
}

fn leads(to: &'static str) -> Response<Full<Bytes>> {
    let mut response = answers::empty(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}

/// Adds the headers that protect the page in the browser.
fn guarded(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
