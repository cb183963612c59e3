//! The limits of the head of an HTTP request.

pub(super) const HEADERS_MAX: usize = 64;
/// The most bytes of the request line and all headers together.
pub(super) const HEAD_MAX_BYTES: usize = 16 << 10;
