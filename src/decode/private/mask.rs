//! Overwrites private values in the bytes of a dead letter. The dead letter keeps its length, and a JSON text remains
//! JSON, so that the letter can be replayed.

use std::borrow::Cow;
use std::ops::Range;

use super::fill::{Fill, STAR, fill};
use super::nested::{NESTED_MAX, is_json, unescaped};
use super::{broken, scan};
use crate::decode::confluent::HEADER_BYTES;
use crate::event::DEAD_VALUE_MAX_BYTES;

/// The maximum level of nesting at which nova reads a text that is too long for a dead letter. Text that is nested more
/// deeply than this maximum is overwritten as a whole, because each level needs memory for a multiple of the text's
/// length.
const LONG_NESTED_MAX: usize = 3;

/// Returns the bytes with `*` in place of the values of private members. The number of bytes does not change. A value
/// that is not a string becomes a string of stars, or a number if there is no room for a string.
pub fn mask(bytes: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_json(text) => fill(bytes, &fills(text, 0)),
        _ => broken::mask(bytes),
    }
}

/// Overwrites everything after the schema id of an Avro value.
pub fn blank(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.iter_mut().skip(HEADER_BYTES).for_each(|byte| *byte = STAR);
    out
}

/// Whether a datum was made by [`blank`].
pub fn is_blank(datum: &[u8]) -> bool {
    !datum.is_empty() && datum.iter().all(|byte| *byte == STAR)
}

fn fills(json: &str, depth: usize) -> Vec<Fill> {
    let mut fills = Vec::new();
    for found in scan::find(json) {
        match found {
            scan::Found::Member { value, .. } if json.as_bytes().get(value.start) == Some(&b'"') => {
                fills.push(Fill::Stars(value.start + 1..value.end - 1));
            }
            scan::Found::Member { value, .. } => fills.push(Fill::Scalar { range: value, nested: depth > 0 }),
            scan::Found::Text(range) => match json.get(range.clone()) {
                Some(literal) => within(literal, depth, range.start, &mut fills),
                None => fills.push(Fill::Stars(range)),
            },
        }
    }
    fills
}

/// Adds the fills for a string literal that begins at `start`.
fn within(literal: &str, depth: usize, start: usize, fills: &mut Vec<Fill>) {
    let (text, places) = unescaped(literal);
    let inner = match std::str::from_utf8(&text) {
        _ if depth >= LONG_NESTED_MAX && text.len() > DEAD_VALUE_MAX_BYTES => vec![Fill::Stars(0..text.len())],
        Ok(text) if depth < NESTED_MAX && is_json(text) => self::fills(text, depth + 1),
        _ if text.trim_ascii_start().starts_with(b"{") || text.trim_ascii_start().starts_with(b"[") => {
            broken::find(&text)
        }
        _ => return,
    };
    // If the place of a fill's beginning is unknown, the fill begins with the literal. If the place of its end is
    // unknown, the fill ends with the literal.
    let place = |range: Range<usize>| {
        let from = places.get(range.start).copied().unwrap_or_default();
        let to = places.get(range.end).copied().unwrap_or(literal.len());
        start + from..start + to
    };
    fills.extend(inner.into_iter().map(|fill| match fill {
        Fill::Stars(range) => Fill::Stars(place(range)),
        Fill::Scalar { range, .. } => Fill::Scalar { range: place(range), nested: true },
    }));
}
