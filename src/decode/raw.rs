//! A scalar in any encoding, before its column is known.

use std::borrow::Cow;

/// A scalar as it came, borrowed from the record if possible. The reader skips objects and arrays, because no column of
/// a table is one.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number beyond `i64`.
    TooLarge,
    Float,
    Text(Cow<'a, str>),
    Bytes,
    Object,
    Array,
}

impl Raw<'_> {
    pub fn kind(&self) -> &'static str {
        match self {
            Raw::Null => "null",
            Raw::Bool(_) => "a boolean",
            Raw::Int(..0) => "a negative integer",
            Raw::Int(_) => "an integer",
            Raw::TooLarge => "an integer beyond 64 bits",
            Raw::Float => "a number that is not an integer",
            Raw::Text(_) => "a string",
            Raw::Bytes => "bytes",
            Raw::Object => "an object",
            Raw::Array => "an array",
        }
    }
}
