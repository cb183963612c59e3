//! Everything that happens goes to ClickHouse, each row with the effect of exactly once.
//!
//! `rows` writes rows as RowBinary. The `outbox` collects them in the writer's own commits and seals batches: bytes that
//! never change again, under a token that contains their hash (N8). The `sender` delivers sealed batches, one `task` a
//! table: `clickhouse` is the client with its pinned settings, `verdict` says what an answer means, `bisect` finds the
//! rows that a table refuses, the `breaker` leaves a server alone that is away. `status` is what all of them, and
//! everyone who watches, share. `migrate` applies `clickhouse/*.sql`
//! in the `layout` of one server or of a cluster, `columns` says under which columns the rows of a batch were written, `lint` tells what would lose or double rows,
//! `delivered` what a table has of a store.

pub mod bisect;
pub mod breaker;
pub mod clickhouse;
pub mod columns;
pub mod current;
pub mod delivered;
pub mod layout;
pub mod lint;
pub mod migrate;
pub mod outbox;
pub mod rows;
pub mod sender;
pub mod status;
mod task;
pub mod verdict;

use std::fmt;

use nova_storage::codec::CodecError;

use crate::event::{ColumnType, Table};

use self::columns::Columns;

/// A table of ClickHouse that nova fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// `{table}_cdc`.
    Rows(Table),
    /// `post_events`.
    Events,
}

/// How a column is written in RowBinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Uuid,
    NullableUuid,
    Text,
    NullableText,
    /// Text of few values.
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

    /// Its number in the store. A number never changes and is never used again.
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

    /// The type of a stored number.
    pub fn numbered(number: u8) -> Result<Wire, CodecError> {
        let unknown = CodecError::Unknown { what: "column type", number: number.into() };
        Wire::ALL.into_iter().find(|wire| wire.number() == number).ok_or(unknown)
    }

    /// The column's type in ClickHouse, as `system.columns` prints it.
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

    fn of(kind: ColumnType, nullable: bool) -> Wire {
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

impl Target {
    pub const COUNT: usize = Table::ALL.len() + 1;
    pub const ALL: [Target; Target::COUNT] = [
        Target::Rows(Table::Users),
        Target::Rows(Table::Posts),
        Target::Rows(Table::Follows),
        Target::Rows(Table::Comments),
        Target::Rows(Table::Likes),
        Target::Events,
    ];

    /// Its number in the store. A number never changes and is never used again; the tables' own numbers go on at 6.
    pub const fn number(self) -> u8 {
        match self {
            Target::Rows(Table::Users) => 0,
            Target::Rows(Table::Posts) => 1,
            Target::Rows(Table::Follows) => 2,
            Target::Rows(Table::Comments) => 3,
            Target::Rows(Table::Likes) => 4,
            Target::Events => 5,
        }
    }

    /// The table of a stored number.
    pub fn numbered(number: u8) -> Result<Target, CodecError> {
        let unknown = CodecError::Unknown { what: "ClickHouse table", number: number.into() };
        Target::ALL.into_iter().find(|target| target.number() == number).ok_or(unknown)
    }

    /// Its place in [`Target::ALL`], in memory.
    pub const fn index(self) -> usize {
        match self {
            Target::Rows(table) => table as usize,
            Target::Events => Table::ALL.len(),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Target::Rows(Table::Users) => "users_cdc",
            Target::Rows(Table::Posts) => "posts_cdc",
            Target::Rows(Table::Follows) => "follows_cdc",
            Target::Rows(Table::Comments) => "comments_cdc",
            Target::Rows(Table::Likes) => "likes_cdc",
            Target::Events => "post_events",
        }
    }

    /// The columns that this build writes, in their order on the wire.
    pub fn columns(self) -> &'static Columns {
        columns::current(self)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
