//! Bytes that are overwritten where they stand: their number stays what it was.

use std::borrow::Cow;
use std::ops::Range;

/// What stands for an overwritten byte.
pub const STAR: u8 = b'*';

/// What to overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// The content of a string, or bytes whose end is not known.
    Stars(Range<usize>),
    /// A value that is no string; `nested` in a string, where a quote would need an escape.
    Scalar { range: Range<usize>, nested: bool },
}

/// The bytes with the fills in them.
pub(super) fn fill<'b>(bytes: &'b [u8], fills: &[Fill]) -> Cow<'b, [u8]> {
    if fills.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let mut out = bytes.to_vec();
    for fill in fills {
        match fill {
            Fill::Stars(range) => out[range.clone()].fill(STAR),
            Fill::Scalar { range, nested } => scalar(&mut out[range.clone()], *nested),
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
