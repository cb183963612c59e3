//! Decides whether a snapshot is still good.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use crate::event::Id;

use super::moment::Snapshot;

/// The state of a snapshot for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// The snapshot may be served, but a new one should be made.
    Due,
    Gone,
}

/// Whether a snapshot may give the first page. The lifetime varies by user and snapshot by ±10 %, so that readers who
/// came together do not come back together. After four fifths of the lifetime a new snapshot is requested.
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
    // A viewed post that may be shown again must not wait. A feed made in haste is only for this page and the pages
    // after it.
    let over = snapshot.feed.seen_until_ms.is_some_and(|until_ms| now_ms >= until_ms) || snapshot.feed.cut;
    if newer || over || !(0..ttl_ms + snapshot.stale_ms).contains(&age_ms) {
        Age::Gone
    } else if age_ms >= early_ms {
        Age::Due
    } else {
        Age::Fresh
    }
}
