//! `GET /api/v1/overview/stream` sends server-sent events (WHATWG HTML, 9.2). The first event is a `snapshot`. After
//! that nova sends a `patch` (RFC 7396) at most twice a second if something has changed, and a comment as a ping after
//! 15 s of silence. A client that reads slowly gets a new snapshot instead of the patches that the client missed. A
//! client that reads nothing is disconnected.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::http::edge::Edge;
use crate::http::error::Problem;
use crate::http::pieces::{self, Body, Broken};
use crate::http::places::Place;

use super::board::{Frame, VIEWERS_PER_ADDRESS_MAX};
use super::overview;

/// The maximum number of server-sent events that wait for a client.
const QUEUE_MAX_EVENTS: usize = 1;
const PING: Duration = Duration::from_secs(15);
const PING_TEXT: Bytes = Bytes::from_static(b": ping\n\n");
/// nova disconnects a client that takes no event for this time.
const SLOW: Duration = Duration::from_secs(20);

pub(in crate::http) fn open(edge: &Edge, address: IpAddr) -> Result<Response<Body>, Problem> {
    overview::here(edge)?;
    let too_many = Problem::TooManyStreams { most: VIEWERS_PER_ADDRESS_MAX, of: "one address" };
    let (place, permit) = edge.console.enter(address).map_err(|full| match full {
        true => Problem::Unavailable("too many consoles are open"),
        false => too_many,
    })?;
    let (sender, events) = mpsc::channel(QUEUE_MAX_EVENTS);
    let frames = edge.console.frames();
    tokio::spawn(Viewer { frames, sender, _held: (place, permit) }.run(edge.serving.streams.closing()));
    Ok(pieces::answer(events))
}

struct Viewer {
    frames: watch::Receiver<Arc<Frame>>,
    sender: mpsc::Sender<Result<Bytes, Broken>>,
    _held: (Place, OwnedSemaphorePermit),
}

impl Viewer {
    async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let mut known = Arc::clone(&self.frames.borrow_and_update());
        let mut event = if known.is_empty() { PING_TEXT } else { known.snapshot() };
        loop {
            let sent = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                sent = tokio::time::timeout(SLOW, self.sender.send(Ok(event))) => sent,
            };
            // The client is too slow, or has closed the connection.
            let Ok(Ok(())) = sent else { return };
            event = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                () = self.sender.closed() => return,
                changed = tokio::time::timeout(PING, self.frames.changed()) => match changed {
                    Err(_) => PING_TEXT,
                    Ok(Err(_)) => return,
                    Ok(Ok(())) => {
                        let next = Arc::clone(&self.frames.borrow_and_update());
                        let event = next.after(&known);
                        known = next;
                        event
                    }
                },
            };
        }
    }
}
