//! The names of private columns in any notation.

use crate::event::{DROPPED_COLUMNS, Table};

/// The private column that a member's name stands for. Letter case and signs between letters do not count, so
/// `passwordHash` and `PASSWORD-HASH` are found. The path that Connect's `Flatten` puts before a name (`after.email`,
/// `before_email`) does not count either.
pub fn column(name: &str) -> Option<&'static str> {
    let last = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    DROPPED_COLUMNS.iter().copied().find(|column| {
        letters(last).eq(letters(column))
            || ["before", "after"].iter().any(|image| letters(last).eq(letters(image).chain(letters(column))))
    })
}

/// Whether nova never keeps the values of a column with this name, and so need not read them.
pub fn is_private(column: &str) -> bool {
    self::column(column).is_some()
}

/// Whether rows of the table have private columns in the source.
pub const fn of(table: Table) -> bool {
    matches!(table, Table::Users)
}

/// Whether two names differ only in letter case and in characters that are no letters or digits.
pub fn same_letters(name: &str, other: &str) -> bool {
    letters(name).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let counts = |byte: &u8| !matches!(byte, b'_' | b'-' | b' ');
    name.bytes().filter(counts).map(|byte| byte.to_ascii_lowercase())
}
