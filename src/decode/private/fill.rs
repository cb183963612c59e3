//! Overwrites bytes in place, so that the number of bytes does not change.

use std::borrow::Cow;
use std::ops::Range;

/// The byte that replaces an overwritten byte.
pub const STAR: u8 = b'*';

/// The bytes to overwrite, and the way to overwrite them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// The bytes are the content of a string, or bytes whose end is unknown.
    Stars(Range<usize>),
    /// The bytes are a value that is not a string. `nested` says that the value is inside a string, where a quote would
    /// need an escape.
    Scalar { range: Range<usize>, nested: bool },
}

/// Returns the bytes after the fills were applied.
pub(super) fn fill<'b>(bytes: &'b [u8], fills: &[Fill]) -> Cow<'b, [u8]> {
    if fills.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let mut out = bytes.to_vec();
    for fill in fills {
        let (Fill::Stars(range) | Fill::Scalar { range, .. }) = fill;
        let Some(value) = out.get_mut(range.clone()) else {
            // If the range lies outside of the bytes, the place of the value is unknown, and every byte is overwritten.
            out.fill(STAR);
            continue;
        };
        match fill {
            Fill::Stars(_) => value.fill(STAR),
            Fill::Scalar { nested, .. } => scalar(value, *nested),
        }
    }
    Cow::Owned(out)
}

fn scalar(value: &mut [u8], nested: bool) {
    let (inside, first) = if nested { (b'0', b'1') } else { (STAR, b'"') };
    match value {
        [] => {}
        [digit] => *digit = b'0',
        [start, middle @ .., end] => {
            middle.fill(inside);
            *start = first;
            *end = if nested { inside } else { first };
        }
    }
}
