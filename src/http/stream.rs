//! `GET /api/v1/feed/trending/stream` sends server-sent events (WHATWG HTML, 9.2). The first event is a `snapshot`.
//! After that nova sends a `diff` at most once a second, and a comment as a ping after 15 s of silence. A diff is
//! relative to the last list that the client received. A client that reads slowly skips lists, and a client that reads
//! nothing is disconnected.

pub(super) mod room;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::feed::trending::publish::{Board, Published};
use crate::feed::trending::{TRENDING_MAX, Window};

use super::edge::Serving;
use super::error::Problem;
use super::pieces::{self, Body, Broken};
use super::places::Place;
use super::read;

pub use self::room::{STREAMS_MAX, STREAMS_PER_ADDRESS_MAX, Streams};

/// The maximum number of server-sent events that wait for a client of the stream.
const QUEUE_MAX_EVENTS: usize = 1;
const GAP: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(15);
/// nova disconnects a client that takes no event for this time.
const SLOW: Duration = Duration::from_secs(20);

pub(super) fn open(serving: &Serving, address: IpAddr, query: &str) -> Result<Response<Body>, Problem> {
    let (window, limit) = (read::window(&serving.trending, query)?, read::limit(query, TRENDING_MAX)?);
    let held = serving.streams.enter(address)?;
    let (sender, events) = mpsc::channel(QUEUE_MAX_EVENTS);
    let (trending, clock) = (Arc::clone(&serving.trending), serving.clock.clone());
    let stream = Stream { trending, clock, window, limit, sender, _held: held };
    tokio::spawn(stream.run(serving.streams.closing()));
    Ok(pieces::answer(events))
}

struct Stream {
    trending: Arc<Board>,
    clock: Clock,
    window: Window,
    limit: usize,
    sender: mpsc::Sender<Result<Bytes, Broken>>,
    _held: (Place, OwnedSemaphorePermit),
}

impl Stream {
    async fn run(self, mut closed: watch::Receiver<bool>) {
        let mut changes = self.trending.subscribe(self.window);
        let mut known = self.current();
        let mut event = snapshot(&known, self.limit);
        loop {
            let sent = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                sent = tokio::time::timeout(SLOW, self.sender.send(Ok(event.into()))) => sent,
            };
            // The client is too slow, or has closed the connection.
            let Ok(Ok(())) = sent else { return };
            let last = Instant::now();
            let change = async {
                tokio::time::sleep_until(last + GAP).await;
                changes.changed().await
            };
            event = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                // The client has closed the connection, so the stream ends at once and no longer counts against the
                // limit of streams.
                () = self.sender.closed() => return,
                changed = tokio::time::timeout_at(last + PING, change) => match changed {
                    Ok(Err(_)) => return,
                    Err(_) => ": ping\n\n".to_owned(),
                    Ok(Ok(())) => {
                        // nova reads the current list, and not the list of the notification, because an operator or
                        // author may have removed posts since the notification.
                        let current = self.current();
                        let event = diff(&known, &current, self.limit);
                        known = current;
                        event
                    }
                },
            };
        }
    }

    fn current(&self) -> Arc<Published> {
        self.trending.get(self.window, self.clock.now_ms())
    }
}

fn snapshot(list: &Published, limit: usize) -> String {
    let page = list.page(0, limit, |_| true);
    format!("event: snapshot\nid: {:016x}\ndata: {}\n\n", list.generation, page.body)
}

/// Makes the event `diff` with the posts of the list that are new or changed, and the posts that are no longer among
/// the first `limit`.
fn diff(before: &Published, after: &Published, limit: usize) -> String {
    let posts = |list: &Published| -> Vec<_> { list.list.entries.iter().take(limit).map(|entry| entry.post).collect() };
    let (old, new) = (posts(before), posts(after));
    let places: FxHashMap<_, usize> = old.iter().zip(0..).map(|(post, place)| (*post, place)).collect();
    let same = |place: usize| places.get(&new[place]).is_some_and(|at| before.post_json(*at) == after.post_json(place));
    let changed: Vec<_> = (0..new.len()).filter(|place| !same(*place)).map(|place| after.post_json(place)).collect();
    let removed: Vec<_> = old.iter().filter(|post| !new.contains(post)).map(|post| format!("\"{post}\"")).collect();
    format!(
        "event: diff\nid: {0:016x}\ndata: {{\"changed\":[{1}],\"removed\":[{2}],\"total_posts\":{3},\"generation\":\"{0:016x}\"}}\n\n",
        after.generation,
        changed.join(","),
        removed.join(","),
        after.list.total,
    )
}
