//! The changed rows of a commit or checkpoint, by their keys. The map of changed rows maps keys to indexes and not to
//! rows. A checkpoint takes the rows in the order of their keys. A checkpoint finds each row by the row's index, so it
//! need not look up the keys.

use rustc_hash::FxHashMap;

use super::key::Key;

/// The number of bytes that a changed row needs in memory in addition to its own bytes.
pub const ENTRY_OVERHEAD_BYTES: usize = 64;

/// The changed rows, by their keys.
#[derive(Debug, Default)]
pub struct Changed {
    places: FxHashMap<Key, u32>,
    /// Each row is at its index in this list. The entry of a row that was taken out of the map is `None`.
    rows: Vec<Option<Box<[u8]>>>,
    bytes: usize,
}

impl Changed {
    pub fn get(&self, key: &Key) -> Option<&[u8]> {
        self.rows.get(*self.places.get(key)? as usize)?.as_deref()
    }

    pub fn put(&mut self, key: Key, row: Box<[u8]>) {
        self.bytes += row.len() + ENTRY_OVERHEAD_BYTES;
        // A machine has too little memory for 2^32 rows.
        let place = *self.places.entry(key).or_insert(self.rows.len() as u32) as usize;
        let old = match self.rows.get_mut(place) {
            Some(slot) => slot.replace(row),
            None => {
                self.rows.push(Some(row));
                None
            }
        };
        self.bytes -= old.map_or(0, |old| old.len() + ENTRY_OVERHEAD_BYTES);
    }

    /// Every key with the index of its row, in no order.
    pub fn places(&self) -> impl Iterator<Item = (Key, u32)> {
        self.places.iter().map(|(key, place)| (*key, *place))
    }

    /// Returns the row at an index, or `None` if the row was taken out of the map.
    pub fn at(&self, place: u32) -> Option<&[u8]> {
        self.rows.get(place as usize)?.as_deref()
    }

    /// Takes the row at an index out of the map.
    pub fn take(&mut self, place: u32) {
        let taken = self.rows.get_mut(place as usize).and_then(Option::take);
        self.bytes -= taken.map_or(0, |row| row.len() + ENTRY_OVERHEAD_BYTES);
    }

    /// Every row that is still in the map, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &[u8])> {
        self.places.iter().filter_map(|(key, place)| Some((*key, self.at(*place)?)))
    }

    /// The bytes of the rows that are still in the map.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
