//! Keeps the rows of users.

/// The columns of a user's row that nova serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub username: Box<str>,
    pub active: bool,
}

/// The number of users whose rows are in one chunk.
pub(super) const ROWS: usize = 256;

/// The rows of the users of one chunk.
#[derive(Clone, Debug)]
pub(super) struct UserRows(pub(super) [Option<UserRow>; ROWS]);

impl Default for UserRows {
    fn default() -> UserRows {
        UserRows(std::array::from_fn(|_| None))
    }
}
