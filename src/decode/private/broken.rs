//! Finds private members in bytes that are not JSON: text that was cut, bytes that are not UTF-8, text in UTF-16, or
//! text in a notation other than JSON (`Struct{email=…}`). The search finds names anywhere and at any level of
//! escaping, and overwrites the bytes that might be the value of a private member. It is better to overwrite too many
//! bytes than too few. So if it is not certain where a value ends, everything after the name is overwritten.

mod hidden;

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::fill::{Fill, fill};
use crate::event::DROPPED_COLUMNS;

/// A private member whose name and value nova could read.
struct Member {
    /// The bytes from the beginning of the member's name to the end of its value.
    whole: Range<usize>,
    value: Fill,
}

/// Overwrites the values of private members in the bytes.
pub(super) fn mask(bytes: &[u8]) -> Cow<'_, [u8]> {
    fill(bytes, &find(bytes))
}

/// Returns the fills that overwrite private values, in the order of the bytes.
pub(super) fn find(bytes: &[u8]) -> Vec<Fill> {
    let members = members(bytes);
    // If a name is spelled in a way that nova cannot read, its value may have any length.
    let hidden = hidden::first(bytes, |at| {
        let next = members.partition_point(|member| member.whole.end <= at);
        members.get(next).is_some_and(|member| member.whole.contains(&at))
    });
    let end = hidden.unwrap_or(bytes.len());
    let read = members.into_iter().take_while(|member| member.whole.start < end).map(|member| member.value);
    read.chain(hidden.map(|start| Fill::Stars(start..bytes.len()))).collect()
}

/// Returns the members that can be read, in the order of the bytes. No member of the list lies within another member.
fn members(bytes: &[u8]) -> Vec<Member> {
    let mut members = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        // Each run of backslashes is examined once, from its beginning.
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let within_run = *byte == b'\\' && before == Some(&b'\\');
        let value = if within_run { None } else { value_of(bytes, at) };
        match value {
            Some((value, end)) => {
                let end = end.max(at + 1);
                members.push(Member { whole: at..end, value });
                at = end;
            }
            None => at += 1,
        }
    }
    members
}

/// Returns the fill for the member whose name begins at `at`, and the position at which the search continues.
fn value_of(bytes: &[u8], at: usize) -> Option<(Fill, usize)> {
    let end = space(bytes, DROPPED_COLUMNS.iter().find_map(|name| name_end(bytes, at, name))?);
    let name_quote = quote(bytes, end);
    let behind = match &name_quote {
        Some(quote) => space(bytes, quote.end),
        None => space(bytes, end + usize::from(bytes.get(end) == Some(&b'\''))),
    };
    let start = match bytes.get(behind..)? {
        // hstore writes a member as `"name"=>"value"`.
        [b'=', b'>', ..] => space(bytes, behind + 2),
        [b':' | b'=', ..] => space(bytes, behind + 1),
        _ => return None,
    };
    let certain = name_quote.and_then(|name_quote| certain_value(bytes, start, name_quote.level));
    certain.or(Some((Fill::Stars(start..bytes.len()), bytes.len())))
}

/// Returns the fill for the value that begins at `start`, and the end of the value. Returns `None` if the end of the
/// value is not certain. The name of the member was quoted at `level`.
fn certain_value(bytes: &[u8], start: usize, level: u32) -> Option<(Fill, usize)> {
    let (fill, content, end) = match quote(bytes, start) {
        Some(open) if open.level != level => return None,
        Some(open) => {
            let (content_end, end) = content_end(bytes, open.end, level)?;
            let content = open.end..content_end;
            (Fill::Stars(content.clone()), content, end)
        }
        None => {
            let range = start..scalar_end(bytes, start, level);
            (Fill::Scalar { range: range.clone(), nested: level > 0 }, range.clone(), range.end)
        }
    };
    let value = bytes.get(content)?;
    let is_value = matches!(fill, Fill::Stars(_)) || end == bytes.len() || is_json_scalar(value);
    (is_value && !holds_escape(value) && is_end(bytes, end)).then_some((fill, end))
}

