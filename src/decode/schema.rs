//! Decides whether the rows of an Avro schema can be rows of a table, once for each schema. nova finds a column by its
//! name, or by an alias if the column was renamed. The schema may have additional columns, and it may lack columns that
//! can be null.

use apache_avro::Schema;
use apache_avro::schema::RecordField;

use super::kept::KeepUnknown;
use super::private::shown::{Columns, Place, Shown, member};
use super::{private, values};
use crate::event::{Column, ColumnType, Table};

/// A schema whose rows do not fit the table. nova would refuse every record of a schema that does not fit the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaMismatch {
    /// The type of a column in the schema has no value that fits the table's column.
    #[error(
        "SchemaMismatch: schema {id} writes {table}.{column} as {found}, nova reads {expected}. Run a nova that knows the \
         new type; or give the column its old type back, and give up the records of this schema: nova cdc seek"
    )]
    Type { id: u32, table: Table, column: &'static str, found: String, expected: &'static str },
    /// The schema lacks columns that must not be null.
    #[error(
        "SchemaMismatch: schema {id} has no {table}.{columns}, which does not take null. Give the column its name back, or \
         run a nova that knows the new one; to give up the records of this schema: nova cdc seek"
    )]
    Missing { id: u32, table: Table, columns: String },
}

impl SchemaMismatch {
    pub(super) fn missing(id: u32, table: Table, columns: &[&str]) -> SchemaMismatch {
        SchemaMismatch::Missing { id, table, columns: columns.join(", ") }
    }
}

/// Says how the fields of a schema become the columns of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The fields whose name is not the name of their column. The column's name is an alias of the field.
    renamed: Vec<(Box<str>, Box<str>)>,
}

impl Plan {
    pub fn new(id: u32, schema: &Schema, table: Table, keep: &KeepUnknown) -> Result<Plan, SchemaMismatch> {
        let mut plan = Plan::default();
        let fields = row(schema);
        let written = |name: &str| fields.iter().any(|field| field.name == name);
        for field in fields {
            let known = known(table, &field.name);
            let by_alias =
                || field.aliases.iter().find_map(|alias| self::known(table, alias).filter(|name| !written(name)));
            // A private column stays private under any name, so its aliases count.
            let private = || field.aliases.iter().find_map(|alias| private::column(alias));
            let Some(name) = known.or_else(private).or_else(by_alias) else {
                // If the allow-list names a column, nova also keeps the column under another name.
                let kept = field.aliases.iter().find(|alias| keep.keeps(table, alias));
                if let Some(alias) = kept.filter(|_| !keep.keeps(table, &field.name)) {
                    plan.renamed.push((field.name.as_str().into(), alias.as_str().into()));
                }
                continue;
            };
            if known.is_none() {
                plan.renamed.push((field.name.as_str().into(), name.into()));
            }
            if let Some(column) = table.columns().iter().find(|column| column.name == name)
                && !reads(column, &field.schema)
            {
                let (column, expected) = (column.name, values::expected(column.kind));
                return Err(SchemaMismatch::Type { id, table, column, found: shown(&field.schema), expected });
            }
        }
        Ok(plan)
    }

    /// Returns the name of the column that belongs to a field.
    pub fn name<'n>(&'n self, field: &'n str) -> &'n str {
        self.renamed.iter().find(|(name, _)| **name == *field).map_or(field, |(_, column)| column)
    }
}

/// Returns nova's own name of a column, even if nova drops the values of the column.
fn known(table: Table, name: &str) -> Option<&'static str> {
    let column = table.columns().iter().map(|column| column.name).find(|column| *column == name);
    column.or_else(|| private::column(name))
}

/// Returns the fields of the schema that belong to the row itself.
fn row(schema: &Schema) -> &[RecordField] {
    let Schema::Record(top) = schema else { return &[] };
    // The field `after` may refer to the record that `before` defines, instead of a definition of its own.
    let images = top.fields.iter().filter(|field| field.name == "before" || field.name == "after");
    images.filter_map(|field| record(&field.schema)).next().unwrap_or(&top.fields)
}

