//! The headers of a record about its row: the row's other key after a change of the primary key, and the columns that
//! the record leaves out because they did not change.

use serde::Deserialize;

use super::json::key;
use crate::event::Id;

/// Debezium's headers for a changed primary key, on the new record and on the delete of the old record.
pub(super) const OLD_KEY: &str = "__debezium.oldkey";
pub(super) const NEW_KEY: &str = "__debezium.newkey";

/// The most columns of a table of PostgreSQL. A longer list is no list of columns.
const COLUMNS_MAX: usize = 1_600;

/// The content of the headers.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub old_key: Option<Id>,
    pub new_key: Option<Id>,
    /// The columns of each list of names (`ExtractChangedRecordState`'s `header.unchanged.name`).
    pub named: Vec<Box<str>>,
}

impl Headers {
    /// Adds the names of a list that was read elsewhere.
    pub fn list(&mut self, names: impl IntoIterator<Item = String>) {
        let room = COLUMNS_MAX.saturating_sub(self.named.len());
        self.named.extend(names.into_iter().take(room).map(String::into_boxed_str));
    }

    /// Adds a list in the form of one of Connect's header converters.
    pub fn list_text(&mut self, value: &[u8]) {
        if let Some(names) = std::str::from_utf8(value).ok().and_then(names) {
            self.list(names);
        }
    }
}

/// The id in a key that one of Connect's header converters wrote: JSON with or without schema, `Struct{id=…}`, or the
/// id alone.
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

/// The names in `["id","caption"]` (SimpleHeaderConverter, JsonConverter), in the same list with a schema, or in `[id,
/// caption]` (StringConverter).
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
