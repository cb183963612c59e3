//! The limits of a page of a feed, in posts and in bytes.

use super::cursor::CURSOR_MAX_BYTES;

/// The maximum number of posts on one page.
pub const PAGE_MAX: usize = 100;
/// The bytes of a page's JSON around the posts and the cursor.
pub(super) const TEXT_BYTES: usize = 110;
/// The bytes of a post's id with its quotes and its comma.
pub(super) const POST_BYTES: usize = 39;
/// The bytes of the longest page's posts and cursor.
pub(super) const TEXT_MAX_BYTES: usize = TEXT_BYTES + CURSOR_MAX_BYTES + PAGE_MAX * POST_BYTES;
