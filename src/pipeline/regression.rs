//! Describes the sign that the source's log began again: the LSNs of a restored or promoted server may be lower than
//! the LSNs that nova has read before.

use crate::event::{Id, Table};

/// A change that shows that the source's log began again: the change's LSN is below an LSN of the row, and the change
/// is not a redelivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regression {
    pub table: Table,
    pub key: Id,
    pub lsn: u64,
    pub stored_lsn: u64,
}

impl std::fmt::Display for Regression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Regression { table, key, lsn, stored_lsn } = self;
        write!(
            f,
            "lsn_regression: row {key} came with LSN {lsn} below the stored {stored_lsn} and is no change that was seen \
             before: the source's log began again (a restored or promoted server). If that is so, raise the table's epoch \
             and go on: nova cdc epoch bump {table}"
        )
    }
}
