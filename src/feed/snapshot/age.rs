//! Whether a snapshot is still good.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use crate::event::Id;

use super::moment::Snapshot;

/// How old a snapshot is for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// Good to serve; a new one should be made.
    Due,
    Gone,
}

/// Whether a snapshot may be the first page. Jitter by user and snapshot, so that those who came together do not come
/// back together: it lives for its time ±10 %, and from four fifths of that on a new one is asked for.
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
    // A seen post that may be shown again must not wait; a feed made in haste is for this page and those behind it.
    let over = snapshot.feed.seen_until_ms.is_some_and(|until_ms| now_ms >= until_ms) || snapshot.feed.cut;
    if newer || over || !(0..ttl_ms + snapshot.stale_ms).contains(&age_ms) {
        Age::Gone
    } else if age_ms >= early_ms {
        Age::Due
    } else {
        Age::Fresh
    }
}
