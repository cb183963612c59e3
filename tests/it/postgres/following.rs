//! A node that follows a server with rows, which is the start of tests of faults.

use std::sync::Arc;

use nova::source::postgres::follower::FollowSettings;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::node::{Node, settings};
use super::rows::fill;
use super::walsender::Pg;
use crate::support::events::Rng;

/// A server with rows, and a node that has caught up with it.
pub fn following(resnapshot: bool) -> (Arc<Mutex<Pg>>, Recorder, Node) {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(1), 20);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, FollowSettings { resnapshot, ..settings() });
    node.catch_up();
    node.check_equal();
    (pg, disk, node)
}

/// Starts the next process on the disk that the last one left. Unsynced writes may be lost.
pub fn again(disk: &Recorder, pg: &Arc<Mutex<Pg>>, node: Node) -> Node {
    let sync = disk.syncs();
    drop(node);
    Node::boot(&disk.image(sync, 3), pg, settings())
}

/// Commits some more transactions.
pub fn some(pg: &Mutex<Pg>, seed: u64) {
    fill(&mut pg.lock(), &mut Rng(seed), 10);
}
