//! The place of a record in the form that its row remembers.

use crate::event::Record;
use crate::pipeline::stored::Place;

pub(super) fn place(record: &Record) -> Place {
    // A row that came over Kafka has another kind of place. The offsets of the two cannot be compared.
    let partition = if record.origin.is_some() { REPLICATION_PLACE } else { record.partition };
    Place { partition: Some(partition), offset: record.offset }
}

/// The partition in the place of a row that came from PostgreSQL itself. No broker and no local log has this partition.
const REPLICATION_PLACE: i32 = -2;
