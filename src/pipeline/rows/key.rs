//! The order of rows in the store.

use crate::event::Id;

/// The table's number and the primary key.
pub type Key = (u8, Id);

/// The lowest possible key.
pub const LEAST: Key = (0, Id([0; 16]));

/// The next key.
pub fn after((table, id): Key) -> Key {
    let (id, carried) = u128::from_be_bytes(id.0).overflowing_add(1);
    (table.saturating_add(u8::from(carried)), Id(id.to_be_bytes()))
}
