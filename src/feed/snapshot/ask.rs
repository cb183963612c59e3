//! A reader's request for a page of a feed.

use crate::event::Id;
use crate::feed::cursor::Cursor;
use crate::feed::shown::Shown;
use crate::state::PostNo;

/// The order of the posts in a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The feed has posts by score, with spacing (`algo=ch`; clients know this name).
    Ranked = 0,
    /// The feed has followees' posts, newest first (`algo=time`).
    Time = 1,
}

impl Algorithm {
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Ranked => "ch",
            Algorithm::Time => "time",
        }
    }
}

/// The request for a page of a feed.
pub struct Ask<'a> {
    pub user: Id,
    pub algorithm: Algorithm,
    pub cursor: Option<Cursor>,
    /// The posts that the reader was shown before, as the cursor says.
    pub shown: &'a Shown,
    pub limit: usize,
    pub now_ms: i64,
    /// The numbers of the posts in the 24 h trending list.
    pub trending: &'a [PostNo],
    /// Returns whether the time limit of the request is reached.
    pub late: &'a dyn Fn() -> bool,
}
