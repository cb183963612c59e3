//! The tables of the source, and the columns of each table that nova keeps.

use std::fmt;

use nova_storage::codec::CodecError;

use ColumnType::{Bool, Json, Text, Timestamp, TimestampTz, Uuid};

/// The five source tables, in the order of [`Table::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Users,
    Posts,
    Follows,
    Comments,
    Likes,
}

/// The type of a column in the source. The type decides the kind of the column's [`super::Cell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Uuid,
    Text,
    Bool,
    /// The type `jsonb`, whose values are kept as JSON text.
    Json,
    /// The type `timestamptz`. Records have values of this type as ISO 8601 strings.
    TimestampTz,
    /// The type `timestamp` without time zone, which is read as UTC. Records have values of this type as integers of
    /// microseconds.
    Timestamp,
}

/// One column of a source table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnType,
    pub nullable: bool,
}

const fn column(name: &'static str, kind: ColumnType, nullable: bool) -> Column {
    Column { name, kind, nullable }
}

const USERS: &[Column] = &[
    column("id", Uuid, false),
    column("username", Text, false),
    column("email_verified", Bool, false),
    column("is_active", Bool, false),
    column("created_at", TimestampTz, false),
    column("updated_at", TimestampTz, false),
    column("deleted_at", TimestampTz, true),
];
const POSTS: &[Column] = &[
    column("id", Uuid, false),
    column("user_id", Uuid, false),
    column("caption", Text, true),
    column("image_key", Text, false),
    column("image_sizes", Json, true),
    column("status", Text, false),
    column("created_at", TimestampTz, false),
    column("updated_at", TimestampTz, false),
    column("soft_delete", TimestampTz, true),
];
const FOLLOWS: &[Column] = &[
    column("id", Uuid, false),
    column("follower_id", Uuid, false),
    column("following_id", Uuid, false),
    column("created_at", Timestamp, true),
];
const COMMENTS: &[Column] = &[
    column("id", Uuid, false),
    column("post_id", Uuid, false),
    column("user_id", Uuid, false),
    column("content", Text, false),
    column("parent_comment_id", Uuid, true),
    column("created_at", Timestamp, true),
    column("updated_at", Timestamp, true),
    column("soft_delete", Timestamp, true),
];
const LIKES: &[Column] = &[
    column("id", Uuid, false),
    column("user_id", Uuid, false),
    column("post_id", Uuid, false),
    column("created_at", Timestamp, true),
];

/// The columns that never leave `decode`, in any table: nova does not store, log or send their values.
pub const DROPPED_COLUMNS: &[&str] = &["password_hash", "email"];

impl Table {
    pub const ALL: [Table; 5] = [Table::Users, Table::Posts, Table::Follows, Table::Comments, Table::Likes];

    pub const fn name(self) -> &'static str {
        match self {
            Table::Users => "users",
            Table::Posts => "posts",
            Table::Follows => "follows",
            Table::Comments => "comments",
            Table::Likes => "likes",
        }
    }

    /// Returns the number of the table in the store. The number of a table never changes and is never used for a second
    /// table.
    pub const fn number(self) -> u8 {
        match self {
            Table::Users => 0,
            Table::Posts => 1,
            Table::Follows => 2,
            Table::Comments => 3,
            Table::Likes => 4,
        }
    }

    /// Returns the table that a stored number stands for.
    pub fn numbered(number: u8) -> Result<Table, CodecError> {
        let unknown = CodecError::Unknown { what: "source table", number: number.into() };
        Table::ALL.into_iter().find(|table| table.number() == number).ok_or(unknown)
    }

    pub fn from_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Returns the columns that nova keeps, in the order of [`super::Row::cells`]. The first column of a table is the
    /// primary key `id`.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Table::Users => USERS,
            Table::Posts => POSTS,
            Table::Follows => FOLLOWS,
            Table::Comments => COMMENTS,
            Table::Likes => LIKES,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
