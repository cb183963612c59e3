//! Members that never get past decode: nothing of them is stored, logged, sent on or shown, wherever in a record they
//! stand and however they are written.

mod broken;
pub(super) mod mask;
mod scan;
pub(super) mod shown;

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::event::{DROPPED_COLUMNS, Table};

pub(super) use self::mask::{blank, is_blank, mask};

/// How deep JSON text stands in strings of JSON text. Each level doubles the backslashes before a quote, so that no
/// record within `RECORD_MAX_BYTES` has more.
const NESTED_MAX: usize = 32;

/// The private column that a member's name stands for. Letter case and signs between letters do not count, so that
/// `passwordHash` and `PASSWORD-HASH` are found; nor does the path that Connect's `Flatten` puts before a name
/// (`after.email`, `before_email`).
pub(super) fn column(name: &str) -> Option<&'static str> {
    let last = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    DROPPED_COLUMNS.iter().copied().find(|column| {
        letters(last).eq(letters(column))
            || ["before", "after"].iter().any(|image| letters(last).eq(letters(image).chain(letters(column))))
    })
}

/// Whether values of a column of this name are never kept, and need not be asked for.
pub fn is_private(column: &str) -> bool {
    self::column(column).is_some()
}

/// Whether rows of the table have private columns at the source.
pub(super) const fn of(table: Table) -> bool {
    matches!(table, Table::Users)
}

/// Whether two names differ only in letter case and in signs between letters.
pub(super) fn same_letters(name: &str, other: &str) -> bool {
    letters(name).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let counts = |byte: &u8| !matches!(byte, b'_' | b'-' | b' ');
    name.bytes().filter(counts).map(|byte| byte.to_ascii_lowercase())
}

/// The text of a JSON value without its private members, at any depth, in strings that are JSON text too; `None` when
/// it has none, and then it stays word for word.
pub(super) fn purge(json: &str) -> Option<String> {
    // Each private name has an `a`; only an escape hides it.
    let may_hold = |byte: u8| byte | 0x20 == b'a' || byte == b'\\';
    json.bytes().any(may_hold).then(|| purge_within(json, 0)).flatten()
}

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

/// The same for a string literal that may hold JSON text.
fn purge_text(literal: &str, depth: usize) -> Option<String> {
    let Ok(text) = serde_json::from_str::<String>(literal) else {
        return masked(literal);
    };
    let text = match is_json(&text) {
        true if depth < NESTED_MAX => purge_within(&text, depth + 1),
        false if !text.trim_ascii_start().starts_with(['{', '[']) => None,
        // JSON text that breaks off, say.
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

pub(super) fn is_json(text: &str) -> bool {
    text.trim_ascii_start().starts_with(['{', '[', '"']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
