//! `nova serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
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
    /// Follow this PostgreSQL directly, over postgres.url: postgres://user:password@host:port/database.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let mut config = config.clone();
    if let Some(url) = &args.postgres {
        config.set_postgres(url).map_err(|problem| CliError::Usage(format!("--postgres: {problem}")))?;
    }
    let config = &config;
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
        let horizon_ms = setup.settings.dedup_horizon_ms;
        let tables = if setup.postgres.is_some() { Vec::new() } else { app::table_topics(&setup.topics) };
        runtime.spawn(verify_topics(settings, tables, setup.topics.clone(), setup.replica, horizon_ms));
    }
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let served = match runtime.block_on(serve(listen, &node, ready, &mut signals)) {
        Ok(Ended::AtOnce) => Err(at_once()),
        // Whatever ended it, what was taken is committed.
        ended => {
            node.running.shared.stop();
            drop(node.edge);
            let finishing = runtime.spawn_blocking(move || node.running.finish(|_| {}));
            let finished = runtime.block_on(async {
                tokio::select! {
                    finished = finishing => finished.map_err(|_| AppError::Panicked("finish"))?.map_err(CliError::from),
                    () = signals.next() => Err(at_once()),
                }
            });
            finished.and(ended.map(|_| ()))
        }
    };
    // What still runs ends with the process.
    runtime.shutdown_background();
    served
}

fn at_once() -> CliError {
    CliError::Failed("stopped at once by a second signal; what was answered is committed".to_owned())
}

/// SIGTERM and SIGINT.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// How serving ended.
enum Ended {
    Drained,
    /// By a second signal.
    AtOnce,
}

/// Makes the events topic where it is missing, and says what is wrong with any; for as long as it takes to reach a
/// broker.
async fn verify_topics(
    settings: KafkaSettings,
    tables: Vec<String>,
    names: Topics,
    replica: bool,
    dedup_horizon_ms: i64,
) {
    const RETRY: std::time::Duration = std::time::Duration::from_secs(5);
    let events = names.events;
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
    signals: &mut Signals,
) -> Result<Ended, CliError> {
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
    let ended = async {
        while node.running.alive() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = signals.next() => {}
        // The batch loop ended by itself; joining it tells why.
        () = ended => {}
    }
    let _ = stop.send(true);
    tokio::select! {
        done = serving => done.map(|()| Ended::Drained).map_err(|_| AppError::Panicked("http").into()),
        () = signals.next() => Ok(Ended::AtOnce),
    }
}
