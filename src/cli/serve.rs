//! `nova serve` runs a node.

use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit};
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::app::{self, AppError, Node, Setup, preflight};
use crate::clock::monotonic_now;
use crate::config::{Config, address};
use crate::data_dir::listening::{LISTENING_FILE, Noted};
use crate::decode::Topics;
use crate::http::{self, Reserved};
use crate::redis_port::{self, Strangers};
use crate::source::kafka::{KafkaSettings, topics};

use super::error::CliError;
use super::out;
use super::signals::{Signals, Waiting};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The address on which nova listens. This option overrides the configuration.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Take over a consumer group whose store is lost: every topic is read from the beginning.
    #[arg(long)]
    new_store: bool,
    /// Follow this PostgreSQL directly: postgres://user:password@host:port/database. This option overrides
    /// postgres.url.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config, json: bool, signals: &Signals) -> Result<(), CliError> {
    let mut config = config.clone();
    if let Some(url) = &args.postgres {
        config.set_postgres(url).map_err(|problem| CliError::Usage(format!("--postgres: {problem}")))?;
    }
    config.listen = args.listen.unwrap_or(config.listen);
    let config = &config;
    if !config.foreign_variables.is_empty() {
        let names = config.foreign_variables.join(", ");
        tracing::info!("these variables are named after nova, but are no settings of it, and are passed over: {names}");
    }
    let problems = preflight::problems(config);
    if !problems.is_empty() {
        return Err(CliError::Config(problems.join("\n")));
    }
    let address = Address::reserve(config)?;
    let mut setup = Setup::serving(config)?;
    if let Some(kafka) = &mut setup.kafka {
        kafka.take_over = args.new_store;
    }
    let scheme = if config.edge.tls_cert.is_some() { "https" } else { "http" };
    serve_setup(&setup, address, signals, |addr| {
        let url = format!("{scheme}://{addr}");
        let words = format!("listening on {url}");
        Ok(out::done(json, &words, &serde_json::json!({ "listening": url, "pid": std::process::id() }))?)
    })
}

/// The addresses of a node, reserved so that no program except nova can take them, and the runtime for their listeners.
pub(super) struct Address {
    pub runtime: Runtime,
    pub reserved: Reserved,
    /// The address for Redis clients.
    pub redis: Option<redis_port::Reserved>,
}

impl Address {
    /// Reserves the addresses before any other work, so that an address in use leaves nothing behind.
    pub fn reserve(config: &Config) -> Result<Address, CliError> {
        let runtime = http::runtime()?;
        let (reserved, redis) = {
            let _in_runtime = runtime.enter();
            let reserved = Reserved::bind(config.listen, config.edge.admin_listen).map_err(AppError::from)?;
            let redis = config.cache_listen.map(redis_port::Reserved::bind).transpose().map_err(AppError::from)?;
            (reserved, redis)
        };
        Ok(Address { runtime, reserved, redis })
    }
}

/// Serves until a signal comes. `ready` gets the address when nova has bound it.
pub(super) fn serve_setup(
    setup: &Setup,
    address: Address,
    signals: &Signals,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
) -> Result<(), CliError> {
    raise_open_files();
    let started = monotonic_now();
    notify(&[NotifyState::Status("the store is opened")]);
    let opened = app::open(setup)?;
    let node = app::start_node(setup, opened, started.elapsed())?;
    let Address { runtime, reserved, redis } = address;
    if let Some(settings) = setup.kafka.clone() {
        let horizon_ms = setup.settings.dedup_horizon_ms;
        let tables = if setup.postgres.is_some() { Vec::new() } else { app::table_topics(&setup.topics) };
        runtime.spawn(verify_topics(settings, tables, setup.topics.clone(), setup.replica, horizon_ms));
    }
    let mut signals = signals.handled();
    let begun = Begun { setup, recovery: started.elapsed() };
    let served = match runtime.block_on(serve((reserved, redis), &node, &begun, ready, &mut signals)) {
        Ok(Ended::AtOnce) => Err(at_once()),
        // Whatever ended the node, nova commits the accepted records before it stops.
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
    let served_s = started.elapsed().as_secs();
    match &served {
        Ok(()) => tracing::info!(served_s, "stopped by a signal; everything that was answered is committed"),
        Err(error) => tracing::error!(served_s, "stopped: {error}"),
    }
    // The remaining tasks of the runtime end with the process.
    runtime.shutdown_background();
    served
}

fn at_once() -> CliError {
    CliError::Failed("stopped at once by a second signal; what was answered is committed".to_owned())
}

/// Raises the soft limit of open files to the hard limit. Shells and service managers set a low soft limit for programs
/// that use select(2); nova does not use select(2).
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Reports states to the service manager, if a service manager started this process (sd_notify(3)).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("NOTIFY_SOCKET: {error}");
    }
}

