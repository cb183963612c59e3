//! Reads the headers that describe the row of a record: the row's old or new key after a change of the primary key, and
//! the columns that the record leaves out because they did not change.

use serde::Deserialize;

use super::json::key;
use crate::event::Id;

/// The headers that Debezium writes for a changed primary key, on the record of the new row and on the delete of the
/// old row.
pub(super) const OLD_KEY: &str = "__debezium.oldkey";
pub(super) const NEW_KEY: &str = "__debezium.newkey";

/// The maximum number of columns that a table of PostgreSQL can have. A list with more names than this is not a list of
/// columns.
const COLUMNS_MAX: usize = 1_600;

/// The content of a record's headers.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub old_key: Option<Id>,
    pub new_key: Option<Id>,
    /// The columns whose names are in the lists of the headers (the option `header.unchanged.name` of
    /// `ExtractChangedRecordState`).
    pub named: Vec<Box<str>>,
}

impl Headers {
    /// Adds the names of a list that the caller has read.
    pub fn list(&mut self, names: impl IntoIterator<Item = String>) {
        let room = COLUMNS_MAX.saturating_sub(self.named.len());
        self.named.extend(names.into_iter().take(room).map(String::into_boxed_str));
    }

    /// Adds the names of a list that one of Kafka Connect's header converters wrote as text.
    pub fn list_text(&mut self, value: &[u8]) {
        if let Some(names) = std::str::from_utf8(value).ok().and_then(names) {
            self.list(names);
        }
    }
}

/// Returns the id in a key that one of Kafka Connect's header converters wrote: JSON with or without schema,
/// `Struct{id=…}`, or only the id.
pub(super) fn id(value: &[u8]) -> Option<Id> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    if let Ok(id) = key::read(text) {
        return Some(id);
    }
    let bare = match text.strip_prefix("Struct{").and_then(|rest| rest.strip_suffix('}')) {
        Some(members) => members.split(',').find_map(|member| member.strip_prefix("id="))?,
        None => text,
    };
    Id::parse(bare.as_bytes()).ok()
}

/// Returns the names in a list. The list has the form `["id","caption"]` (SimpleHeaderConverter, JsonConverter), the
/// same form with a schema, or the form `[id, caption]` (StringConverter).
fn names(text: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct WithSchema {
        payload: Vec<String>,
    }
    let text = text.trim_ascii();
    if text.starts_with('{') {
        return serde_json::from_str::<WithSchema>(text).ok().map(|list| list.payload);
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    if let Ok(names) = serde_json::from_str(text) {
        return Some(names);
    }
    let is_name = |name: &&str| !name.is_empty() && !name.contains(['"', '[', ']', '{', '}', ':', '=']);
    let names: Vec<&str> = inside.split(',').map(str::trim).collect();
    names.iter().all(is_name).then(|| names.into_iter().map(str::to_owned).collect())
}
