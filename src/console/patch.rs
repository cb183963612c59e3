//! The difference of two documents as a JSON Merge Patch (RFC 7396). A member that is null and a missing member have
//! the same meaning in the documents that are compared.

use serde_json::{Map, Value};

/// Returns the patch that turns `before` into `after`. Returns `None` if the documents are equal. A patch replaces a
/// changed list as a whole.
pub fn between(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for (name, value) in new {
        let changed = match old.get(name) {
            Some(known) => between(known, value),
            None => Some(value.clone()),
        };
        patch.extend(changed.map(|value| (name.clone(), value)));
    }
    patch.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_has_what_differs_and_nothing_else() {
        let before = json!({ "a": 1, "b": { "c": [1, 2], "d": "x" }, "gone": 1 });
        let after = json!({ "a": 1, "b": { "c": [1, 3], "d": "x" }, "new": { "e": 5 } });
        let patch = json!({ "b": { "c": [1, 3] }, "new": { "e": 5 }, "gone": null });
        assert_eq!(between(&before, &after), Some(patch));
        assert_eq!(between(&after, &after), None);
    }
}
