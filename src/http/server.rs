//! The listeners of the edge: which clients may connect, and how a listener stops.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::clock::monotonic_now;

use super::connection::Connection;
use super::console::files::Files;
use super::crowd::{Crowd, FREE_MIN, Guest};
use super::edge::Edge;
use super::patience::{Idle, Pace};
use super::places::Places;
use super::route::{Plane, Routes};
use super::settings::{ConsoleMode, EdgeSettings};
use super::site::Site;
use super::sites::{Replacer, Sites};
use super::workers::Workers;
use super::{tls, upkeep};

/// The most connections of a listener at the same time. If a listener comes close to this number, nova ends some
/// connections without an open request; see [`Crowd`].
pub const CONNECTIONS_MAX: usize = 4_096;
/// The most connections of one address that is not a trusted proxy. nova closes every further connection of the address
/// at once.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_024;
/// If an address that is not a trusted proxy has more connections than this, its idle connections end after a short
/// time.
pub const CONNECTIONS_KEPT_PER_ADDRESS: usize = 64;
/// If a listener has more connections than this in all, idle connections end after a short time, except those of
/// trusted proxies.
pub const CONNECTIONS_KEPT: usize = CONNECTIONS_MAX / 2;
/// The number of open files that are never connections of API clients: the store, Kafka, ClickHouse, and backups.
const FILES_KEPT: usize = 128;
/// The most connections of the listener for metrics, health and admin routes, if the node has a separate listener for
/// them. Connections of API clients do not count against the limit of the separate listener.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// The fewest connections that the API's listener allows, however few files the process may open.
const CONNECTIONS_MIN: usize = 16;
/// The number of connections that the kernel holds until nova accepts them.
pub(crate) const BACKLOG: u32 = 1_024;
/// The shortest time between two lines of the log about connections that nova cannot accept.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The number of threads that serve the connections of a server for tests, whose edge can be replaced. The number is
/// low, because many servers for tests share a machine.
const REPLACEABLE_THREADS: usize = 1;
/// The longest time for which the process waits for running requests when it stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Makes the runtime that binds listeners and accepts connections. The workers answer requests, and each worker has a
/// runtime of its own.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// The limits for connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// The most connections of the listener in all.
    max: usize,
    /// The most connections of one address to the listener.
    per_address: usize,
    /// If the listener has more connections than this, idle connections end soon.
    kept: usize,
    /// If the listener has room for fewer new connections than this, nova ends some connections.
    free_min: usize,
}

impl Room {
    /// The limits of the API's listener, if the process may open `files` files.
    fn of_api(files: usize) -> Room {
        let max = files.saturating_sub(FILES_KEPT + ADMIN_CONNECTIONS_MAX).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        Room::of(max)
    }

    fn of(max: usize) -> Room {
        let free_min = FREE_MIN.min(max / 4);
        Room {
            max,
            per_address: CONNECTIONS_PER_ADDRESS_MAX.min(max / 4),
            kept: CONNECTIONS_KEPT.min(max / 2),
            free_min,
        }
    }
}

/// The number of files that this process may open.
fn files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A bound listener.
pub struct Server {
    room: Room,
    listener: TcpListener,
    settings: EdgeSettings,
    sites: Sites,
    tls: Option<TlsAcceptor>,
    workers: Workers,
    /// Whether this listener also runs the upkeep of the edge.
    upkeep: bool,
}

/// Addresses that nova has bound, and on which it does not listen yet. Connections of clients still fail, and no
/// program except nova can take the addresses.
pub struct Reserved {
    api: TcpSocket,
    admin: Option<TcpSocket>,
}

/// The reason why nova cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr}: {source}; choose another address with --listen ADDR, or http.listen and http.admin_listen"
)]
pub struct BindError {
    pub addr: SocketAddr,
    pub source: io::Error,
}

impl Reserved {
    /// Binds the API's address, and the address of metrics and admin routes if they have an address of their own. The
    /// caller must be in a tokio runtime.
    pub fn bind(api: SocketAddr, admin: Option<SocketAddr>) -> Result<Reserved, BindError> {
        let api = bound(api).map_err(|source| BindError { addr: api, source })?;
        let admin = admin.map(|addr| bound(addr).map_err(|source| BindError { addr, source })).transpose()?;
        Ok(Reserved { api, admin })
    }
}

pub(crate) fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the previous process.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    // With `SO_REUSEADDR` two programs may bind an address, but only one program may listen on the address.
    Ok(socket)
}

/// Checks that the certificate and the key of the settings can be used.
pub fn check_tls(settings: &EdgeSettings) -> io::Result<()> {
    acceptor(settings).map(drop)
}

fn acceptor(settings: &EdgeSettings) -> io::Result<Option<TlsAcceptor>> {
    match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => tls::acceptor(cert, key).map(Some),
        _ => Ok(None),
    }
}

/// Listens on the API's address, and on the address of metrics and admin routes if they have an address of their own.
/// nova accepts no connection before [`Server::run`].
pub fn listen(reserved: Reserved, edge: &Arc<Edge>) -> Result<(Server, Option<Server>), BindError> {
    let plane = edge.gate.settings.admin_listen.map(|_| Plane::Api);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let on = |socket: TcpSocket, plane, threads, (room, upkeep)| {
        let addr = address(&socket);
        let server = || {
            let routes = Routes::new(plane).map_err(io::Error::other)?;
            let site = Site::new(Arc::clone(edge), routes, console_of(edge, plane));
            let sites = Sites::One(Arc::new(site));
            listen_on(socket, (&edge.gate.settings, sites), threads, (room, upkeep))
        };
        server().map_err(|source| BindError { addr, source })
    };
    let api = on(reserved.api, plane, cores, (Room::of_api(files_max()), true))?;
    let admin = reserved
        .admin
        .map(|socket| on(socket, Some(Plane::Admin), 1, (Room::of(ADMIN_CONNECTIONS_MAX), false)))
        .transpose()?;
    Ok((api, admin))
}

