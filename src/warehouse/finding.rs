//! A problem in ClickHouse, and the tables that get no rows because of it.

use std::fmt;

use super::target::Target;

/// The tables that get no rows until the problem of a finding is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    Table(Target),
    Everything,
    /// The finding stops no table, because the damage has already happened.
    Nothing,
}

impl Stops {
    pub fn stops(self, target: Target) -> bool {
        match self {
            Stops::Table(of) => of == target,
            Stops::Everything => true,
            Stops::Nothing => false,
        }
    }
}

/// A problem in ClickHouse, and how to repair it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub stops: Stops,
    /// A short code of the problem that never changes.
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.detail, self.remedy)
    }
}

/// The code of the finding that a table does not exist.
pub const TABLE_MISSING: &str = "table-missing";
