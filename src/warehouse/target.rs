//! The tables of ClickHouse that nova fills.

use std::fmt;

use nova_storage::codec::CodecError;

use crate::event::Table;

/// The tables that the materialised views fill.
pub const VIEW_TARGETS: [&str; 3] = ["post_metrics_1m", "post_metrics_1h", "user_author_90d"];

/// A table of ClickHouse that nova fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The ClickHouse table `{table}_cdc`.
    Rows(Table),
    /// The ClickHouse table `post_events`.
    Events,
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

    /// Returns the table's number in the store. The number of a table never changes and is never used for a second
    /// table. New tables of the source get numbers from 6 on.
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

    /// Returns the table with a stored number.
    pub fn numbered(number: u8) -> Result<Target, CodecError> {
        let unknown = CodecError::Unknown { what: "ClickHouse table", number: number.into() };
        Target::ALL.into_iter().find(|target| target.number() == number).ok_or(unknown)
    }

    /// Returns the table's index in [`Target::ALL`], which is used only in memory.
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
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
