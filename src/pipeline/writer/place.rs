//! The place of a record, in the form that the stored row keeps.

use crate::event::Record;
use crate::pipeline::stored::Place;

pub(super) fn place(record: &Record) -> Place {
    // A row that came over Kafka has a different kind of place than a row from PostgreSQL directly. The offset of a row
    // that came over Kafka and the offset of a row from PostgreSQL directly cannot be compared.
    let partition = if record.origin.is_some() { REPLICATION_PLACE } else { record.partition };
    Place { partition: Some(partition), offset: record.offset }
}

/// The partition number in the place of a row that came from PostgreSQL directly. No topic of Kafka and no local log
/// has a partition with the number -2.
const REPLICATION_PLACE: i32 = -2;
