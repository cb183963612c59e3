//! Nodes for benches. A node for a bench has a temporary store with the bundled data set, and serves on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{self, AppError, Node, Running, Setup};
use crate::cli::demo::{self, data::Social};
use crate::cli::error::CliError;
use crate::http::{self, Edge, Reserved};

/// Reads the bundled data set.
pub(super) fn social() -> Result<Arc<Social>, CliError> {
    Social::bundled().map(Arc::new).map_err(|error| CliError::Failed(error.to_string()))
}

/// Runs the whole bundled data set through the pipeline of a store.
pub(super) fn fill(setup: &Setup, social: Arc<Social>) -> Result<(), CliError> {
    app::open(setup)?.start(demo::source_of(social), setup)?.finish(|_| {})?;
    Ok(())
}

/// A node that serves requests as `nova serve` does.
pub(super) struct Serving {
    pub addr: SocketAddr,
    pub edge: Arc<Edge>,
    running: Running,
    runtime: Runtime,
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Serving {
    pub(super) fn start(setup: &Setup) -> Result<Serving, CliError> {
        let opened = app::open(setup)?;
        let Node { running, edge } = app::start_node(setup, opened, Duration::ZERO)?;
        let runtime = http::runtime()?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let _in_runtime = runtime.enter();
        let reserved = Reserved::bind(free, None).map_err(AppError::from)?;
        let (server, _) = http::listen(reserved, &edge).map_err(AppError::from)?;
        let addr = server.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let server = runtime.spawn(server.run(stopped));
        Ok(Serving { addr, edge, running, runtime, server, stop })
    }

    /// Stops the node in the order in which `nova serve` stops.
    pub(super) fn stop(self) -> Result<(), CliError> {
        let Serving { edge, running, runtime, server, stop, .. } = self;
        let _ = stop.send(true);
        runtime.block_on(server).map_err(|_| AppError::Panicked("http"))?;
        running.shared.stop();
        drop(edge);
        drop(runtime);
        running.finish(|_| {})?;
        Ok(())
    }
}
