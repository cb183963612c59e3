//! Handles JSON text that is inside strings of JSON text.

use serde::de::IgnoredAny;

/// The maximum nesting of JSON text in strings. Each level of nesting doubles the backslashes before a quote, so no
/// record within `RECORD_MAX_BYTES` can be nested more deeply.
pub(super) const NESTED_MAX: usize = 32;

/// Whether the text is JSON text of an object, an array or a string.
pub fn is_json(text: &str) -> bool {
    text.trim_ascii_start().starts_with(['{', '[', '"']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Returns the content of a string literal, and the position in the literal for each byte of the content and for its
/// end. The function returns escaped characters beyond ASCII as `?`, because no such character is part of JSON's syntax
/// or of a private name.
pub(super) fn unescaped(literal: &str) -> (Vec<u8>, Vec<usize>) {
    let bytes = literal.as_bytes();
    let end = bytes.len().saturating_sub(1);
    let (mut text, mut places) = (Vec::with_capacity(end), Vec::with_capacity(end));
    let mut at = 1;
    while at < end {
        let Some(byte) = bytes.get(at) else { break };
        places.push(at);
        let (byte, length) = match (*byte, bytes.get(at + 1)) {
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
