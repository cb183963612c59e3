//! Writer schemas by their id: from a registry, from a capture's neighbour file, or none at all.

mod http;

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::Name;
use rustc_hash::FxHashMap;

use crate::breaker::BreakerState;

use super::units::Unit;

pub use self::http::{HttpSchemas, RegistryError, RegistrySettings};

/// Where the schemas of Avro records come from.
pub trait Schemas: Send + Sync {
    /// May take as long as the implementation's own timeout.
    fn schema(&self, id: u32) -> SchemaLookup;

    /// Whether a registry is being asked; `None` where there is none to ask.
    fn breaker(&self) -> Option<BreakerState> {
        None
    }
}

/// What is known of a schema id.
#[derive(Clone, Debug)]
pub enum SchemaLookup {
    Found(Arc<Schema>),
    /// There is no such id, and asking again will not change it.
    Unknown,
    /// There is one, and no row can be read with it. The detail says why.
    Unusable(String),
    /// It cannot be told now; the record waits. The detail is for a person.
    Unavailable(String),
}

/// No registry and no file: every id is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn schema(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unknown
    }
}

/// The most schemas that a file may hold.
pub const FILE_SCHEMAS_MAX: usize = 10_000;

/// Why a `NAME.schemas.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemasError {
    #[error("not a schemas file, expected {{\"schemas\": {{\"1\": …}}}}: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("schema id `{0}` is not a number of 32 bits")]
    Id(String),
    #[error("schema {id} is not Avro: {detail}")]
    Schema { id: u32, detail: String },
    #[error("{0} schemas, at most {FILE_SCHEMAS_MAX} are taken")]
    TooMany(usize),
}

/// The schemas of a capture's `NAME.schemas.json`: `{"schemas": {"1": {…}}}`.
#[derive(Clone, Debug, Default)]
pub struct FileSchemas {
    schemas: FxHashMap<u32, Arc<Schema>>,
}

impl FileSchemas {
    /// `text` is the content of the file.
    pub fn parse(text: &str) -> Result<FileSchemas, SchemasError> {
        #[derive(serde::Deserialize)]
        struct File {
            schemas: std::collections::BTreeMap<String, serde_json::Value>,
        }
        let file: File = serde_json::from_str(text)?;
        if file.schemas.len() > FILE_SCHEMAS_MAX {
            return Err(SchemasError::TooMany(file.schemas.len()));
        }
        let mut schemas = FxHashMap::default();
        for (name, schema) in file.schemas {
            let id = name.parse().map_err(|_| SchemasError::Id(name))?;
            let schema = parse_schema(&schema).map_err(|detail| SchemasError::Schema { id, detail })?;
            schemas.insert(id, Arc::new(schema));
        }
        Ok(FileSchemas { schemas })
    }
}

impl Schemas for FileSchemas {
    fn schema(&self, id: u32) -> SchemaLookup {
        self.schemas.get(&id).map_or(SchemaLookup::Unknown, |schema| SchemaLookup::Found(Arc::clone(schema)))
    }
}

/// Refuses recursive schemas: no table has one, and a datum of one could be as deep as it is long.
fn parse_schema(schema: &serde_json::Value) -> Result<Schema, String> {
    let mut schema = schema.clone();
    state_units(&mut schema);
    let schema = Schema::parse(&schema).map_err(|error| error.to_string())?;
    match is_recursive(&schema, &mut Vec::new()) {
        true => Err("it is recursive, which no row of a table is".to_owned()),
        false => Ok(schema),
    }
}

/// Confluent's converter writes Debezium's types of time as a plain number with `connect.name`: the logical type of the
/// same unit stands for it, which reading keeps.
fn state_units(schema: &mut serde_json::Value) {
    use serde_json::Value;
    match schema {
        Value::Array(variants) => variants.iter_mut().for_each(state_units),
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            if let (Some(number @ ("int" | "long")), Some(name)) = (text("type"), text("connect.name"))
                && let Some(logical) = logical_type(number, name, text("logicalType"))
            {
                members.insert("logicalType".to_owned(), logical.into());
            }
            members.values_mut().filter(|value| value.is_object() || value.is_array()).for_each(state_units);
        }
        _ => {}
    }
}

/// The logical type of Avro for a `number` (`int` or `long`) that has a type of Debezium or Connect; `None` where `beside`,
/// its own logical type, stands. A type that is not known, and two that contradict each other, become one that is no point
/// in time: as microseconds, its numbers would be other times without a word.
fn logical_type(number: &str, connect_name: &str, beside: Option<&str>) -> Option<&'static str> {
    // No point in time that Debezium writes fits into 32 bits.
    let (no_point, is_long) = if number == "int" { ("time-millis", false) } else { ("time-micros", true) };
    let logical = match Unit::named(connect_name) {
        Unit::Unstated if !connect_name.starts_with("org.apache.kafka.connect.data.") => return None,
        Unit::Millis if is_long => "timestamp-millis",
        Unit::Micros if is_long => "timestamp-micros",
        Unit::Nanos if is_long => "timestamp-nanos",
        _ => no_point,
    };
    let unit = |name: &str| name.strip_prefix("local-").unwrap_or(name).to_owned();
    match beside {
        Some(own) if TIMESTAMPS.contains(&unit(own).as_str()) && unit(own) != logical => Some(no_point),
        Some(own) if KEPT.contains(&own) || unit(own) == logical => None,
        _ => Some(logical),
    }
}

/// Logical types of a number that state the unit of a point in time; `local-` stands before the others.
const TIMESTAMPS: [&str; 3] = ["timestamp-millis", "timestamp-micros", "timestamp-nanos"];
/// Logical types of a number that state that it is no point in time.
const KEPT: [&str; 3] = ["date", "time-millis", "time-micros"];

fn is_recursive<'s>(schema: &'s Schema, within: &mut Vec<&'s Name>) -> bool {
    match schema {
        Schema::Ref { name } => within.contains(&name),
        Schema::Array(array) => is_recursive(&array.items, within),
        Schema::Map(map) => is_recursive(&map.types, within),
        Schema::Union(union) => union.variants().iter().any(|variant| is_recursive(variant, within)),
        Schema::Record(record) => {
            within.push(&record.name);
            let recursive = record.fields.iter().any(|field| is_recursive(&field.schema, within));
            within.pop();
            recursive
        }
        _ => false,
    }
}
