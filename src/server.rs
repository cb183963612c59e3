//! Runs a nova server within a Rust program.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{self, AppError, Node, Running, Setup, preflight};
use crate::clock::monotonic_now;
use crate::config::Config;
use crate::event::Id;
use crate::http::{self, Auth, Reserved};

/// The reason why a server cannot start, or did not end cleanly, as a text for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(String);

impl From<AppError> for ServerError {
    fn from(error: AppError) -> ServerError {
        ServerError(error.to_string())
    }
}

/// The settings of a new [`Server`]. [`Server::builder`] makes a builder.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    data_dir: PathBuf,
    listen: SocketAddr,
    settings: Vec<(String, String)>,
}

impl ServerBuilder {
    /// Sets the address on which the server listens. The default address is `127.0.0.1:0`, which means any free port of
    /// this machine.
    pub fn listen(self, listen: SocketAddr) -> ServerBuilder {
        ServerBuilder { listen, ..self }
    }

    /// Sets a key of the configuration, such as `feed.length` (`docs/configuration.md`). A server that is made with a
    /// builder reads no configuration file and no environment variable.
    pub fn setting(mut self, name: &str, value: &str) -> ServerBuilder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Opens the store and starts the server. `start` makes the store if it does not exist.
    ///
    /// # Errors
    ///
    /// `start` fails if a setting cannot be used, if the store is in use or damaged, or if a different program has the
    /// address.
    pub fn start(self) -> Result<Server, ServerError> {
        let mut config = Config::of(self.settings.into_iter()).map_err(|error| ServerError(error.to_string()))?;
        (config.data_dir, config.listen) = (self.data_dir, self.listen);
        let problems = preflight::problems(&config);
        if !problems.is_empty() {
            return Err(ServerError(problems.join("\n")));
        }
        let setup = Setup::serving(&config)?;
        let runtime = http::runtime().map_err(AppError::Runtime)?;
        let _in_runtime = runtime.enter();
        let reserved = Reserved::bind(config.listen, config.edge.admin_listen).map_err(AppError::from)?;
        let began = monotonic_now();
        let opened = app::open(&setup)?;
        let Node { running, edge } = app::start_node(&setup, opened, began.elapsed())?;
        let (server, admin) = http::listen(reserved, &edge).map_err(AppError::from)?;
        let addr = server.local_addr().map_err(AppError::Runtime)?;
        let scheme = if config.edge.tls_cert.is_some() { "https" } else { "http" };
        let (stop, stopped) = watch::channel(false);
        let mut serving = vec![runtime.spawn(server.run(stopped.clone()))];
        serving.extend(admin.map(|admin| runtime.spawn(admin.run(stopped))));
        drop((edge, _in_runtime));
        Ok(Server { url: format!("{scheme}://{addr}"), data_dir: config.data_dir, running, runtime, serving, stop })
    }
}

/// A nova server within a Rust program. A `Server` does the same as the command `nova serve`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = std::env::temp_dir().join(format!("nova-doc-{}", std::process::id()));
/// let server = nova::Server::builder(&dir).setting("feed.length", "100").start()?;
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// let token = server.token("0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", None)?;
/// assert_eq!(token.split('.').count(), 3);
/// server.stop()?;
/// # std::fs::remove_dir_all(dir)?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    url: String,
    data_dir: PathBuf,
    running: Running,
    runtime: Runtime,
    serving: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Returns a builder for a server whose store is in `data_dir`.
    pub fn builder(data_dir: impl Into<PathBuf>) -> ServerBuilder {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        ServerBuilder { data_dir: data_dir.into(), listen, settings: Vec::new() }
    }

    /// Returns the URL of the API, such as `http://127.0.0.1:40213`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the server still runs. If the server no longer runs, [`Server::stop`] returns the reason.
    pub fn alive(&self) -> bool {
        self.running.alive()
    }

    /// Returns a token for a user, given as a UUID. The token is signed with the development key and valid for an hour.
    /// `role` is `admin`, `service` or `None`.
    ///
    /// # Errors
    ///
    /// `token` fails if an issuer of tokens other than the development key is configured, or if `user` is not a UUID.
    pub fn token(&self, user: &str, role: Option<&str>) -> Result<String, ServerError> {
        let user = Id::parse(user.as_bytes()).map_err(|error| ServerError(format!("user: {error}")))?;
        let minted = Auth::open(&self.data_dir)
            .and_then(|auth| auth.mint(user, role, crate::clock::Clock::System.now_ms(), TOKEN_TTL_S));
        minted.map_err(|error| ServerError(error.to_string()))
    }

    /// Answers the open requests, commits what the server accepted, and ends the server. `stop` blocks, so do not call
    /// it within an asynchronous task.
    ///
    /// # Errors
    ///
    /// `stop` returns the error that had already ended the server, or that kept the server from ending cleanly.
    pub fn stop(self) -> Result<(), ServerError> {
        let Server { running, runtime, serving, stop, .. } = self;
        let _ = stop.send(true);
        for one in serving {
            runtime.block_on(one).map_err(|_| AppError::Panicked("http"))?;
        }
        running.shared.stop();
        let finished = running.finish(|_| {});
        runtime.shutdown_background();
        finished.map(drop).map_err(ServerError::from)
    }
}

/// The lifetime of a token in seconds.
const TOKEN_TTL_S: u64 = 3_600;
