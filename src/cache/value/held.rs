//! The types of a key's value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::charges::COLLECTION_BYTES;
use super::sorted::Sorted;

#[derive(Debug)]
pub(in crate::cache) enum Value {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    Sorted(Sorted),
}

/// Returns the name of a value's type, as the command TYPE returns it.
pub(super) fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::Hash(_)) => "hash",
        Some(Value::Set(_)) => "set",
        Some(Value::Sorted(_)) => "zset",
    }
}

/// Whether a value is a collection without members. Redis never keeps an empty collection.
pub(in crate::cache) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(_) => false,
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::Sorted(sorted) => sorted.is_empty(),
    }
}

/// Returns the existing collection, or makes a new collection and adds the bytes of its first members to `bytes`.
pub(super) fn collection<'v>(
    value: &'v mut Option<Value>,
    bytes: &mut usize,
    new: impl FnOnce() -> Value,
) -> &'v mut Value {
    value.get_or_insert_with(|| {
        *bytes += COLLECTION_BYTES;
        new()
    })
}
