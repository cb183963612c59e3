//! `nova serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{self, AppError, Node, Setup};
use crate::config::Config;
use crate::decode::Topics;
use crate::http;
use crate::source::kafka::{KafkaSettings, topics};

use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to listen, over the configuration.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Take over a consumer group whose store is lost: every topic is read from the beginning.
    #[arg(long)]
    new_store: bool,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let mut setup = Setup::serving(config)?;
    if let Some(kafka) = &mut setup.kafka {
        kafka.take_over = args.new_store;
    }
    let scheme = if config.edge.tls_cert.is_some() { "https" } else { "http" };
    serve_setup(&setup, args.listen.unwrap_or(config.listen), |addr| {
        Ok(out::line(&format!("listening on {scheme}://{addr}"))?)
    })
}

/// Serves until a signal; `ready` is told the address once it is bound.
pub(super) fn serve_setup(
    setup: &Setup,
    listen: SocketAddr,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let started = Instant::now();
    let opened = app::open(setup)?;
    let node = app::start_node(setup, opened, started.elapsed())?;
    let runtime = http::runtime()?;
    if let Some(settings) = setup.kafka.clone() {
        runtime.spawn(verify_topics(settings, setup.topics.clone(), setup.replica, setup.settings.dedup_horizon_ms));
    }
    let served = runtime.block_on(serve(listen, &node, ready));
    // Whatever ended it, what was taken is committed.
    node.running.shared.stop();
    drop(node.edge);
    node.running.finish(|_| {})?;
    served
}

/// Makes the events topic where it is missing, and says what is wrong with any; for as long as it takes to reach a
/// broker.
async fn verify_topics(settings: KafkaSettings, names: Topics, replica: bool, dedup_horizon_ms: i64) {
    const RETRY: std::time::Duration = std::time::Duration::from_secs(5);
    let (tables, events) = (app::table_topics(&names), names.events);
    loop {
        // A replica makes nothing.
        let made = if replica { Ok(false) } else { topics::create_events(&settings, &events).await };
        let found = match made {
            Ok(_) => topics::findings(&settings, &tables, &events, dedup_horizon_ms).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => {
                for topics::TopicFinding { code, detail, remedy } in found {
                    tracing::warn!(code, "{detail}; {remedy}");
                }
                return;
            }
            Err(error) => tracing::warn!("the topics could not be looked at yet: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn serve(
    addr: SocketAddr,
    node: &Node,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let admin = http::bind_admin(Arc::clone(&node.edge)).await;
    let admin_addr = node.edge.gate.settings.admin_listen.unwrap_or(addr);
    let admin = admin.map_err(|source| AppError::Listen { addr: admin_addr, source })?;
    let server = http::bind(addr, Arc::clone(&node.edge)).await.map_err(|source| AppError::Listen { addr, source })?;
    ready(server.local_addr()?)?;
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(async move {
        let admin = async {
            if let Some(admin) = admin {
                admin.run(stopped.clone()).await;
            }
        };
        tokio::join!(server.run(stopped.clone()), admin);
    });
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = async {
        while node.running.alive() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        // The batch loop ended by itself; joining it tells why.
        () = ended => {}
    }
    let _ = stop.send(true);
    tokio::select! {
        done = serving => done.map_err(|_| AppError::Panicked("http"))?,
        _ = term.recv() => return Err(CliError::Failed("stopped at once by a second signal".to_owned())),
        _ = int.recv() => return Err(CliError::Failed("stopped at once by a second signal".to_owned())),
    }
    Ok(())
}
