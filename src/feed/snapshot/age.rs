//! Decides whether a snapshot is still good enough for a first page.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use crate::event::Id;

use super::moment::Snapshot;

/// Whether a snapshot is still new enough for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// nova may serve the snapshot, but should make a new snapshot.
    Due,
    Gone,
}

/// Decides whether a snapshot may give the first page. The lifetime of a snapshot varies by user and snapshot by ±10 %,
/// so that readers who came together do not come back together. nova requests a new snapshot after four fifths of the
/// lifetime, or somewhat later.
pub(super) fn age(snapshot: &Snapshot, user: Id, newer: bool, now_ms: i64) -> Age {
    let jitter = |salt: u64, span_ms: i64| {
        let mut hasher = FxHasher::default();
        hasher.write(&user.0);
        hasher.write_u64(snapshot.id ^ salt);
        (hasher.finish() >> 32) as i64 % span_ms
    };
    let ttl_ms = snapshot.ttl_ms * 9 / 10 + jitter(1, snapshot.ttl_ms / 5);
    let early_ms = ttl_ms * 4 / 5 + jitter(2, ttl_ms / 5);
    let age_ms = now_ms - snapshot.as_of_ms;
    // A viewed post that may be shown again makes a snapshot invalid at once. A feed that reached its time limit serves
    // only the page for which it was made and the pages after that page.
    let over = snapshot.feed.seen_until_ms.is_some_and(|until_ms| now_ms >= until_ms) || snapshot.feed.cut;
    if newer || over || !(0..ttl_ms + snapshot.stale_ms).contains(&age_ms) {
        Age::Gone
    } else if age_ms >= early_ms {
        Age::Due
    } else {
        Age::Fresh
    }
}
