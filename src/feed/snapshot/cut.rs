//! A page that was cut from a snapshot. The last one is kept: it is the answer again while nothing that it depends on
//! changed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::feed::cursor::Cursor;
use crate::feed::page_size::{PAGE_MAX, TEXT_MAX_BYTES};
use crate::state::State;

use super::ask::Ask;

/// A stretch of a snapshot's posts, without those that may not be shown.
#[derive(Debug)]
pub struct Cut {
    pub(super) start: usize,
    pub(super) limit: usize,
    /// Of the state that it was cut for ([`State::changes`]).
    pub(super) changes: u64,
    /// The times that it was cut for: from then until a post that was left out as seen may be shown again. What is
    /// shown at a time is so at every later one, while the state is the same.
    pub(super) times_ms: Range<i64>,
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

    pub(super) fn answers(&self, state: &State, ask: &Ask<'_>, start: usize) -> bool {
        (self.start, self.limit, self.changes) == (start, ask.limit, state.changes())
            && self.times_ms.contains(&ask.now_ms)
    }
}
