//! Finds the names of private members, however they are spelled. The text is unescaped level by level, and nova
//! searches each level. So no escape of a letter, a digit, white space, a colon or a backslash hides a name.

use crate::decode::private::nested::NESTED_MAX;
use crate::event::DROPPED_COLUMNS;

/// A text, and the position in the original bytes for each byte of the text and for its end.
struct Level {
    text: Vec<u8>,
    places: Vec<usize>,
}

/// Returns where the first value of a private member may begin. A value is left out if `known` returns true for its
/// beginning.
pub(super) fn first(bytes: &[u8], known: impl Fn(usize) -> bool) -> Option<usize> {
    let mut first = first_in(bytes, |at| Some(at).filter(|at| !known(at.saturating_sub(1))));
    if !bytes.contains(&b'\\') {
        return first;
    }
    // In UTF-16 every second byte of ASCII text is 0.
    let (mut places, text): (Vec<_>, Vec<_>) = bytes.iter().copied().enumerate().filter(|(_, byte)| *byte != 0).unzip();
    places.push(bytes.len());
    let mut level = Level { text, places };
    for _ in 0..NESTED_MAX {
        level = level.unescaped();
        let place = |at: usize| {
            let separator = level.places.get(at.checked_sub(1)?)?;
            level.places.get(at).copied().filter(|_| !known(*separator))
        };
        let here = first_in(&level.text, place);
        first = first.into_iter().chain(here).min();
        if !level.text.contains(&b'\\') {
            break;
        }
    }
    first
}

/// For each private name with a separator after it, calls `place` with the position after the separator. Returns the
/// first position that `place` returns.
fn first_in(text: &[u8], place: impl Fn(usize) -> Option<usize>) -> Option<usize> {
    (0..text.len()).find_map(|at| DROPPED_COLUMNS.iter().find_map(|name| value_start(text, at, name).and_then(&place)))
}

/// Returns the position after the separator, if `name` begins at `at` and is followed by a separator.
fn value_start(text: &[u8], at: usize, name: &str) -> Option<usize> {
    let mut at = at;
    for (index, letter) in name.bytes().filter(|byte| *byte != b'_').enumerate() {
        while index > 0 && matches!(text.get(at), Some(b'_' | b'-' | b' ' | b'\\' | 0)) {
            at += 1;
        }
        if !text.get(at)?.eq_ignore_ascii_case(&letter) {
            return None;
        }
        at += 1;
    }
    // Between the name and the separator there may be quotes, some punctuation, and white space of any kind.
    let is_between = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'_' | b'-' | b'"' | b'\'' | b'\\' | b'`');
    at += text.get(at..)?.iter().take_while(|byte| is_between(byte)).count();
    matches!(text.get(at)?, b':' | b'=').then_some(at + 1)
}

impl Level {
    /// Returns the text after one level of its escapes was decoded.
    fn unescaped(&self) -> Self {
        let (mut text, mut places) = (Vec::with_capacity(self.text.len()), Vec::with_capacity(self.places.len()));
        let mut at = 0;
        while let (Some(byte), Some(place)) = (self.text.get(at), self.places.get(at)) {
            let (byte, length) = match (*byte, self.text.get(at + 1)) {
                (b'\\', Some(b'u')) => code(&self.text, at + 2).map_or((b'u', 2), |byte| (byte, 6)),
                (b'\\', Some(b'n' | b'r' | b't' | b'b' | b'f')) => (b' ', 2),
                (b'\\', Some(escaped)) => (*escaped, 2),
                // A backslash at the end of the text escapes nothing.
                (b'\\', None) => (b' ', 1),
                (byte, _) => (byte, 1),
            };
            text.push(byte);
            places.push(*place);
            at += length;
        }
        places.extend(self.places.last());
        Self { text, places }
    }
}

/// Returns the character that the four hexadecimal digits at `at` stand for. A character beyond ASCII is returned as a
/// space, because it may be white space and is never a letter of a name.
fn code(text: &[u8], at: usize) -> Option<u8> {
    let digits = text.get(at..at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some(u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(b' '))
}
