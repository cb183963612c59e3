//! A node that follows a server with rows, as a start for tests of faults.

use std::sync::Arc;

use nova::source::postgres::follower::FollowSettings;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::node::{Node, settings};
use super::rows::fill;
use super::walsender::Pg;
use crate::support::events::Rng;

/// Returns a server with rows, and a node that has caught up with the server.
pub fn following(resnapshot: bool) -> (Arc<Mutex<Pg>>, Recorder, Node) {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(1), 20);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, FollowSettings { resnapshot, ..settings() });
    node.catch_up();
    node.check_equal();
    (pg, disk, node)
}

/// Starts a new nova process with the disk that the ended process has left. Writes that were not synced may be lost.
pub fn again(disk: &Recorder, pg: &Arc<Mutex<Pg>>, node: Node) -> Node {
    let sync = disk.syncs();
    drop(node);
    Node::boot(&disk.image(sync, 3), pg, settings())
}

/// Commits a few transactions on the server.
pub fn some(pg: &Mutex<Pg>, seed: u64) {
    fill(&mut pg.lock(), &mut Rng(seed), 10);
}
