//! The listener of the Redis port: who may connect, and how the port ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::http::connection::bounded_by_kernel;
use crate::http::patience::{Idle, Pace, Patient};
use crate::http::places::{Place, Places};
use crate::http::server::{BACKLOG, bound};
use crate::http::workers::Workers;
use crate::http::{Caller, Edge, PortWatch};

use super::port::{CONNECTIONS_MAX, Port, Strangers};
use super::session;

/// The maximum number of connections from one IP address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;
/// How long nova keeps an idle authenticated connection open. The timeout for idle connections is long, because
/// connection pools keep idle connections open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long running commands may still take after the process has got the signal to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The answer to a connection beyond the limit, in Redis's words.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// An address that is bound before nova listens on it.
pub struct Reserved(TcpSocket);

/// The reason why nova cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for Redis clients: {source}; choose another address with cache.listen")]
pub struct BindError {
    pub addr: SocketAddr,
    pub source: io::Error,
}

impl Reserved {
    /// Binds the address for the Redis port. `bind` must be called within a Tokio runtime.
    pub fn bind(addr: SocketAddr) -> Result<Reserved, BindError> {
        bound(addr).map(Reserved).map_err(|source| BindError { addr, source })
    }
}

/// The state that connections share, and the signal that ends the connections.
struct Served {
    port: Arc<Port>,
    ends: watch::Sender<bool>,
}

impl Served {
    fn new(edge: &Arc<Edge>, watch: &Arc<PortWatch>, strangers: Strangers) -> Arc<Served> {
        let port = Arc::new(Port::new(Arc::clone(edge), Arc::clone(watch), strangers));
        Arc::new(Served { port, ends: watch::Sender::new(false) })
    }
}

/// Replaces the node behind a listener, for example when a server for tests resets to a snapshot.
pub struct Replacer {
    served: Arc<RwLock<Arc<Served>>>,
    strangers: Strangers,
}

impl Replacer {
    /// Replaces the node behind the listener. Connections of the previous node end after their running commands. The
    /// cache of the previous node is gone, so clients connect again. `replace` has no effect if the new edge has no
    /// Redis port.
    pub fn replace(&self, edge: &Arc<Edge>) {
        if let Some(watch) = &edge.watch.port {
            let next = Served::new(edge, watch, self.strangers);
            let before = std::mem::replace(&mut *self.served.write(), next);
            before.ends.send_replace(true);
        }
    }
}

/// The listener of the Redis port with its workers.
pub struct Server {
    listener: TcpListener,
    /// The current node behind the listener. Each new connection reads the current node once.
    served: Arc<RwLock<Arc<Served>>>,
    strangers: Strangers,
    workers: Workers,
}

/// Listens on the address, and serves connections on `threads` threads. nova accepts no connection before
/// [`Server::run`] is called.
pub fn listen(
    reserved: Reserved,
    edge: &Arc<Edge>,
    watch: &Arc<PortWatch>,
    strangers: Strangers,
    threads: usize,
) -> Result<Server, BindError> {
    let addr = reserved.0.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
    let failed = |source| BindError { addr, source };
    let workers = Workers::start("redis", threads).map_err(failed)?;
    let listener = reserved.0.listen(BACKLOG).map_err(failed)?;
    let served = Arc::new(RwLock::new(Served::new(edge, watch, strangers)));
    Ok(Server { listener, served, strangers, workers })
}

/// An open connection, which the metrics count until this value is dropped.
struct Open(Arc<PortWatch>);

impl Open {
    fn new(watch: &Arc<PortWatch>) -> Open {
        watch.counts.connections.fetch_add(1, Ordering::Relaxed);
        watch.counts.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(watch))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the handle that replaces the node behind this listener.
    pub fn replacer(&self) -> Replacer {
        Replacer { served: Arc::clone(&self.served), strangers: self.strangers }
    }

    /// Serves connections until `stop` becomes true, and then waits until running commands have ended.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let addresses = Places::new(usize::MAX);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!("a Redis client's connection could not be taken: {error}");
                    // The process probably has no free file descriptor. The pause gives open connections time to end
                    // and to free their file descriptors.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let served = Arc::clone(&self.served.read());
            let permit = Arc::clone(&connections).try_acquire_owned();
            let place = addresses.enter(peer.ip(), CONNECTIONS_PER_ADDRESS_MAX);
            let (Ok(permit), Some(place)) = (permit, place) else {
                served.port.watch.counts.refused.fetch_add(1, Ordering::Relaxed);
                // The kernel's send buffer usually takes the short error at once. If the send buffer is full, the
                // client gets no answer.
                let _ = stream.try_write(FULL);
                continue;
            };
            let Ok(stream) = stream.into_std() else { continue };
            let guest = Guest { stream, peer, place };
            self.workers.spawn(async move {
                guest.serve(&served.port, served.ends.subscribe()).await;
                drop(permit);
            });
        }
        drop(self.listener);
        self.served.read().ends.send_replace(true);
        let all = connections.acquire_many(CONNECTIONS_MAX as u32);
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::warn!("some Redis clients did not take their answers in time");
        }
        self.workers.stop();
    }
}

struct Guest {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    place: Place,
}

impl Guest {
    async fn serve(self, port: &Arc<Port>, stop: watch::Receiver<bool>) {
        let Guest { stream, peer, place } = self;
        let _open = Open::new(&port.watch);
        bounded_by_kernel(&stream);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!("a Redis client's connection: {error}"),
        };
        let idle = Idle { time: IDLE_TIMEOUT, crowd: Box::new(|_| false) };
        let stream = Patient::new(stream, Pace::default(), idle);
        let caller = Caller::address(peer.ip());
        if let Err(error) = session::serve(port, stream, (peer.to_string(), caller), stop).await {
            tracing::debug!("a Redis client's connection: {error}");
        }
        drop(place);
    }
}
