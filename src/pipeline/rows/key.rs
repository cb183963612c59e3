//! The order of rows in the store.

use crate::event::Id;

/// The number of a row's table, and the row's primary key.
pub type Key = (u8, Id);

/// The lowest possible key of a row.
pub const LEAST: Key = (0, Id([0; 16]));

/// Returns the key that follows a key directly.
pub fn after((table, id): Key) -> Key {
    let (id, carried) = u128::from_be_bytes(id.0).overflowing_add(1);
    (table.saturating_add(u8::from(carried)), Id(id.to_be_bytes()))
}
