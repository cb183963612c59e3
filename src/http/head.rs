//! How much the head of a request may have.

pub(super) const HEADERS_MAX: usize = 64;
/// Of the request line and all headers together.
pub(super) const HEAD_MAX_BYTES: usize = 16 << 10;
