//! Whether the rows that an Avro schema writes can be rows of a table, told once per schema. Columns are found by their
//! name, or by an alias where they were renamed; a column more or less is nothing to tell.

use apache_avro::Schema;
use apache_avro::schema::RecordField;

use crate::event::{Column, ColumnType, DROPPED_COLUMNS, Table};

/// A schema whose column no value of the table's column can come from: each of its records would be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "SchemaMismatch: schema {id} writes {table}.{column} as {found}, nova reads {expected}. Run a nova that knows the new \
     type; or give the column its old type back, and give up the records of this schema with nova cdc seek"
)]
pub struct SchemaMismatch {
    pub id: u32,
    pub table: Table,
    pub column: &'static str,
    pub found: String,
    pub expected: &'static str,
}

/// How the fields of one schema become columns of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Fields with another name than their column, which is an alias of theirs.
    renamed: Vec<(Box<str>, &'static str)>,
}

impl Plan {
    pub fn new(id: u32, schema: &Schema, table: Table) -> Result<Plan, SchemaMismatch> {
        let mut plan = Plan::default();
        let fields = row(schema);
        let written = |name: &str| fields.iter().any(|field| field.name == name);
        for field in fields {
            let known = known(table, &field.name);
            let by_alias =
                || field.aliases.iter().find_map(|alias| self::known(table, alias).filter(|name| !written(name)));
            let Some(name) = known.or_else(by_alias) else { continue };
            if known.is_none() {
                plan.renamed.push((field.name.as_str().into(), name));
            }
            if let Some(column) = table.columns().iter().find(|column| column.name == name)
                && !reads(column, &field.schema)
            {
                let (column, expected) = (column.name, super::values::expected(column.kind));
                return Err(SchemaMismatch { id, table, column, found: shown(&field.schema), expected });
            }
        }
        Ok(plan)
    }

    /// The column's name.
    pub fn name<'n>(&self, field: &'n str) -> &'n str {
        self.renamed.iter().find(|(name, _)| **name == *field).map_or(field, |(_, column)| column)
    }
}

/// The name as nova has it, also of a column that it drops.
fn known(table: Table, name: &str) -> Option<&'static str> {
    let mut columns = table.columns().iter().map(|column| column.name).chain(DROPPED_COLUMNS.iter().copied());
    columns.find(|column| *column == name)
}

/// The fields of the row itself.
fn row(schema: &Schema) -> &[RecordField] {
    let Schema::Record(top) = schema else { return &[] };
    if top.fields.iter().any(|field| field.name == "id") {
        return &top.fields;
    }
    // `after` may only name the record that `before` wrote out.
    let images = top.fields.iter().filter(|field| field.name == "before" || field.name == "after");
    images.filter_map(|field| record(&field.schema)).next().unwrap_or(&[])
}

fn record(schema: &Schema) -> Option<&[RecordField]> {
    match schema {
        Schema::Record(record) => Some(&record.fields),
        Schema::Union(union) => union.variants().iter().find_map(record),
        _ => None,
    }
}

/// Whether a value of the schema can be a cell of the column; whether it is one, each record tells.
fn reads(column: &Column, schema: &Schema) -> bool {
    match (column.kind, schema) {
        // A column that is always null tells nothing of its type.
        (_, Schema::Null) => column.nullable,
        (_, Schema::Union(union)) => {
            let mut values = union.variants().iter().filter(|variant| **variant != Schema::Null).peekable();
            values.peek().is_none() || values.any(|variant| reads(column, variant))
        }
        (ColumnType::Bool, schema) => matches!(schema, Schema::Boolean),
        (ColumnType::Timestamp, schema) => matches!(
            schema,
            Schema::Int
                | Schema::Long
                | Schema::TimestampMillis
                | Schema::TimestampMicros
                | Schema::TimestampNanos
                | Schema::LocalTimestampMillis
                | Schema::LocalTimestampMicros
                | Schema::LocalTimestampNanos
        ),
        (ColumnType::Uuid | ColumnType::Text | ColumnType::Json | ColumnType::TimestampTz, schema) => {
            matches!(schema, Schema::String | Schema::Uuid(_) | Schema::Enum(_))
        }
    }
}

/// The type in its own words, cut.
fn shown(schema: &Schema) -> String {
    const TYPE_MAX_CHARS: usize = 80;
    let text = serde_json::to_string(schema).unwrap_or_else(|_| "another type".to_owned());
    text.chars().take(TYPE_MAX_CHARS).collect()
}
