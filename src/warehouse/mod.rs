//! Everything that happens goes to ClickHouse, each row with the effect of exactly once.
//!
//! `rows` writes rows as RowBinary. The `outbox` collects them in the writer's own commits and seals batches: bytes that
//! never change again, under a token that contains their hash (N8). The `sender` delivers sealed batches, one `task` a
//! table: `clickhouse` is the client with its pinned settings, `verdict` says what an answer means, `bisect` finds the
//! rows that a table refuses, the `breaker` leaves a server alone that is away. `status` is what all of them, and
//! everyone who watches, share. `migrate` applies `clickhouse/*.sql`
//! in the `layout` of one server or of a cluster, `lint` tells what would lose or double rows,
//! `delivered` what a table has of a store.

pub mod bisect;
pub mod breaker;
pub mod clickhouse;
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

use crate::event::{ColumnType, Table};

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

const EVENT_COLUMNS: [(&str, Wire); 12] = [
    ("event_id", Wire::Uuid),
    ("event_time", Wire::Millis),
    ("user_id", Wire::Uuid),
    ("post_id", Wire::Uuid),
    ("author_id", Wire::Uuid),
    ("action", Wire::Word),
    ("dwell_ms", Wire::U32),
    ("device", Wire::Word),
    ("app_ver", Wire::Word),
    ("ingested_at", Wire::Millis),
    ("_nova_store", Wire::U64),
    ("_nova_batch", Wire::U64),
];

const VERSION_COLUMNS: [(&str, Wire); 6] = [
    ("_version", Wire::U128),
    ("_deleted", Wire::U8),
    ("_op", Wire::Word),
    ("_lsn", Wire::U64),
    ("_source_ts", Wire::Micros),
    ("_extra", Wire::Text),
];

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

    /// Its number in the store: never changes.
    pub const fn number(self) -> u8 {
        match self {
            Target::Rows(table) => table as u8,
            Target::Events => Table::ALL.len() as u8,
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

    /// The columns of an insert, in their order on the wire.
    pub fn columns(self) -> Vec<(&'static str, Wire)> {
        match self {
            Target::Events => EVENT_COLUMNS.to_vec(),
            Target::Rows(table) => {
                let own = table.columns().iter().map(|column| (column.name, Wire::of(column.kind, column.nullable)));
                own.chain(VERSION_COLUMNS).collect()
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