/// The facts for the line of the log about the start.
struct Begun<'a> {
    setup: &'a Setup,
    recovery: std::time::Duration,
}

impl Begun<'_> {
    fn tell(&self, node: &Node, addr: SocketAddr) {
        let setup = self.setup;
        let source = match (&setup.postgres, &setup.kafka) {
            (Some(_), Some(kafka)) => format!("PostgreSQL, and client events over Kafka at {}", kafka.brokers),
            (Some(_), None) => "PostgreSQL, and client events over HTTP".to_owned(),
            (None, Some(kafka)) => format!("Kafka at {}", kafka.brokers),
            (None, None) => "client events over HTTP".to_owned(),
        };
        let admin = node.edge.gate.settings.admin_listen.map(|addr| addr.to_string());
        tracing::info!(
            version = crate::version::VERSION,
            commit = crate::version::COMMIT,
            store_format = crate::version::STORE_FORMAT,
            store = %app::store_path(&setup.data_dir).display(),
            source,
            listen = %addr,
            admin_listen = admin.as_deref().unwrap_or("with the API"),
            recovery_ms = self.recovery.as_millis() as u64,
            "started"
        );
    }
}

/// The reason why the node stopped serving.
enum Ended {
    Drained,
    /// A second signal ended the node at once.
    AtOnce,
}

/// Makes the events topic if it is missing, and logs the problems of all topics. The function repeats its attempt until
/// a Kafka broker answers.
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
        // A replica does not make the events topic.
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

/// Writes a note with the node's address beside the store, so that commands find the node. The node serves even if nova
/// cannot write the note.
fn noted(setup: &Setup, addr: SocketAddr) -> Option<Noted> {
    let noted = app::listening(&setup.edge, addr).note(&setup.data_dir);
    noted
        .inspect_err(|error| tracing::warn!("commands will need --url: {LISTENING_FILE} cannot be written: {error}"))
        .ok()
}

/// Starts to listen on the Redis port, if an address is reserved for it.
fn redis_server(reserved: Option<redis_port::Reserved>, node: &Node) -> Result<Option<redis_port::Server>, CliError> {
    let (Some(reserved), Some(watch)) = (reserved, &node.edge.watch.port) else { return Ok(None) };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let server =
        redis_port::listen(reserved, &node.edge, watch, Strangers::Refused, threads).map_err(AppError::from)?;
    tracing::info!("listening on {} for Redis clients", server.local_addr()?);
    Ok(Some(server))
}

async fn serve(
    (reserved, redis): (Reserved, Option<redis_port::Reserved>),
    node: &Node,
    begun: &Begun<'_>,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
    signals: &mut Waiting,
) -> Result<Ended, CliError> {
    let (server, admin) = http::listen(reserved, &node.edge).map_err(AppError::from)?;
    let addr = server.local_addr()?;
    let _noted = noted(begun.setup, admin.as_ref().map_or(Ok(addr), http::Server::local_addr)?);
    let redis = redis_server(redis, node)?;
    ready(addr)?;
    begun.tell(node, addr);
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("serving on {addr}"))]);
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(async move {
        let admin = async {
            if let Some(admin) = admin {
                admin.run(stopped.clone()).await;
            }
        };
        let redis = async {
            if let Some(redis) = redis {
                redis.run(stopped.clone()).await;
            }
        };
        tokio::join!(server.run(stopped.clone()), admin, redis);
    });
    // Twice in each period of a service manager's watchdog, nova reports to the watchdog that the threads of this
    // process are alive.
    let watched = sd_notify::watchdog_enabled();
    let ended = async {
        let mut told = monotonic_now();
        while node.running.alive() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if watched.is_some_and(|time| told.elapsed() >= time / 2) {
                told = monotonic_now();
                notify(&[NotifyState::Watchdog]);
            }
        }
    };
    tokio::select! {
        () = signals.next() => {}
        // A thread of the pipeline ended although nobody had stopped it. Joining the thread returns the reason.
        () = ended => {}
    }
    notify(&[NotifyState::Stopping, NotifyState::Status("requests in flight are answered")]);
    let _ = stop.send(true);
    tokio::select! {
        done = serving => done.map(|()| Ended::Drained).map_err(|_| AppError::Panicked("http").into()),
        () = signals.next() => Ok(Ended::AtOnce),
    }
}
