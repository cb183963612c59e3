//! Pages cut from a snapshot. The last one is kept: it is the answer again while nothing that it depends on changed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::feed::cursor::Cursor;
use crate::feed::page::{PAGE_MAX, TEXT_MAX_BYTES};
use crate::feed::rank::Ranked;
use crate::feed::shown::SHOWN_MAX;
use crate::state::State;

use super::age::Versions;
use super::{Ask, Snapshot, number};

/// A stretch of a snapshot's posts, without those that may not be shown.
#[derive(Debug)]
pub struct Cut {
    start: usize,
    limit: usize,
    /// Of the state that it was cut for ([`State::changes`]).
    changes: u64,
    /// The times that it was cut for: from then until a post that was left out as seen may be shown again. What is
    /// shown at a time is so at every later one, while the state is the same.
    times_ms: Range<i64>,
    /// Something changed that the user's feed depends on.
    pub newer: bool,
    /// Places in the snapshot's posts.
    pub places: Vec<usize>,
    /// Of the next page.
    pub cursor: Option<Cursor>,
    /// Posts and cursor as an answer has them, once one was written.
    pub(in crate::feed) text: Arc<OnceLock<Box<str>>>,
}

impl Cut {
    /// Of the longest page.
    pub(super) const MAX_BYTES: usize = size_of::<Cut>() + (PAGE_MAX + 1) * size_of::<usize>() + TEXT_MAX_BYTES;

    fn answers(&self, state: &State, ask: &Ask<'_>, start: usize) -> bool {
        (self.start, self.limit, self.changes) == (start, ask.limit, state.changes())
            && self.times_ms.contains(&ask.now_ms)
    }
}

impl Snapshot {
    /// The place from which on posts are asked for: that of a cursor of another snapshot is this one's beginning, which
    /// continues that one.
    fn start(&self, ask: &Ask<'_>) -> usize {
        ask.cursor.filter(|cursor| cursor.snapshot == self.id).map_or(0, |cursor| cursor.position as usize)
    }

    pub(super) fn cut_for(&self, state: &State, ask: &Ask<'_>) -> Arc<Cut> {
        let mut last = self.last.lock();
        if let Some(last) = last.as_ref().filter(|last| last.answers(state, ask, self.start(ask))) {
            return Arc::clone(last);
        }
        let cut = Arc::new(self.cut_anew(state, ask, last.as_deref()));
        *last = Some(Arc::clone(&cut));
        cut
    }

    /// `last` lends its text if it shows the same.
    pub(super) fn cut_anew(&self, state: &State, ask: &Ask<'_>, last: Option<&Cut>) -> Cut {
        let (number, start) = (number(state, ask.user), self.start(ask));
        let (mut places, mut until_ms) = (Vec::with_capacity(ask.limit + 1), i64::MAX);
        for (at, post) in self.posts().iter().enumerate().skip(start) {
            match hidden_until_ms(state, number, post, ask.now_ms) {
                Some(hidden_ms) => until_ms = until_ms.min(hidden_ms),
                None => places.push(at),
            }
            if places.len() > ask.limit {
                break;
            }
        }
        let more = places.len() > ask.limit;
        places.truncate(ask.limit);
        let position = places.last().map_or(start, |place| place + 1);
        let more = more && self.shown.len() + position <= SHOWN_MAX;
        let position = position as u32;
        let cursor = more.then_some(Cursor { algorithm: ask.algorithm as u8, snapshot: self.id, position });
        let same = last.filter(|last| (&last.places, last.cursor) == (&places, cursor));
        Cut {
            start,
            limit: ask.limit,
            changes: state.changes(),
            times_ms: ask.now_ms..until_ms,
            newer: self.versions != Versions::of(state, number),
            text: same.map(|last| Arc::clone(&last.text)).unwrap_or_default(),
            places,
            cursor,
        }
    }
}

/// Until when a post of a snapshot may not be shown: seen meanwhile, or, for as long as the state is this one, not
/// visible or there only because of a follow that is gone. `None` if it may be shown.
fn hidden_until_ms(state: &State, user: u32, post: &Ranked, now_ms: i64) -> Option<i64> {
    let only_followed = post.sources.followed && !post.sources.trending && !post.sources.affinity;
    let gone = !state.visible(post.number) || (only_followed && !state.graph.follows(user, post.author_number));
    if gone { Some(i64::MAX) } else { state.touches.seen_until_ms(user, post.number, now_ms) }
}
