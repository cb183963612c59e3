//! The constants of the format of stored chunks, and conversions of stored numbers that fail if a number does not fit
//! its type.

use nova_storage::codec::CodecError;

/// The version of the format in which chunks are stored. Up to version 4 the state was one stream that was cut at any
/// byte. The module `old` reads the stream of version 4 and earlier versions. Version 5 had weights of affinity instead
/// of counts of actions, and its chunks stay stored until they change.
pub(super) const STATE_VERSION: u8 = 6;
pub(super) const STATE_VERSION_FIRST: u8 = 5;
pub(super) const WHAT: &str = "state checkpoint";
/// The number of low bits of a stored number that hold the index of the piece.
pub(super) const PIECE_BITS: u32 = 8;
pub(super) const PIECES_MAX: usize = 1 << PIECE_BITS;

pub(super) fn small(value: i64) -> Result<i32, CodecError> {
    i32::try_from(value).map_err(|_| CodecError::Invalid(WHAT))
}

pub(super) fn size(value: u64) -> Result<usize, CodecError> {
    usize::try_from(value).map_err(|_| CodecError::Invalid(WHAT))
}
