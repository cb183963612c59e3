//! Something that is wrong in ClickHouse, and what takes no rows because of it.

use std::fmt;

use super::target::Target;

/// What takes no rows before a finding is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    Table(Target),
    Everything,
    /// What is wrong is past.
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

/// Something that is wrong, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub stops: Stops,
    /// A short stable code.
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.detail, self.remedy)
    }
}

/// Code of a finding: a table is not there.
pub const TABLE_MISSING: &str = "table-missing";
