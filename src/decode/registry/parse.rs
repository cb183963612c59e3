//! An Avro schema from its JSON, with the units that Debezium states in a way of its own.

use apache_avro::Schema;
use apache_avro::schema::Name;

use crate::decode::units::Unit;

/// Refuses recursive schemas: no table has one, and a datum of one could be as deep as it is long.
pub(super) fn parse_schema(schema: &serde_json::Value) -> Result<Schema, String> {
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
