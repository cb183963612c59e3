//! The table in which the store keeps the decisions of operators, and the answers to HTTP clients and operators. The
//! writer changes the table by commands.

use nova_storage::schema::EDGE;
use nova_storage::{ReadError, Store};

/// The name and the value of an entry in the table of decisions and answers.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The entries of one kind in the table of decisions and answers.
pub fn entries(store: &Store, kind: &str) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    store.read()?.scan(EDGE, (kind, &[][..]).., |(found, name), value| {
        if found == kind {
            entries.push((name.to_vec(), value.to_vec()));
        }
        found == kind
    })?;
    Ok(entries)
}
