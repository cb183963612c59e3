//! The rows of users.

/// A user's row, as far as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub username: Box<str>,
    pub active: bool,
}

/// Users whose rows are in one chunk.
pub(super) const ROWS: usize = 256;

/// Rows of some users.
#[derive(Clone, Debug)]
pub(super) struct UserRows(pub(super) [Option<UserRow>; ROWS]);

impl Default for UserRows {
    fn default() -> UserRows {
        UserRows(std::array::from_fn(|_| None))
    }
}
