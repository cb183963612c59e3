//! What is made of the state for a reader.

pub mod trending;
