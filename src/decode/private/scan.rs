//! Finds private members in the text of a JSON value that is known to be well formed, in one pass without recursion.

use std::borrow::Cow;
use std::ops::Range;

use super::names::column;

/// A part that the search found in a JSON text, with its byte positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A private member, from the opening quote of its name to the end of its value.
    Member { start: usize, value: Range<usize> },
    /// A string literal, including its quotes. The content of the literal may be JSON text.
    Text(Range<usize>),
}

/// Returns what the search found, in the order of the text. No part that the search found lies within another part.
pub(super) fn find(json: &str) -> Vec<Found> {
    let bytes = json.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
        let start = at + offset;
        let end = string_end(bytes, start);
        let colon = space(bytes, end);
        if bytes.get(colon) != Some(&b':') {
            if bytes.get(start..end).is_some_and(may_be_json) {
                found.push(Found::Text(start..end));
            }
            at = end;
            continue;
        }
        at = space(bytes, colon + 1);
        if json.get(start..end).is_none_or(|literal| column(&name(literal)).is_some()) {
            let value = at..value_end(bytes, at);
            at = value.end;
            found.push(Found::Member { start, value });
        }
    }
    found
}

/// Returns the position of the first byte that is not white space, from `at` on.
pub(super) fn space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// Whether a string literal may contain JSON text. A literal with JSON text begins with escapes, with white space, or
/// with the opening character of a JSON value.
fn may_be_json(literal: &[u8]) -> bool {
    matches!(literal.get(1), Some(b'{' | b'[' | b'\\' | b' ' | b'\t' | b'\r' | b'\n'))
}

pub(super) fn name(literal: &str) -> Cow<'_, str> {
    match literal.contains('\\') {
        true => serde_json::from_str(literal).map_or(Cow::Borrowed(literal), Cow::Owned),
        false => Cow::Borrowed(literal.trim_matches('"')),
    }
}

/// Returns the position after the closing quote of the string that begins at `start`.
pub(super) fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += offset;
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            _ => at += 2,
        }
    }
    bytes.len()
}

pub(super) fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return at + depth,
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}
