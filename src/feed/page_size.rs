//! The limits of a page, in posts and in bytes.

use super::cursor::CURSOR_MAX_BYTES;

/// The most posts of one page.
pub const PAGE_MAX: usize = 100;
/// Bytes of the text around posts and cursor.
pub(super) const TEXT_BYTES: usize = 110;
/// Bytes of a post's id with its quotes and its comma.
pub(super) const POST_BYTES: usize = 39;
/// Bytes of the posts and the cursor of the longest page.
pub(super) const TEXT_MAX_BYTES: usize = TEXT_BYTES + CURSOR_MAX_BYTES + PAGE_MAX * POST_BYTES;
