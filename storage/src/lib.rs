//! nova's redb file: every table in one place, codecs with a version byte, transactions. Knows nothing of Kafka, HTTP
//! or ClickHouse.

pub mod id;
