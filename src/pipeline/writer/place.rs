//! Where a record stands, as the row that it tells remembers it.

use crate::event::Record;
use crate::pipeline::stored::Place;

pub(super) fn place(record: &Record) -> Place {
    // A row that came over Kafka stands elsewhere: offsets of the two say nothing about each other.
    let partition = if record.origin.is_some() { REPLICATION_PLACE } else { record.partition };
    Place { partition: Some(partition), offset: record.offset }
}

/// The partition in the place of a row that PostgreSQL itself told: one that no broker and no local log has.
const REPLICATION_PLACE: i32 = -2;
