//! The limits of a page of a feed, in posts and in bytes.

use super::cursor::CURSOR_MAX_BYTES;

/// The maximum number of posts on one page.
pub const PAGE_MAX: usize = 100;
/// The number of bytes that a page's JSON takes in addition to the posts and the cursor.
pub(super) const TEXT_BYTES: usize = 110;
/// The number of bytes of a post's id with two quotes and a comma.
pub(super) const POST_BYTES: usize = 39;
/// The maximum number of bytes of one page's JSON, including the posts and the cursor.
pub(super) const TEXT_MAX_BYTES: usize = TEXT_BYTES + CURSOR_MAX_BYTES + PAGE_MAX * POST_BYTES;
