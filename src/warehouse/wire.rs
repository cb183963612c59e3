//! The types of ClickHouse's columns, with their encodings in RowBinary and in the store.

use nova_storage::codec::CodecError;

use crate::event::ColumnType;

/// The encoding of a column in RowBinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Uuid,
    NullableUuid,
    Text,
    NullableText,
    /// A text column that has few different values.
    Word,
    Bool,
    Micros,
    NullableMicros,
    Millis,
    U8,
    U32,
    U64,
    U128,
}

impl Wire {
    pub const ALL: [Wire; 13] = [
        Wire::Uuid,
        Wire::NullableUuid,
        Wire::Text,
        Wire::NullableText,
        Wire::Word,
        Wire::Bool,
        Wire::Micros,
        Wire::NullableMicros,
        Wire::Millis,
        Wire::U8,
        Wire::U32,
        Wire::U64,
        Wire::U128,
    ];

    /// Returns the number of the type in the store. The number of a type never changes and is never used for a second
    /// type.
    pub const fn number(self) -> u8 {
        match self {
            Wire::Uuid => 0,
            Wire::NullableUuid => 1,
            Wire::Text => 2,
            Wire::NullableText => 3,
            Wire::Word => 4,
            Wire::Bool => 5,
            Wire::Micros => 6,
            Wire::NullableMicros => 7,
            Wire::Millis => 8,
            Wire::U8 => 9,
            Wire::U32 => 10,
            Wire::U64 => 11,
            Wire::U128 => 12,
        }
    }

    /// Returns the type with a stored number.
    pub fn numbered(number: u8) -> Result<Wire, CodecError> {
        let unknown = CodecError::Unknown { what: "column type", number: number.into() };
        Wire::ALL.into_iter().find(|wire| wire.number() == number).ok_or(unknown)
    }

    /// Returns the column's type in ClickHouse, as `system.columns` prints it.
    pub const fn type_name(self) -> &'static str {
        match self {
            Wire::Uuid => "UUID",
            Wire::NullableUuid => "Nullable(UUID)",
            Wire::Text => "String",
            Wire::NullableText => "Nullable(String)",
            Wire::Word => "LowCardinality(String)",
            Wire::Bool => "Bool",
            Wire::Micros => "DateTime64(6, 'UTC')",
            Wire::NullableMicros => "Nullable(DateTime64(6, 'UTC'))",
            Wire::Millis => "DateTime64(3, 'UTC')",
            Wire::U8 => "UInt8",
            Wire::U32 => "UInt32",
            Wire::U64 => "UInt64",
            Wire::U128 => "UInt128",
        }
    }

    /// Returns the encoding of a column of the source.
    pub(super) fn of(kind: ColumnType, nullable: bool) -> Wire {
        match (kind, nullable) {
            (ColumnType::Uuid, false) => Wire::Uuid,
            (ColumnType::Uuid, true) => Wire::NullableUuid,
            (ColumnType::Text, false) => Wire::Text,
            (ColumnType::Text | ColumnType::Json, true) => Wire::NullableText,
            (ColumnType::Json, false) => Wire::Text,
            (ColumnType::Bool, _) => Wire::Bool,
            (ColumnType::TimestampTz | ColumnType::Timestamp, false) => Wire::Micros,
            (ColumnType::TimestampTz | ColumnType::Timestamp, true) => Wire::NullableMicros,
        }
    }
}
