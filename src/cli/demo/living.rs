//! The activity of the demo: every second the demo sends a few changes and events over the node's HTTP API, so that the
//! console shows movement.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event::Id;

use super::super::error::CliError;
use super::super::remote::Node;
use super::super::seed::World;
use super::data::Social;

/// The interval between two moments of activity, and the number of changes and events at each moment.
const EVERY: Duration = Duration::from_millis(500);
const AT_ONCE: u64 = 2;
/// The seed of the random activity.
const SEED: u64 = 1;
/// The number of failed moments in a row after which the demo stops its activity.
const FAILURES_MAX: u32 = 20;

/// The demo's activity, which ends when this value is dropped.
pub(super) struct Life {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The people and posts of the demo, with the posts from the oldest to the newest.
pub(super) fn world(social: &Social, users: Option<u32>) -> (Vec<Id>, Vec<Id>) {
    let here = |user: u32| users.is_none_or(|users| user < users);
    let mut posts: Vec<_> = social.posts.iter().filter(|post| here(post.author)).collect();
    posts.sort_by_key(|post| post.created_at_ms);
    let most = users.map_or(usize::MAX, |users| users as usize);
    let users = social.users.iter().take(most).map(|user| user.id).collect();
    (users, posts.into_iter().map(|post| post.id).collect())
}

impl Life {
    /// Starts the activity at the node that listens on `addr`. A demo without people or posts has no activity.
    pub fn begin(addr: SocketAddr, token: String, (users, posts): (Vec<Id>, Vec<Id>)) -> Result<Life, CliError> {
        let (stop, stopped) = sync_channel(1);
        let empty = users.is_empty() || posts.is_empty();
        let node = Node::own(format!("http://{addr}"), token);
        let life = move || run(&node, World::of(users, posts, SEED), &stopped);
        let thread = (!empty).then(|| std::thread::Builder::new().name("demo".to_owned()).spawn(life)).transpose()?;
        Ok(Life { stop: Some(stop), thread })
    }
}

fn run(node: &Node, mut world: World, stopped: &Receiver<()>) {
    let mut failures = 0;
    while failures < FAILURES_MAX && stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        failures = match world.live(node, AT_ONCE) {
            Ok(()) => 0,
            Err(error) => {
                tracing::debug!("the demo's world stands still for a moment: {error}");
                failures + 1
            }
        };
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread of the activity ends after at most one request.
            let _ = thread.join();
        }
    }
}
