//! Decides whether a command works on the stopped store of `--data` or at a running node. Without `--url`, the command
//! finds the node that has the store.

use std::net::Ipv4Addr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Uri};
use nova_storage::OpenError;
use serde_json::Value;

use crate::app::{AppError, Opened};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::listening::{Listening, Note, noted};
use crate::event::Id;
use crate::http::Auth;
use crate::http::auth::KEY_FILE;
use crate::tls::Trust;

use super::ask::{Answer, Credentials, Question, ask, fetch};
use super::error::CliError;
use super::stopped;

/// The lifetime in seconds of a token that nova makes for one command.
const TOKEN_TTL_S: u64 = 300;
/// The first bytes of an answer that the node could not finish; see `http/pumped.rs`.
const FAILED: &[u8] = b"{\"failed\":";
/// If the node could not finish an answer, the command keeps at most this number of the answer's bytes.
const FAILED_MAX_BYTES: usize = 16 << 10;

/// Options that name the node to ask.
#[derive(clap::Args)]
pub(super) struct Remote {
    /// Ask this running node, and not the store in --data. Without it nova finds the node that has the store.
    #[arg(long, global = true, value_name = "URL", value_parser = base)]
    url: Option<String>,
    /// A token of a user with the role admin. If the development key is in --data, nova makes the token itself.
    #[arg(long, global = true, value_name = "TOKEN", env = "NOVA_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// The address of a node in a form to which nova can append paths. An address without a scheme means `http`, for
/// example `localhost:8080` or `[::1]:8080`. `:8080` means a port of this machine, as in an address to listen on.
pub(super) fn base(text: &str) -> Result<String, String> {
    let wrong = || "expected a node's address, such as http://127.0.0.1:8080, https://nova.example or localhost:8080";
    let given = match text.strip_prefix(':') {
        Some(port) => format!("http://{}:{port}", Ipv4Addr::LOCALHOST),
        None if text.contains("://") => text.to_owned(),
        None => format!("http://{text}"),
    };
    let uri: Uri = given.parse().map_err(|_| wrong())?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong().to_owned());
    };
    // The part of an address before the host is a name and a password. nova refuses an address with a name or a
    // password, because nova sends neither of the two to a node.
    let port = authority.as_str().strip_prefix(authority.host()).ok_or_else(wrong)?;
    let numbered =
        port.strip_prefix(':').map_or(port.is_empty(), |port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if authority.host().is_empty() || !numbered || given.contains(['?', '#']) {
        return Err(wrong().to_owned());
    }
    Ok(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')))
}

/// The place where a command does its work.
pub(super) enum Place<T> {
    /// The command works on the store, which no process except the command has open.
    Stopped(T),
    /// The command works at a running node.
    Running(Node),
}

/// A running node, and the token for requests to the node.
pub(super) struct Node {
    base: String,
    token: String,
    /// The data directory whose development key signed the token.
    minted_of: Option<String>,
    trust: Trust,
}

impl Remote {
    /// Returns the named node. If no node is named, `place` returns the store, opened as configured, or the node that
    /// has the store.
    pub fn place(&self, config: &Config) -> Result<Place<Box<Opened>>, CliError> {
        self.place_of(&config.data_dir, || stopped::open(config).map(Box::new))
    }

    /// Does the same as `place`, but opens the store with `open`.
    pub fn place_of<T>(&self, data: &Path, open: impl FnOnce() -> Result<T, CliError>) -> Result<Place<T>, CliError> {
        if let Some(node) = self.named(data)? {
            return Ok(Place::Running(node));
        }
        match open() {
            Err(CliError::App(AppError::Open(OpenError::InUse { .. }))) => Ok(Place::Running(self.found(data)?)),
            opened => opened.map(Place::Stopped),
        }
    }

    fn named(&self, data: &Path) -> Result<Option<Node>, CliError> {
        self.url.as_ref().map(|url| self.at(url, data, true, Trust::Machine)).transpose()
    }

    /// The node that has the store of a data directory, according to the node's note in the directory.
    fn found(&self, data: &Path) -> Result<Node, CliError> {
        let (dir, again) = (data.display(), "try again, or name a node with --url");
        let unknown = |why: String| CliError::InUse(format!("{why}: {again}"));
        match noted(data) {
            Ok(Note::Good(Listening { url, development_key, certificate, .. })) => {
                self.at(&url, data, development_key, certificate.map_or(Trust::Machine, Trust::Certificate))
            }
            Ok(Note::Stale(Listening { url, pid, .. })) => Err(unknown(format!(
                "the process {pid}, which listened at {url}, is gone, and another process may have the store of {dir}"
            ))),
            Ok(Note::None) => Err(unknown(format!(
                "no process says where it listens beside the store of {dir}; if the store is in use, by one that starts, \
                 stops, or serves nothing"
            ))),
            Err(error) => Err(unknown(format!("the note of where the node of {dir} listens cannot be read ({error})"))),
        }
    }

    fn at(&self, url: &str, data: &Path, development_key: bool, trust: Trust) -> Result<Node, CliError> {
        let minted = self.token.is_none().then(|| data.display().to_string());
        let token = match &self.token {
            Some(token) => token.clone(),
            None if development_key && data.join(KEY_FILE).exists() => {
                let auth = Auth::open(data).map_err(AppError::from)?;
                let now_ms = Clock::System.now_ms();
                auth.mint(Id::NIL, Some("admin"), now_ms, TOKEN_TTL_S).map_err(AppError::from)?
            }
            None => {
                let why = if development_key { "--data has no development key" } else { "it has an issuer of tokens" };
                return Err(CliError::Usage(format!(
                    "the node at {url} wants a token, and none can be made here, as {why}: get one with the role admin \
                     from the issuer, and give it as --token or NOVA_TOKEN"
                )));
            }
        };
        Ok(Node { base: url.trim_end_matches('/').to_owned(), token, minted_of: minted, trust })
    }
}

impl Node {
    /// The node of this process, with the given token for requests.
    pub fn own(base: String, token: String) -> Node {
        Node { base, token, minted_of: None, trust: Trust::Machine }
    }

    pub fn get(&self, path: &str) -> Result<Value, CliError> {
        self.ask(Method::GET, path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.ask(Method::POST, path, Some(body.to_string()))
    }

    /// Returns the bytes of an answer.
    pub fn text(&self, path: &str) -> Result<Bytes, CliError> {
        let url = self.address(path);
        let answer = ask(&self.question(Method::GET, &url, None))?;
        self.passed(&url, answer).map(|answer| answer.body)
    }

    fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, CliError> {
        let url = self.address(path);
        let answer = self.passed(&url, ask(&self.question(method, &url, body))?)?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| CliError::Failed(format!("{url} answers {} and no JSON", answer.status.as_u16())))
    }

    /// Passes an answer of any length to `take` piece by piece. The call fails if the answer breaks off.
    pub fn fetch(
        &self,
        method: Method,
        path: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let (url, mut begun, mut failed) = (self.address(path), false, Vec::new());
        let pieces = |piece: &[u8]| {
            // The node sends line feeds while it prepares the answer.
            let feeds = if begun { 0 } else { piece.iter().take_while(|byte| **byte == b'\n').count() };
            let piece = &piece[feeds..];
            if !begun && piece.starts_with(FAILED) || !failed.is_empty() {
                failed.extend(piece.iter().take(FAILED_MAX_BYTES.saturating_sub(failed.len())));
                return Ok(());
            }
            begun |= !piece.is_empty();
            if piece.is_empty() { Ok(()) } else { take(piece) }
        };
        let fetched = fetch(&self.question(method, &url, None), pieces);
        let told = serde_json::from_slice::<Value>(&failed).unwrap_or_default();
        match (told["failed"].as_str(), fetched) {
            (Some(words), _) => Err(CliError::Failed(plain(words))),
            (None, Ok(answer)) => self.passed(&url, answer).map(drop),
            (None, Err(error)) => Err(error),
        }
    }

    /// The URL of a path at the node. A path that begins with a slash is a path of the API. A path without a slash at
    /// the beginning is a path of the admin routes.
    fn address(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => format!("{}{path}", self.base),
            false => format!("{}/api/v1/admin/{path}", self.base),
        }
    }

    fn question<'a>(&'a self, method: Method, url: &'a str, body: Option<String>) -> Question<'a> {
        Question { method, url, who: Credentials::Bearer(&self.token), body, trust: self.trust.clone() }
    }

    /// Returns the answer of the node, or an error if the node refuses the request.
    fn passed(&self, url: &str, answer: Answer) -> Result<Answer, CliError> {
        let status = answer.status.as_u16();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let detail = plain(problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default());
        match (status, &self.minted_of) {
            (401, Some(data)) => Err(CliError::Usage(format!(
                "the node at {} does not take a token of the development key in {data}: get one with the role admin from \
                 its issuer, or from the machine of its store (nova token --role admin), and give it as --token or \
                 NOVA_TOKEN",
                self.base
            ))),
            (401 | 403, _) => Err(CliError::Usage(format!(
                "the node at {} does not take this token: {detail}. Give one with the role admin as --token or NOVA_TOKEN",
                self.base
            ))),
            // A command that works on a stopped store fails with the error that a node would return.
            (400 | 404 | 409, _) => Err(CliError::Refused { status, detail }),
            _ => Err(CliError::Failed(format!("{url} answers {status}: {detail}"))),
        }
    }
}

/// Makes text that came from a node safe to print on a terminal.
pub(super) fn plain(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_one_of_http_and_what_is_none_is_refused_with_the_way_out() {
        for (given, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://nova.example/", "https://nova.example"),
            ("HTTPS://nova.example/below//", "https://nova.example/below"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8080/", "http://localhost:8080"),
            (":8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("nova", "http://nova"),
            ("nova.example:80/below", "http://nova.example:80/below"),
        ] {
            assert_eq!(base(given).as_deref(), Ok(meant), "{given}");
        }
        for wrong in [
            "",
            ":",
            "/",
            "http:",
            "http://",
            "https:///",
            "http://:8080",
            "http:/nova:8080",
            "ftp://nova",
            "//nova",
            "nova:",
            "nova:port",
            "nova:0",
            "nova:65536",
            "http://nova:8080:1",
            "::1",
            "two words",
            "http://a b",
            "http://nova?a=b",
            "nova#a",
            "http://me:secret@nova",
            "me@nova",
            "127.0.0.1:8080?",
            "http://[::1",
        ] {
            let told = base(wrong).unwrap_err();
            assert!(told.contains("http://127.0.0.1:8080") && !told.contains("secret"), "{wrong}: {told}");
        }
    }
}
