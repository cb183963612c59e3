//! The batch loop: ingest, writer, accounting.

pub mod dedup;
pub mod journal;
pub mod rows;
