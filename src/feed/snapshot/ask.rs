//! What a reader asks for.

use crate::event::Id;
use crate::feed::cursor::Cursor;
use crate::feed::shown::Shown;

/// How a feed is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// By score, spaced (`algo=ch`, the name that clients know).
    Ranked = 0,
    /// Followees' posts, newest first.
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

/// What is asked for.
pub struct Ask<'a> {
    pub user: Id,
    pub algorithm: Algorithm,
    pub cursor: Option<Cursor>,
    /// What the cursor says that its reader has been shown.
    pub shown: &'a Shown,
    pub limit: usize,
    pub now_ms: i64,
    /// The posts of trending 24 h.
    pub trending: &'a [u32],
    /// Whether the answer takes too long.
    pub late: &'a dyn Fn() -> bool,
}
