//! The admin API of a running node.

use std::path::Path;

use http::Method;
use serde_json::Value;

use crate::app::AppError;
use crate::clock::Clock;
use crate::event::Id;
use crate::http::Auth;
use crate::http::auth::KEY_FILE;

use super::CliError;
use super::client::{Credentials, ask};

/// How long a token that is made for one command is good.
const TOKEN_TTL_S: u64 = 300;

/// Which node.
#[derive(clap::Args)]
pub(super) struct Remote {
    /// A running node, instead of the stopped store in --data.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Of a user with the role admin; where the development key is in --data, one is made.
    #[arg(long, global = true, value_name = "TOKEN", env = "NOVA_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// A node and who asks it.
pub(super) struct Node {
    base: String,
    token: String,
}

impl Remote {
    /// The node, if one is named.
    pub fn node(&self, data: &Path) -> Result<Option<Node>, CliError> {
        self.url.as_ref().map(|url| self.at(url, data)).transpose()
    }

    /// The node at an address.
    pub fn at(&self, url: &str, data: &Path) -> Result<Node, CliError> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None if data.join(KEY_FILE).exists() => {
                let auth = Auth::open(data).map_err(AppError::from)?;
                let now_ms = Clock::System.now_ms();
                auth.mint(Id::NIL, Some("admin"), now_ms, TOKEN_TTL_S).map_err(AppError::from)?
            }
            None => {
                let text = "say --token (or NOVA_TOKEN): a token with the role admin, as --data has no development key";
                return Err(CliError::Usage(text.to_owned()));
            }
        };
        Ok(Node { base: url.trim_end_matches('/').to_owned(), token })
    }
}

impl Node {
    pub fn get(&self, path: &str) -> Result<Value, CliError> {
        self.ask(Method::GET, path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.ask(Method::POST, path, Some(body.to_string()))
    }

    fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, CliError> {
        let url = format!("{}/api/v1/admin/{path}", self.base);
        let answer = ask(method, &url, &Credentials::Bearer(&self.token), body, None)?;
        let value: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| CliError::Failed(format!("{url} answers {} and no JSON", answer.status)))?;
        match answer.status {
            200..300 => Ok(value),
            status => {
                let detail = value["detail"].as_str().or(value["title"].as_str()).unwrap_or_default();
                Err(CliError::Failed(format!("{url} answers {status}: {detail}")))
            }
        }
    }
}
