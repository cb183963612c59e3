//! A page that was cut from a snapshot. A snapshot keeps the page that was cut last, and returns it again until
//! something changes on which the page depends.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::feed::cursor::Cursor;
use crate::feed::page_size::{PAGE_MAX, TEXT_MAX_BYTES};
use crate::state::State;

use super::ask::Ask;

/// A part of a snapshot's posts, without the posts that may not be shown.
#[derive(Debug)]
pub struct Cut {
    pub(super) start: usize,
    pub(super) limit: usize,
    /// The count of the state's changes when the page was cut ([`State::changes`]).
    pub(super) changes: u64,
    /// The period in which the page is valid: it begins when the page is cut, and ends when a post that was left out as
    /// viewed may be shown again. While the state does not change, a post that may be shown now may also be shown at
    /// every later time.
    pub(super) times_ms: Range<i64>,
    /// Whether anything has changed on which the user's feed depends.
    pub newer: bool,
    /// The indexes of the page's posts in the snapshot.
    pub places: Vec<usize>,
    /// The cursor of the next page.
    pub cursor: Option<Cursor>,
    /// The JSON of the page's posts and cursor, once an answer has needed it.
    pub(in crate::feed) text: Arc<OnceLock<Box<str>>>,
}

impl Cut {
    /// The maximum number of bytes that a page takes in memory.
    pub(super) const MAX_BYTES: usize = size_of::<Cut>() + (PAGE_MAX + 1) * size_of::<usize>() + TEXT_MAX_BYTES;

    pub(super) fn answers(&self, state: &State, ask: &Ask<'_>, start: usize) -> bool {
        (self.start, self.limit, self.changes) == (start, ask.limit, state.changes())
            && self.times_ms.contains(&ask.now_ms)
    }
}
