//! How long a page may be, in posts and in bytes.

use super::cursor::CURSOR_MAX_BYTES;

/// Posts of one page.
pub const PAGE_MAX: usize = 100;
/// Bytes of posts and cursor without either.
pub(super) const TEXT_BYTES: usize = 110;
/// Bytes of each post's id, its quotes and its comma.
pub(super) const POST_BYTES: usize = 39;
/// Of the posts and cursor of the longest page.
pub(super) const TEXT_MAX_BYTES: usize = TEXT_BYTES + CURSOR_MAX_BYTES + PAGE_MAX * POST_BYTES;