/// Whether a schema has a private member at any depth.
pub(super) fn is_private(schema: &Schema) -> bool {
    match schema {
        Schema::Record(record) => record.fields.iter().any(|field| {
            let mut names = field.aliases.iter().chain([&field.name]);
            names.any(|name| private::column(name).is_some()) || is_private(&field.schema)
        }),
        Schema::Union(union) => union.variants().iter().any(is_private),
        Schema::Array(array) => is_private(&array.items),
        // The names of a map's members are data, so any of them may be private.
        Schema::Map(_) => true,
        _ => false,
    }
}

/// Whether a schema has anything at the given place that a dead letter does not show.
pub(super) fn hides(schema: &Schema, place: Place, columns: Columns<'_>) -> bool {
    match schema {
        Schema::Record(record) => record.fields.iter().any(|field| {
            let names = field.aliases.iter().chain([&field.name]);
            if names.clone().any(|name| private::column(name).is_some()) {
                return true;
            }
            let shown = names.map(|name| member(place, name, columns)).find(|shown| *shown != Shown::Nothing);
            match shown.unwrap_or(Shown::Nothing) {
                Shown::Nothing => true,
                Shown::Scalar => !is_scalar(&field.schema),
                Shown::Within(place) => hides(&field.schema, place, columns),
                Shown::All => is_private(&field.schema),
            }
        }),
        Schema::Union(union) => union.variants().iter().any(|variant| hides(variant, place, columns)),
        Schema::Array(array) => hides(&array.items, place, columns),
        Schema::Null => false,
        // The field `after` refers to the record that `before` defines.
        Schema::Ref { .. } => place != Place::Row,
        _ => true,
    }
}

/// Whether the values of the schema are neither objects nor arrays.
fn is_scalar(schema: &Schema) -> bool {
    match schema {
        Schema::Union(union) => union.variants().iter().all(is_scalar),
        Schema::Record(_) | Schema::Array(_) | Schema::Map(_) | Schema::Ref { .. } => false,
        _ => true,
    }
}

/// Whether values of the schema are texts.
pub(super) fn is_text(schema: &Schema) -> bool {
    matches!(schema, Schema::String | Schema::Uuid(_))
}

fn record(schema: &Schema) -> Option<&[RecordField]> {
    match schema {
        Schema::Record(record) => Some(&record.fields),
        Schema::Union(union) => union.variants().iter().find_map(record),
        _ => None,
    }
}

/// Whether the values of the schema can be cells of the column. If the schema is a union, each record shows whether its
/// own value can be a cell.
fn reads(column: &Column, schema: &Schema) -> bool {
    match (column.kind, schema) {
        // A field that is always null says nothing about the type of its values.
        (_, Schema::Null) => column.nullable,
        (_, Schema::Union(union)) => {
            let mut values = union.variants().iter().filter(|variant| **variant != Schema::Null).peekable();
            values.peek().is_none() || values.any(|variant| reads(column, variant))
        }
        (ColumnType::Bool, schema) => matches!(schema, Schema::Boolean),
        (ColumnType::Timestamp, schema) => matches!(schema, Schema::Int | Schema::Long) || is_timestamp(schema),
        (ColumnType::TimestampTz, schema) if is_timestamp(schema) => true,
        (ColumnType::Uuid | ColumnType::Text | ColumnType::Json | ColumnType::TimestampTz, schema) => {
            matches!(schema, Schema::String | Schema::Uuid(_) | Schema::Enum(_))
        }
    }
}

/// Whether the schema states the unit of a point in time.
fn is_timestamp(schema: &Schema) -> bool {
    matches!(
        schema,
        Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos
    )
}

/// Returns the type as the schema names it, cut to a short text.
fn shown(schema: &Schema) -> String {
    const TYPE_MAX_CHARS: usize = 80;
    let text = serde_json::to_string(schema).unwrap_or_else(|_| "another type".to_owned());
    text.chars().take(TYPE_MAX_CHARS).collect()
}
