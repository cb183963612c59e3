//! Private members in bytes that are no JSON: text that was cut, not UTF-8, UTF-16, or another notation
//! (`Struct{email=…}`). Names are found anywhere, at any level of escaping, and the bytes that might be their value are
//! overwritten. Too many overwritten bytes are better than too few.

use std::borrow::Cow;

use memchr::memchr;

use super::fill::{Fill, fill};
use crate::event::DROPPED_COLUMNS;

/// Overwrites the values of private members.
pub(super) fn mask(bytes: &[u8]) -> Cow<'_, [u8]> {
    fill(bytes, &find(bytes))
}

/// The fills that overwrite private values, in the order of the bytes.
pub(super) fn find(bytes: &[u8]) -> Vec<Fill> {
    let mut fills = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        // A run of backslashes is examined once, from its beginning.
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let within_run = *byte == b'\\' && before == Some(&b'\\');
        let value = if within_run { None } else { value_of(bytes, at) };
        match value {
            Some((fill, end)) => {
                fills.push(fill);
                at = end.max(at + 1);
            }
            None => at += 1,
        }
    }
    fills
}

/// The fill for the member whose name begins at `at`, and the position where the search continues.
fn value_of(bytes: &[u8], at: usize) -> Option<(Fill, usize)> {
    let end = space(bytes, DROPPED_COLUMNS.iter().find_map(|name| name_end(bytes, at, name))?);
    let name_quote = quote(bytes, end);
    let behind = match &name_quote {
        Some(quote) => space(bytes, quote.end),
        None => space(bytes, end + usize::from(bytes.get(end) == Some(&b'\''))),
    };
    let start = match bytes.get(behind..)? {
        // The notation of hstore is `"name"=>"value"`.
        [b'=', b'>', ..] => space(bytes, behind + 2),
        [b':' | b'=', ..] => space(bytes, behind + 1),
        _ => return None,
    };
    let everything = Some((Fill::Stars(start..bytes.len()), bytes.len()));
    let (Some(name_quote), false) = (name_quote, bytes.get(start) == Some(&b'\'')) else {
        return everything;
    };
    let Some(open) = quote(bytes, start) else {
        let end = scalar_end(bytes, start, name_quote.level);
        return Some((Fill::Scalar { range: start..end, nested: name_quote.level > 0 }, end));
    };
    let (content, end) = content_end(bytes, open.end, open.level);
    match bytes.get(open.end..content).is_none_or(holds_written_backslash) {
        true => everything,
        false => Some((Fill::Stars(open.end..content), end)),
    }
}

/// The position after the name, if `name` begins at `at`. Letter case does not count; there may be signs between the
/// letters, and letters may be escapes.
fn name_end(bytes: &[u8], at: usize, name: &str) -> Option<usize> {
    let mut at = at;
    for (index, letter) in name.bytes().filter(|byte| *byte != b'_').enumerate() {
        while index > 0 && matches!(bytes.get(at), Some(b'_' | b'-' | b' ' | 0)) {
            at += 1;
        }
        let (found, end) = letter_at(bytes, at)?;
        if !found.eq_ignore_ascii_case(&letter) {
            return None;
        }
        at = end;
    }
    Some(at)
}

fn letter_at(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    match bytes.get(at)? {
        b'\\' => {
            let (_, escape) = backslashes(bytes, at);
            Some((unicode_escape(bytes, escape)?, escape + 5))
        }
        letter => Some((*letter, at + 1)),
    }
}

/// The number of backslashes, and the position after them.
fn backslashes(bytes: &[u8], at: usize) -> (u32, usize) {
    let rest = bytes.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| **byte == b'\\').count();
    (u32::try_from(count).unwrap_or(u32::MAX), at + count)
}

/// The ASCII character of an escape such as `u0041`.
fn unicode_escape(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = bytes.get(at..at + 5)?.strip_prefix(b"u00")?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A quote with its leading backslashes.
struct Quote {
    start: usize,
    end: usize,
    /// How many strings enclose the quote: level 0 is written `"`, 1 `\"`, 2 `\\\"`.
    level: u32,
}

fn quote(bytes: &[u8], at: usize) -> Option<Quote> {
    let (count, behind) = backslashes(bytes, at);
    match bytes.get(behind)? {
        b'"' => Some(own(behind, behind + 1, count.trailing_ones(), (1usize << count.trailing_ones().min(31)) - 1)),
        b'u' if count > 0 && unicode_escape(bytes, behind) == Some(b'"') => {
            // When `\u0022` is read, it becomes a quote, with half as many backslashes before it.
            let halvings = count.trailing_zeros();
            let level = halvings + 1 + (count >> halvings >> 1).trailing_ones();
            Some(own(behind, behind + 5, level, 1 << halvings.min(31)))
        }
        _ => None,
    }
}

/// A quote to which the last `own` backslashes belong. The backslashes before them are content.
fn own(behind: usize, end: usize, level: u32, own: usize) -> Quote {
    Quote { start: behind.saturating_sub(own), end, level }
}

/// Where the content of a string that was opened at `level` ends, and where its closing quote ends. A quote of a lower
/// level ends the enclosing string, and with it this string.
fn content_end(bytes: &[u8], start: usize, level: u32) -> (usize, usize) {
    let mut at = start;
    while at < bytes.len() {
        match quote(bytes, at) {
            Some(quote) if quote.level <= level => return (quote.start.max(start), quote.end),
            Some(quote) => at = quote.end,
            None => at = backslashes(bytes, at).1.max(at + 1),
        }
    }
    (bytes.len(), bytes.len())
}

/// The position after a number, a word, an object or an array whose strings are quoted at `level`.
fn scalar_end(bytes: &[u8], start: usize, level: u32) -> usize {
    let (mut at, mut depth, mut in_string) = (start, 0usize, false);
    while let Some(byte) = bytes.get(at) {
        if let Some(quote) = quote(bytes, at) {
            if quote.level < level || depth == 0 {
                return quote.start.max(start);
            }
            in_string ^= quote.level == level;
            at = quote.end;
            continue;
        }
        match byte {
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return at + depth,
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {}
        }
        at = backslashes(bytes, at).1.max(at + 1);
    }
    bytes.len()
}

/// Whether the content has a backslash that is itself an escape. Then the level of a quote after it cannot be known.
fn holds_written_backslash(content: &[u8]) -> bool {
    let mut rest = content;
    while let Some(at) = memchr(b'u', rest) {
        if unicode_escape(rest, at) == Some(b'\\') {
            return true;
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    false
}

fn space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)).count()
}
