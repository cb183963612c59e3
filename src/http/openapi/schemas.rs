//! nova makes the schemas of requests and answers from their types. Each named schema is a component of the OpenAPI
//! document.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::http::error::ProblemDetails;
use crate::http::route::Form;

/// Makes the schema of each type once.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Schemas {
        let of = |contract: Contract| {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
                settings.contract = contract;
            });
            settings.into_generator()
        };
        Schemas { requests: of(Contract::Deserialize), answers: of(Contract::Serialize) }
    }
}

impl Schemas {
    /// The schema of a request.
    pub fn request(&mut self, form: Form) -> Value {
        form(&mut self.requests).to_value()
    }

    /// The schema of an answer.
    pub fn answer(&mut self, form: Form) -> Value {
        form(&mut self.answers).to_value()
    }

    /// The first example in the named schema of an answer.
    pub fn example(&self, answer: &Value) -> Option<Value> {
        let (_, name) = answer["$ref"].as_str()?.rsplit_once('/')?;
        self.answers.definitions().get(name)?["examples"].get(0).cloned()
    }

    pub fn problem(&mut self) -> Value {
        self.answers.subschema_for::<ProblemDetails<'_>>().to_value()
    }

    /// All named schemas, as components of the OpenAPI document.
    pub fn components(mut self) -> Value {
        let mut all = self.requests.take_definitions(true);
        let mut answers = self.answers.take_definitions(true);
        all.values_mut().for_each(|schema| transform(schema, &[bounded, plain, enumerated]));
        answers.values_mut().for_each(|schema| transform(schema, &[plain, enumerated, left_out]));
        all.extend(answers);
        Value::Object(all)
    }
}

fn transform(value: &mut Value, steps: &[fn(&mut Schema)]) {
    let Ok(schema) = <&mut Schema>::try_from(value) else { return };
    for step in steps {
        RecursiveTransform(*step).transform(schema);
    }
}

/// Adds the bounds of Rust's integer types to a schema that states no narrower bounds. nova first reads each integer of
/// a request as an `i64`.
fn bounded(schema: &mut Schema) {
    let (min, max) = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => (0, i64::from(u32::MAX)),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("uint64" | "uint") => (0, i64::MAX),
        _ => return,
    };
    for (name, bound) in [("minimum", min), ("maximum", max)] {
        if schema.get(name).is_none() {
            schema.insert(name.to_owned(), bound.into());
        }
    }
}

/// Removes from a schema the formats of Rust's types and the line breaks of comments, because clients have no use for
/// them. The function also removes a schema's default if it is null or empty.
fn plain(schema: &mut Schema) {
    let rust = |format: &str| ["int", "uint", "double", "float"].iter().any(|begin| format.starts_with(begin));
    if schema.get("format").and_then(Value::as_str).is_some_and(rust) {
        schema.remove("format");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    let nothing = |default: &Value| default.is_null() || *default == json!("") || *default == json!([]);
    if schema.get("default").is_some_and(nothing) {
        schema.remove("default");
    }
}

/// Puts all words of an enumeration into one list, even if some words have descriptions.
fn enumerated(schema: &mut Schema) {
    let words = |one: &Value| match (&one["const"], &one["enum"]) {
        (word @ Value::String(_), _) => Some(vec![word.clone()]),
        (_, Value::Array(words)) => Some(words.clone()),
        _ => None,
    };
    let Some(Value::Array(all)) = schema.get("oneOf") else { return };
    let Some(words) = all.iter().map(words).collect::<Option<Vec<_>>>() else { return };
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), words.concat().into());
}

/// A member of an answer may be null or may be missing, but never both. The schema of a member that may be missing must
/// not allow null.
fn left_out(schema: &mut Schema) {
    let named: Vec<_> =
        schema.get("required").and_then(Value::as_array).map(|names| names.to_vec()).unwrap_or_default();
    let Some(Value::Object(members)) = schema.get_mut("properties") else { return };
    for (_, member) in members.iter_mut().filter(|(name, _)| !named.contains(&Value::from(name.as_str()))) {
        if let Value::Object(member) = member {
            not_null(member);
        }
    }
}

fn not_null(member: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = member.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [one] = &kinds[..] {
            let one = one.clone();
            member.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(mut any)) = member.remove("anyOf") {
        any.retain(|one| one["type"] != "null");
        match any.pop() {
            Some(Value::Object(one)) if any.is_empty() => member.extend(one),
            last => {
                any.extend(last);
                member.insert("anyOf".to_owned(), any.into());
            }
        }
    }
}
