//! A page that was cut from a snapshot. The last such page is kept, and is the answer again as long as nothing that it
//! depends on changes.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::feed::cursor::Cursor;
use crate::feed::page_size::{PAGE_MAX, TEXT_MAX_BYTES};
use crate::state::State;

use super::ask::Ask;

/// A stretch of a snapshot's posts, without the posts that may not be shown.
#[derive(Debug)]
pub struct Cut {
    pub(super) start: usize,
    pub(super) limit: usize,
    /// The number of changes of the state for which the page was cut ([`State::changes`]).
    pub(super) changes: u64,
    /// The times at which the page is valid: from its making until a post that was left out as viewed may be shown
    /// again. A post that is shown at one time is also shown at every later time, while the state is the same.
    pub(super) times_ms: Range<i64>,
    /// Whether something changed on which the user's feed depends.
    pub newer: bool,
    /// The places of the page's posts in the snapshot.
    pub places: Vec<usize>,
    /// The cursor of the next page.
    pub cursor: Option<Cursor>,
    /// The text of posts and cursor in an answer, once it was written.
    pub(in crate::feed) text: Arc<OnceLock<Box<str>>>,
}

impl Cut {
    /// Bytes of the longest page.
    pub(super) const MAX_BYTES: usize = size_of::<Cut>() + (PAGE_MAX + 1) * size_of::<usize>() + TEXT_MAX_BYTES;

    pub(super) fn answers(&self, state: &State, ask: &Ask<'_>, start: usize) -> bool {
        (self.start, self.limit, self.changes) == (start, ask.limit, state.changes())
            && self.times_ms.contains(&ask.now_ms)
    }
}
