//! The names of private columns in all spellings.

use crate::event::{DROPPED_COLUMNS, Table};

/// Returns the private column that the name of a member stands for. The comparison ignores letter case, underscores,
/// hyphens and spaces, so it finds `passwordHash` and `PASSWORD-HASH`. The comparison also ignores the path that Kafka
/// Connect's `Flatten` puts before a name (`after.email`, `before_email`).
pub fn column(name: &str) -> Option<&'static str> {
    let last = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    DROPPED_COLUMNS.iter().copied().find(|column| {
        letters(last).eq(letters(column))
            || ["before", "after"].iter().any(|image| letters(last).eq(letters(image).chain(letters(column))))
    })
}

/// Whether nova never keeps the values of a column with this name, so that nova need not read the values.
pub fn is_private(column: &str) -> bool {
    self::column(column).is_some()
}

/// Whether rows of the table have private columns in the source.
pub const fn of(table: Table) -> bool {
    matches!(table, Table::Users)
}

/// Whether two names are equal if letter case, underscores, hyphens and spaces are ignored.
pub fn same_letters(name: &str, other: &str) -> bool {
    letters(name).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let counts = |byte: &u8| !matches!(byte, b'_' | b'-' | b' ');
    name.bytes().filter(counts).map(|byte| byte.to_ascii_lowercase())
}
