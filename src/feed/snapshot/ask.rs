//! The request of a reader.

use crate::event::Id;
use crate::feed::cursor::Cursor;
use crate::feed::shown::Shown;
use crate::state::PostNo;

/// The order of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The posts are ordered by score and spaced (`algo=ch`, the name that clients know).
    Ranked = 0,
    /// Followees' posts are ordered newest first.
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

/// The request for a page.
pub struct Ask<'a> {
    pub user: Id,
    pub algorithm: Algorithm,
    pub cursor: Option<Cursor>,
    /// The posts that the reader was shown, according to the cursor.
    pub shown: &'a Shown,
    pub limit: usize,
    pub now_ms: i64,
    /// The posts of the 24 h trending list.
    pub trending: &'a [PostNo],
    /// Returns whether the time is up.
    pub late: &'a dyn Fn() -> bool,
}