/// Whether the bytes are a JSON object, a JSON array, a number, or one of JSON's words.
fn is_json_scalar(value: &[u8]) -> bool {
    let is_word = [&b"true"[..], b"false", b"null"].contains(&value);
    let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' | 0);
    is_word || matches!(value, [b'{' | b'[', ..]) || !value.is_empty() && value.iter().all(of_number)
}

/// Whether a member can end at `end`: nothing follows, or a character that ends a member follows.
fn is_end(bytes: &[u8], end: usize) -> bool {
    matches!(bytes.get(space(bytes, end)), None | Some(b',' | b'}' | b']'))
}

/// If `name` begins at `at`, returns the position after the name. The comparison of names ignores letter case. The name
/// may have punctuation between its letters, and its letters may be escapes.
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

/// Returns the number of backslashes at `at`, and the position after the backslashes.
fn backslashes(bytes: &[u8], at: usize) -> (u32, usize) {
    let rest = bytes.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| **byte == b'\\').count();
    (u32::try_from(count).unwrap_or(u32::MAX), at + count)
}

/// Returns the ASCII character of an escape such as `u0041`.
fn unicode_escape(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = bytes.get(at..at + 5)?.strip_prefix(b"u00")?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A quote together with the backslashes before it.
struct Quote {
    start: usize,
    end: usize,
    /// The number of strings that enclose the quote. The quote is written `"` at level 0, `\"` at level 1, and `\\\"`
    /// at level 2.
    level: u32,
}

fn quote(bytes: &[u8], at: usize) -> Option<Quote> {
    let (count, behind) = backslashes(bytes, at);
    match bytes.get(behind)? {
        b'"' => Some(own(behind, behind + 1, count.trailing_ones(), (1usize << count.trailing_ones().min(31)) - 1)),
        b'u' if count > 0 && unicode_escape(bytes, behind) == Some(b'"') => {
            // When a reader decodes `\u0022`, the escape becomes a quote with half as many backslashes before it.
            let halvings = count.trailing_zeros();
            let level = halvings + 1 + (count >> halvings >> 1).trailing_ones();
            Some(own(behind, behind + 5, level, 1 << halvings.min(31)))
        }
        _ => None,
    }
}

/// Makes a quote to which the last `own` backslashes belong. Backslashes that come before the quote's own backslashes
/// are content of the string.
fn own(behind: usize, end: usize, level: u32, own: usize) -> Quote {
    Quote { start: behind.saturating_sub(own), end, level }
}

/// Returns where the content of a string that was opened at `level` ends, and where its closing quote ends. Returns
/// `None` if a quote of a lower level comes first, because that quote may end the enclosing string, or be a damaged
/// byte of this string.
fn content_end(bytes: &[u8], start: usize, level: u32) -> Option<(usize, usize)> {
    let mut at = start;
    while at < bytes.len() {
        match quote(bytes, at) {
            Some(quote) if quote.level < level => return None,
            Some(quote) if quote.level == level => return Some((quote.start.max(start), quote.end)),
            Some(quote) => at = quote.end,
            None => at = backslashes(bytes, at).1.max(at + 1),
        }
    }
    Some((bytes.len(), bytes.len()))
}

/// Returns the position after a number, a word, an object or an array whose strings are quoted at `level`.
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

/// Whether the value has an ASCII character that is written as an escape. A backslash may belong to the syntax of the
/// text inside the string, so the level of a quote after the backslash cannot be known. In UTF-16 each backslash is
/// separated by a zero byte from the character that it escapes.
fn holds_escape(value: &[u8]) -> bool {
    if value.contains(&0) && value.contains(&b'\\') {
        return true;
    }
    let mut rest = value;
    while let Some(at) = memchr(b'u', rest) {
        if unicode_escape(rest, at).is_some_and(|byte| byte.is_ascii()) {
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
