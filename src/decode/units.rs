//! The unit of a time, where the record itself states it: Kafka Connect's JSON converter writes the schema beside the
//! payload, and the name of a field's schema is Debezium's or Connect's type (Debezium's documentation, "temporal types").

use serde_json::Value;

use crate::event::Table;

/// Columns of a table at most.
const COLUMNS_MAX: usize = 16;
/// Schemas of one table that are remembered: a topic has one or two at a time.
const SCHEMAS_MAX: usize = 8;
/// A longer schema is read each time.
const SCHEMA_MAX_BYTES: usize = 256 << 10;

/// What a record states about the value of a column of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nothing: the column's own form holds.
    #[default]
    Unstated,
    /// Epoch milliseconds.
    Millis,
    /// Epoch microseconds.
    Micros,
    /// Epoch nanoseconds.
    Nanos,
    /// ISO 8601 text with an offset.
    Iso,
    /// A type that is no point in time, such as a date.
    Other,
}

impl Unit {
    /// By the name of a schema.
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

/// The unit of each column of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Units([Unit; COLUMNS_MAX]);

impl Units {
    /// `index` counts the table's columns.
    pub fn of(&self, index: usize) -> Unit {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// By a `schema` of Connect's JSON converter, of a row or of an envelope around it.
    fn read(schema: &str, table: Table) -> Units {
        let mut units = Units::default();
        // What a schema states that is nested too deep to be read is not known, and no number can be taken by it.
        let Ok(schema) = serde_json::from_str::<Value>(schema) else { return Units([Unit::Other; COLUMNS_MAX]) };
        let image =
            |name: &str| members(&schema).iter().find(|field| field["field"] == name && field["fields"].is_array());
        let row = image("after").or_else(|| image("before")).unwrap_or(&schema);
        for (column, unit) in table.columns().iter().zip(&mut units.0) {
            let stated = members(row).iter().find(|field| field["field"] == column.name);
            let name = stated.and_then(|field| field["name"].as_str());
            *unit = name.map_or(Unit::Unstated, Unit::named);
        }
        units
    }
}

fn members(schema: &Value) -> &[Value] {
    schema["fields"].as_array().map_or(&[], Vec::as_slice)
}

/// What the schemas in JSON records state, by the bytes of the schema: each record repeats it.
#[derive(Debug, Default)]
pub(super) struct KnownUnits {
    tables: [Vec<(Box<str>, Units)>; Table::ALL.len()],
}

impl KnownUnits {
    pub fn of(&mut self, schema: &str, table: Table) -> Units {
        let known = &mut self.tables[table as usize];
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
