//! Bytes of a dead letter whose private values are overwritten where they stand: the letter keeps its length, and a
//! JSON text stays one, so that it can be replayed.

use std::borrow::Cow;
use std::ops::Range;

use super::{NESTED_MAX, broken, is_json, scan};
use crate::decode::avro::HEADER_BYTES;

pub(in crate::decode) const STAR: u8 = b'*';

/// What to overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// The content of a string, or bytes whose end is not known.
    Stars(Range<usize>),
    /// A value that is no string; `nested` in a string, where a quote would need an escape.
    Scalar { range: Range<usize>, nested: bool },
}

/// The same number of bytes, with `*` for the values of private members. A value that is no string becomes a string of
/// stars, or a number where there is no room for one.
pub(in crate::decode) fn mask(bytes: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_json(text) => fill(bytes, &fills(text, 0)),
        _ => broken::mask(bytes),
    }
}

/// Everything behind the schema id of an Avro value.
pub(in crate::decode) fn blank(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.iter_mut().skip(HEADER_BYTES).for_each(|byte| *byte = STAR);
    out
}

/// Whether a datum was made by [`blank`].
pub(in crate::decode) fn is_blank(datum: &[u8]) -> bool {
    !datum.is_empty() && datum.iter().all(|byte| *byte == STAR)
}

fn fills(json: &str, depth: usize) -> Vec<Fill> {
    let mut fills = Vec::new();
    for found in scan::find(json) {
        match found {
            scan::Found::Member { value, .. } if json[value.clone()].starts_with('"') => {
                fills.push(Fill::Stars(value.start + 1..value.end - 1));
            }
            scan::Found::Member { value, .. } => fills.push(Fill::Scalar { range: value, nested: depth > 0 }),
            scan::Found::Text(range) => within(&json[range.clone()], depth, range.start, &mut fills),
        }
    }
    fills
}

/// What to overwrite in a string literal that begins at `start`.
fn within(literal: &str, depth: usize, start: usize, fills: &mut Vec<Fill>) {
    let (text, places) = unescaped(literal);
    let inner = match std::str::from_utf8(&text) {
        Ok(text) if depth < NESTED_MAX && is_json(text) => self::fills(text, depth + 1),
        _ if text.trim_ascii_start().starts_with(b"{") || text.trim_ascii_start().starts_with(b"[") => {
            broken::find(&text)
        }
        _ => return,
    };
    let place = |range: Range<usize>| start + places[range.start]..start + places[range.end];
    fills.extend(inner.into_iter().map(|fill| match fill {
        Fill::Stars(range) => Fill::Stars(place(range)),
        Fill::Scalar { range, .. } => Fill::Scalar { range: place(range), nested: true },
    }));
}

/// The content of a string literal, and where each byte of it, and its end, stands in the literal. Characters beyond
/// ASCII that are escaped read as `?`: no sign of JSON and no private name is one.
pub(super) fn unescaped(literal: &str) -> (Vec<u8>, Vec<usize>) {
    let bytes = literal.as_bytes();
    let end = bytes.len().saturating_sub(1);
    let (mut text, mut places) = (Vec::with_capacity(end), Vec::with_capacity(end));
    let mut at = 1;
    while at < end {
        places.push(at);
        let (byte, length) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => {
                let code = bytes.get(at + 2..at + 6).and_then(|digits| std::str::from_utf8(digits).ok());
                let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                (code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii).unwrap_or(b'?'), 6)
            }
            (b'\\', Some(b'n' | b'r' | b't' | b'b' | b'f')) => (b' ', 2),
            (b'\\', Some(escaped)) => (*escaped, 2),
            (byte, _) => (byte, 1),
        };
        text.push(byte);
        at += length;
    }
    places.push(end);
    (text, places)
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
