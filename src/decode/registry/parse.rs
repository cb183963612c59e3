//! Parses an Avro schema from its JSON, including the time units that Debezium states in its own way.

use apache_avro::Schema;
use apache_avro::schema::Name;

use crate::decode::units::Unit;

/// Parses a schema and refuses it if it is recursive. No table has a recursive schema, and a datum of a recursive
/// schema could be nested as deeply as the datum is long.
pub(super) fn parse_schema(schema: &serde_json::Value) -> Result<Schema, String> {
    let mut schema = schema.clone();
    state_units(&mut schema);
    let schema = Schema::parse(&schema).map_err(|error| error.to_string())?;
    match is_recursive(&schema, &mut Vec::new()) {
        true => Err("it is recursive, which no row of a table is".to_owned()),
        false => Ok(schema),
    }
}

/// Adds logical types that state time units to the schema. Confluent's converter writes Debezium's types of time as a
/// number without a logical type, with the type's name in `connect.name`. nova replaces `connect.name` by the logical
/// type of the same unit, because the parser keeps logical types.
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

/// Returns Avro's logical type for a `number` (`int` or `long`) that has a type of Debezium or of Kafka Connect.
/// Returns `None` if the existing logical type `beside` stays. An unknown type, and two types that contradict each
/// other, become a type that is not a point in time. nova would otherwise read the numbers as wrong times in
/// microseconds, without an error.
fn logical_type(number: &str, connect_name: &str, beside: Option<&str>) -> Option<&'static str> {
    // Debezium never writes a point in time in 32 bits.
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

/// The logical types that state the unit of a point in time. The name of a timestamp type may also begin with `local-`.
const TIMESTAMPS: [&str; 3] = ["timestamp-millis", "timestamp-micros", "timestamp-nanos"];
/// The logical types that state that a number is not a point in time.
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
