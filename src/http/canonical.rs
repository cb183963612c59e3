//! Writes JSON in a canonical form for comparisons, with members in the order of their names and without white space.
//! Two JSON texts with the same meaning have the same canonical form, whichever program wrote the texts.

#![warn(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The canonical form of a JSON text. The result is `None` if the text is no JSON, is nested deeper than serde_json
/// reads, or repeats a member of an object. An object with a repeated member has no single meaning.
pub(super) fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut json) = (Vec::with_capacity(text.len()), serde_json::Deserializer::from_slice(text));
    Form(&mut out).deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(out)
}

/// Appends the canonical form of the next JSON value.
struct Form<'o>(&'o mut Vec<u8>);

impl Form<'_> {
    fn put(self, text: impl fmt::Display) {
        self.0.extend_from_slice(text.to_string().as_bytes());
    }
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> DeserializeSeed<'de> for Form<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Form<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put("null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put(value);
        Ok(())
    }

    /// The canonical form keeps the difference between `1.0` and `1`.
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(format_args!("{value:?}"));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.put(quoted(value));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        while seq.next_element_seed(Form(self.0))?.is_some() {
            self.0.push(b',');
        }
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut members = BTreeMap::<String, Vec<u8>>::new();
        while let Some(name) = map.next_key::<String>()? {
            let mut value = Vec::new();
            map.next_value_seed(Form(&mut value))?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        self.0.push(b'{');
        for (name, value) in members {
            self.0.extend_from_slice(quoted(&name).as_bytes());
            self.0.push(b':');
            self.0.extend_from_slice(&value);
            self.0.push(b',');
        }
        self.0.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn form(text: &str) -> Option<String> {
        canonical(text.as_bytes()).map(|form| String::from_utf8(form).unwrap())
    }

    /// Writes the JSON value with its members in reverse order and with white space.
    fn rewritten(value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::Array(all) => {
                let all: Vec<_> = all.iter().map(rewritten).collect();
                format!("[ {}\n]", all.join(" ,\t"))
            }
            serde_json::Value::Object(members) => {
                let member = |(name, value): (&String, &serde_json::Value)| {
                    format!("{} : {}", serde_json::Value::from(name.as_str()), rewritten(value))
                };
                let members: Vec<_> = members.iter().rev().map(member).collect();
                format!("{{{} }}", members.join(","))
            }
            other => other.to_string(),
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            any::<u64>().prop_map(|value| json!(value)),
            (-1e9..1e9f64).prop_map(|value| json!(value)),
            ".{0,6}".prop_map(|value| json!(value)),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("[a-c\"é ]{0,2}", inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_says_the_same_has_the_same_form_and_what_does_not_has_another(one in values(), other in values()) {
            let plain = form(&one.to_string());
            prop_assert!(plain.is_some());
            prop_assert_eq!(form(&rewritten(&one)), plain.clone());
            prop_assert_eq!(form(&other.to_string()) == plain, other == one);
        }

        #[test]
        fn any_bytes_have_a_form_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let json = serde_json::from_slice::<serde_json::Value>(&bytes);
            prop_assert!(json.is_ok() || canonical(&bytes).is_none());
        }
    }

    #[test]
    fn what_has_no_one_meaning_has_no_form() {
        assert_eq!(form(r#"{ "b": [1, 1.0, 1e0], "a": "\u0041" }"#), form(r#"{"a":"A","b":[1,1.0,1.0]}"#));
        assert_ne!(form("[1]"), form("[1.0]"));
        assert_ne!(form("[[],[]]"), form("[[[]]]"));
        assert_ne!(form(r#"["a","b"]"#), form(r#"["a,b"]"#));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for odd in ["", "{", "[1,]", "{} {}", r#"{"a":1,"a":1}"#, r#"[{"a":{"b":1,"b":2}}]"#, "1e999", &deep] {
            assert_eq!(form(odd), None, "{}", &odd[..odd.len().min(40)]);
        }
        assert_eq!(canonical(b"\"\xff\""), None);
    }
}
