//! Removes private members from JSON text that nova keeps and sends.

use std::borrow::Cow;

use super::nested::{NESTED_MAX, is_json};
use super::{broken, scan};

/// Returns the text of a JSON value without its private members, at any depth, and also in strings that contain JSON
/// text. Returns `None` if the value has no private members, so that its text stays as it is.
pub fn purge(json: &str) -> Option<String> {
    // Each private name has the letter `a`, and only an escape can hide this letter.
    let may_hold = |byte: u8| byte | 0x20 == b'a' || byte == b'\\';
    json.bytes().any(may_hold).then(|| purge_within(json, 0)).flatten()
}

#[allow(clippy::indexing_slicing, reason = "the places are those that the scan found in this text, at ASCII signs")]
fn purge_within(json: &str, depth: usize) -> Option<String> {
    let mut out = String::new();
    let mut kept = 0;
    for found in scan::find(json) {
        match found {
            scan::Found::Text(range) => {
                let Some(literal) = purge_text(&json[range.clone()], depth) else { continue };
                out.push_str(&json[kept..range.start]);
                out.push_str(&literal);
                kept = range.end;
            }
            scan::Found::Member { start, value } => {
                out.push_str(&json[kept..start]);
                kept = scan::space(json.as_bytes(), value.end);
                if json[kept..].starts_with(',') {
                    kept = scan::space(json.as_bytes(), kept + 1);
                } else if out.trim_ascii_end().ends_with(',') {
                    out.truncate(out.trim_ascii_end().len() - 1);
                }
            }
        }
    }
    if kept == 0 {
        return None;
    }
    out.push_str(&json[kept..]);
    Some(out)
}

/// Removes private members from a string literal that may contain JSON text.
fn purge_text(literal: &str, depth: usize) -> Option<String> {
    let Ok(text) = serde_json::from_str::<String>(literal) else {
        return masked(literal);
    };
    let text = match is_json(&text) {
        true if depth < NESTED_MAX => purge_within(&text, depth + 1),
        false if !text.trim_ascii_start().starts_with(['{', '[']) => None,
        // The content of the string may for example be JSON text that was cut.
        _ => masked(&text),
    };
    text.map(|text| serde_json::Value::from(text).to_string())
}

fn masked(text: &str) -> Option<String> {
    match broken::mask(text.as_bytes()) {
        Cow::Borrowed(_) => None,
        Cow::Owned(masked) => Some(String::from_utf8_lossy(&masked).into_owned()),
    }
}
