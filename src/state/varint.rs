//! Reads and replaces varints in the bytes of a block, in place.

use super::chunks::SPARE_PART;

/// The minimum number of bytes by which a block grows.
const SPARE_MIN_BYTES: usize = 8;

/// Reads a varint that [`Small`] has written.
#[inline]
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    // Most distances need one or two bytes.
    if let Some([first, second, ..]) = bytes.get(*at..) {
        if *first < 0x80 {
            *at += 1;
            return u64::from(*first);
        }
        if *second < 0x80 {
            *at += 2;
            return u64::from(*first & 0x7f) | u64::from(*second) << 7;
        }
    }
    let (mut value, mut shift) = (0, 0u32);
    while let Some(byte) = bytes.get(*at) {
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
        shift = (shift + 7).min(35);
    }
    value
}

/// A varint of one number, which is made on the stack.
#[derive(Default)]
pub(super) struct Small {
    bytes: [u8; 10],
    len: usize,
}

impl Small {
    pub(super) fn put(&mut self, mut value: u64) {
        while let Some(byte) = self.bytes.get_mut(self.len) {
            self.len += 1;
            if value < 0x80 {
                *byte = value as u8;
                return;
            }
            *byte = value as u8 | 0x80;
            value >>= 7;
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Replaces a range of the bytes by `new`.
pub(super) fn replace(bytes: &mut Vec<u8>, range: std::ops::Range<usize>, new: &[u8]) {
    let (old_len, len) = (bytes.len(), bytes.len() + new.len() - range.len());
    let behind = range.start + new.len();
    if len > old_len {
        if len > bytes.capacity() {
            bytes.reserve_exact((len - old_len).max(old_len / SPARE_PART).max(SPARE_MIN_BYTES));
        }
        bytes.resize(len, 0);
    }
    bytes.copy_within(range.end..old_len, behind);
    bytes.truncate(len);
    bytes[range.start..behind].copy_from_slice(new);
}