/// Listens only on the API's address. The returned [`Replacer`] replaces the edge of a server for tests.
pub fn listen_replaceable(reserved: Reserved, edge: &Arc<Edge>) -> Result<(Server, Replacer), BindError> {
    let (addr, socket) = (address(&reserved.api), reserved.api);
    let server = || {
        let routes = Routes::testing().map_err(io::Error::other)?;
        let (replacer, sites) = Replacer::new(Site::new(Arc::clone(edge), routes, console_of(edge, None)));
        let room = Room::of_api(files_max());
        let server = listen_on(socket, (&edge.gate.settings, sites), REPLACEABLE_THREADS, (room, true))?;
        Ok((server, replacer))
    };
    server().map_err(|source| BindError { addr, source })
}

/// The files of the console, or `None` if the listener does not have the admin routes.
fn console_of(edge: &Edge, plane: Option<Plane>) -> Option<Arc<Files>> {
    let here = plane != Some(Plane::Api) && edge.gate.settings.console != ConsoleMode::Off;
    here.then(|| Arc::new(Files::new()))
}

fn address(socket: &TcpSocket) -> SocketAddr {
    socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)))
}

fn listen_on(
    socket: TcpSocket,
    (settings, sites): (&EdgeSettings, Sites),
    threads: usize,
    (room, upkeep): (Room, bool),
) -> io::Result<Server> {
    let tls = acceptor(settings)?;
    let listener = socket.listen(BACKLOG)?;
    let workers = Workers::start("http", threads)?;
    Ok(Server { room, listener, settings: settings.clone(), sites, tls, workers, upkeep })
}

impl Server {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The rules for how long nova keeps an idle connection of a client.
    fn idle(&self, connections: &Arc<Semaphore>, addresses: &Places, (peer, proxy): (IpAddr, bool)) -> Idle {
        let (connections, addresses) = (Arc::clone(connections), addresses.clone());
        let Room { max, kept, .. } = self.room;
        let crowd = move |since| {
            let all = max - connections.available_permits();
            !proxy && (all > kept || addresses.crowded_since(peer, since))
        };
        let time = Duration::from_secs(self.settings.idle_timeout_s.into());
        Idle { time, crowd: Box::new(crowd) }
    }

    /// Serves connections until `stop` becomes true, and after that waits for running requests.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(self.room.max));
        let addresses = Places::new(CONNECTIONS_KEPT_PER_ADDRESS);
        let open = Crowd::default();
        let graceful = GracefulShutdown::new();
        let mut told: Option<Instant> = None;
        let upkeep = self.upkeep.then(|| tokio::spawn(upkeep::run(self.sites.clone())));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            // nova makes the stream a stream of the standard library, so that the runtime of a worker can take it over.
            let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer.ip())));
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                        told = Some(monotonic_now());
                        tracing::warn!("a connection could not be taken: {error}");
                    }
                    // The process has no free file descriptors. The pause gives open connections time to end.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let trusted = &self.settings.trusted_proxies;
            let proxy = trusted.iter().any(|net| net.contains(&peer.to_canonical()));
            let most = if proxy { self.room.max } else { self.room.per_address };
            let Some(place) = addresses.enter(peer, most) else { continue };
            let pace = Pace::default();
            // The connections of a trusted proxy belong to many clients, so nova does not put them among the
            // connections that it may end.
            let guest = (!proxy).then(|| open.enter(peer, &pace));
            if connections.available_permits() < self.room.free_min {
                open.give_way();
            }
            let connection = Connection {
                peer,
                pace,
                tls: self.tls.clone(),
                sites: self.sites.clone(),
                idle: self.idle(&connections, &addresses, (peer, proxy)),
                stop: stop.clone(),
                watcher: graceful.watcher(),
            };
            self.workers.spawn(async move {
                serve(connection, stream, guest.as_ref()).await;
                drop((permit, place, guest));
            });
        }
        drop(self.listener);
        self.sites.now().edge.serving.streams.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        if let Some(upkeep) = upkeep {
            upkeep.abort();
            // The server waits for the aborted task, so that the task releases its reference to the edge.
            let _ = upkeep.await;
        }
        self.workers.stop();
    }
}

/// Serves the connection until it ends. nova may end a connection that has no open request.
async fn serve(connection: Connection, stream: std::net::TcpStream, guest: Option<&Guest>) {
    let leaves = async {
        match guest {
            Some(guest) => guest.leaves().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = connection.serve(stream) => {}
        () = leaves => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_never_take_the_files_that_nova_needs_itself() {
        let all = Room { max: 4_096, per_address: 1_024, kept: 2_048, free_min: FREE_MIN };
        assert_eq!((Room::of_api(usize::MAX), Room::of_api(4_288)), (all, all));
        for files in [1_024, 512, 256] {
            let Room { max, per_address, kept, free_min } = Room::of_api(files);
            assert_eq!(max + FILES_KEPT + ADMIN_CONNECTIONS_MAX, files);
            assert!(free_min < kept && kept < max && per_address <= kept, "{files}");
        }
        assert_eq!(Room::of_api(64).max, CONNECTIONS_MIN);
    }
}
