//! Limits the number of clients that listen to streams, and ends the streams.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http::error::Problem;
use crate::http::places::{Place, Places};

/// The most clients that listen to streams at the same time.
pub const STREAMS_MAX: usize = 256;
/// The most clients of one address that listen to streams.
pub const STREAMS_PER_ADDRESS_MAX: usize = 32;

/// The numbers of clients that listen to streams, in all and by address, and the signal that ends the streams.
pub struct Streams {
    free: Arc<Semaphore>,
    addresses: Places,
    closed: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Streams {
        let free = Arc::new(Semaphore::new(STREAMS_MAX));
        Streams { free, addresses: Places::new(STREAMS_PER_ADDRESS_MAX), closed: watch::Sender::new(false) }
    }
}

impl Streams {
    /// Ends every stream, and lets no new stream begin.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// A receiver of a flag that becomes true when every stream must end.
    pub(in crate::http) fn closing(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Counts one more client of the given address, or refuses the client if a limit is reached.
    pub(super) fn enter(&self, address: IpAddr) -> Result<(Place, OwnedSemaphorePermit), Problem> {
        let too_many = || Problem::TooManyStreams { most: STREAMS_PER_ADDRESS_MAX, of: "one address" };
        let place = self.addresses.enter(address, STREAMS_PER_ADDRESS_MAX).ok_or_else(too_many)?;
        let full = Problem::Unavailable("too many streams are open");
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| full)?;
        Ok((place, permit))
    }

    /// The number of clients that listen to streams.
    pub fn len(&self) -> usize {
        STREAMS_MAX - self.free.available_permits()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
