//! A server for tests on an address of this machine.

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

/// How long the tokens that are told at the start are good, seconds: longer than any clock is moved.
const TOKEN_TTL_S: u64 = 1_000 * 365 * 86_400;

/// Why a server for tests cannot start.
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

/// See the module.
pub(crate) struct Hosted {
    pub addr: SocketAddr,
    /// Of the Redis port.
    redis: Option<SocketAddr>,
    pub ground: Arc<Ground>,
    /// Of nobody's user, with the role service, and with the role admin.
    pub token: String,
    pub admin_token: String,
    runtime: Runtime,
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// The Redis port, on one thread: many such servers share a machine.
fn port(addr: SocketAddr, edge: &Arc<Edge>) -> Result<Option<redis_port::Server>, AppError> {
    let Some(watch) = &edge.watch.port else { return Ok(None) };
    let reserved = redis_port::Reserved::bind(addr)?;
    Ok(Some(redis_port::listen(reserved, edge, watch, Strangers::Serve, 1)?))
}

impl Hosted {
    /// Begins to listen, puts the seeds in, and keeps that as the snapshot `seed`.
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

    /// Whether the node at hand runs.
    pub fn alive(&self) -> bool {
        self.ground.alive()
    }

    /// Where the Redis port is. Whoever reaches it needs no token.
    pub fn redis_url(&self) -> Option<String> {
        self.redis.map(|addr| format!("redis://{addr}"))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends in order; what went wrong, in words. Blocks: not to be called within a runtime.
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
