//! Finds the unit of a time, if the record itself states the unit. Kafka Connect's JSON converter writes the schema
//! beside the payload. The name of a field's schema is a type of Debezium or of Kafka Connect (Debezium's
//! documentation, "temporal types").

use serde_json::Value;

use crate::event::Table;

/// The maximum number of columns that nova keeps of any table.
const COLUMNS_MAX: usize = 16;
/// The number of schemas of one table that nova remembers. A topic has records of one or two schemas at a time.
const SCHEMAS_MAX: usize = 8;
/// The maximum length of a schema that nova remembers, in bytes. A schema that is longer than this limit is read again
/// for each record.
const SCHEMA_MAX_BYTES: usize = 256 << 10;

/// The unit that a record states for the value of a time column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// The record states no unit, so the column's own form applies.
    #[default]
    Unstated,
    /// The value is in epoch milliseconds.
    Millis,
    /// The value is in epoch microseconds.
    Micros,
    /// The value is in epoch nanoseconds.
    Nanos,
    /// The value is ISO 8601 text with an offset.
    Iso,
    /// The type of the value is not a point in time, but for example a date.
    Other,
}

impl Unit {
    /// Returns the unit that the name of a schema states.
    pub fn named(name: &str) -> Unit {
        match name {
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Unit::Millis,
            "io.debezium.time.MicroTimestamp" => Unit::Micros,
            "io.debezium.time.NanoTimestamp" => Unit::Nanos,
            "io.debezium.time.IsoTimestamp" | "io.debezium.time.ZonedTimestamp" => Unit::Iso,
            "org.apache.kafka.connect.data.Date" | "org.apache.kafka.connect.data.Time" => Unit::Other,
            name if name.starts_with("io.debezium.time.") => Unit::Other,
            _ => Unit::Unstated,
        }
    }
}

/// The units of a table's columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Units([Unit; COLUMNS_MAX]);

impl Units {
    /// Returns the unit of the column that has this index in the table.
    pub fn of(&self, index: usize) -> Unit {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// Reads the units from a `schema` that Kafka Connect's JSON converter wrote for a row or for an envelope.
    fn read(schema: &str, table: Table) -> Units {
        let mut units = Units::default();
        // If a schema is nested too deeply to be read, its units are unknown, so that no number is read as a time.
        let Ok(schema) = serde_json::from_str::<Value>(schema) else { return Units([Unit::Other; COLUMNS_MAX]) };
        let fields = |field: &Value| field.get("fields").is_some_and(Value::is_array);
        let image = |name: &str| members(&schema).iter().find(|field| is_named(field, name) && fields(field));
        let row = image("after").or_else(|| image("before")).unwrap_or(&schema);
        for (column, unit) in table.columns().iter().zip(&mut units.0) {
            let stated = members(row).iter().find(|field| is_named(field, column.name));
            let name = stated.and_then(|field| field.get("name")?.as_str());
            *unit = name.map_or(Unit::Unstated, Unit::named);
        }
        units
    }
}

fn members(schema: &Value) -> &[Value] {
    schema.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_named(field: &Value, name: &str) -> bool {
    field.get("field").is_some_and(|value| value == name)
}

/// The units that the schemas of JSON records state, by the bytes of each schema. Each record repeats its schema, so
/// nova remembers what it has read.
#[derive(Debug, Default)]
pub(super) struct KnownUnits {
    tables: [Vec<(Box<str>, Units)>; Table::ALL.len()],
}

impl KnownUnits {
    pub fn of(&mut self, schema: &str, table: Table) -> Units {
        let Some(known) = self.tables.get_mut(table as usize) else { return Units::read(schema, table) };
        if let Some((_, units)) = known.iter().find(|(text, _)| **text == *schema) {
            return *units;
        }
        let units = Units::read(schema, table);
        if schema.len() <= SCHEMA_MAX_BYTES {
            if known.len() >= SCHEMAS_MAX {
                known.remove(0);
            }
            known.push((schema.into(), units));
        }
        units
    }
}
