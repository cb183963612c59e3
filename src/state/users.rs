//! The rows of users.

/// The served part of a user's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub username: Box<str>,
    pub active: bool,
}

/// The number of users whose rows are in one chunk.
pub(super) const ROWS: usize = 256;

/// The rows of some users.
#[derive(Clone, Debug)]
pub(super) struct UserRows(pub(super) [Option<UserRow>; ROWS]);

impl Default for UserRows {
    fn default() -> UserRows {
        UserRows(std::array::from_fn(|_| None))
    }
}
