//! A server for tests that listens on an address of this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::AppError;
use crate::http::testing::Testing as _;
use crate::http::{self, Edge, Reserved};
use crate::redis_port::{self, Strangers};

use super::ground::{Ground, Listening, SEED, Ways};
use super::seed::{self, Seed};

/// The lifetime in seconds of the tokens that the server prints at its start. The lifetime of the tokens is longer than
/// any movement of the clock.
const TOKEN_TTL_S: u64 = 1_000 * 365 * 86_400;

/// The reason why a server for tests cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Seed(String),
}

impl From<http::BindError> for StartError {
    fn from(error: http::BindError) -> StartError {
        StartError::App(error.into())
    }
}

/// A server for tests with its listeners.
pub(crate) struct Hosted {
    pub addr: SocketAddr,
    /// The address of the Redis port.
    redis: Option<SocketAddr>,
    pub ground: Arc<Ground>,
    /// A token of the nil user with the role service; `admin_token` has the role admin.
    pub token: String,
    pub admin_token: String,
    runtime: Runtime,
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Makes the Redis port with one thread, because many servers for tests may share a machine.
fn port(addr: SocketAddr, edge: &Arc<Edge>) -> Result<Option<redis_port::Server>, AppError> {
    let Some(watch) = &edge.watch.port else { return Ok(None) };
    let reserved = redis_port::Reserved::bind(addr)?;
    Ok(Some(redis_port::listen(reserved, edge, watch, Strangers::Serve, 1)?))
}

impl Hosted {
    /// Begins to listen, applies the seeds, and keeps the result as the snapshot `seed`.
    pub fn start(ways: Ways, seeds: Vec<Seed>) -> Result<Hosted, StartError> {
        let runtime = http::runtime().map_err(AppError::Runtime)?;
        let reserved = {
            let _in_runtime = runtime.enter();
            Reserved::bind(ways.listen, None)?
        };
        let ground = Ground::open(ways, runtime.handle().clone())?;
        let edge = ground.edge().map_err(|refused| StartError::Seed(refused.to_string()))?;
        let mint = |role| edge.auth.mint(crate::event::Id::NIL, Some(role), 0, TOKEN_TTL_S).map_err(AppError::from);
        let (token, admin_token) = (mint("service")?, mint("admin")?);
        for seed in &seeds {
            seed::put(&ground, &edge, &runtime, seed).map_err(StartError::Seed)?;
        }
        if !seeds.is_empty() {
            ground.snapshot(SEED).map_err(|refused| StartError::Seed(refused.to_string()))?;
        }
        let (server, replacer) = {
            let _in_runtime = runtime.enter();
            http::listen_replaceable(reserved, &edge)?
        };
        let addr = server.local_addr().map_err(AppError::Runtime)?;
        let port = {
            let _in_runtime = runtime.enter();
            port(SocketAddr::new(addr.ip(), 0), &edge)?
        };
        let redis = port.as_ref().map(redis_port::Server::local_addr).transpose().map_err(AppError::Runtime)?;
        drop(edge);
        ground.listens(Listening { http: replacer, redis: port.as_ref().map(redis_port::Server::replacer) });
        let (stop, stopped) = watch::channel(false);
        let server = runtime.spawn(async move {
            let port = async {
                if let Some(port) = port {
                    port.run(stopped.clone()).await;
                }
            };
            tokio::join!(server.run(stopped.clone()), port);
        });
        Ok(Hosted { addr, redis, ground, token, admin_token, runtime, server, stop })
    }

    /// Whether the current node runs.
    pub fn alive(&self) -> bool {
        self.ground.alive()
    }

    /// The URL of the Redis port, which needs no token.
    pub fn redis_url(&self) -> Option<String> {
        self.redis.map(|addr| format!("redis://{addr}"))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends the server cleanly, and returns the problems as texts. `end` blocks, so it must not be called within a
    /// runtime.
    pub fn end(self) -> Vec<String> {
        let Hosted { ground, runtime, server, stop, .. } = self;
        let _ = stop.send(true);
        let mut failed = Vec::new();
        if runtime.block_on(server).is_err() {
            failed.push("the thread of the listener ended unexpectedly; this is a defect of nova".to_owned());
        }
        failed.extend(ground.end());
        runtime.shutdown_background();
        failed
    }
}
