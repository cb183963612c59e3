//! A scalar in any encoding, while it is unknown to which column it belongs.

use std::borrow::Cow;

/// A scalar as the record has it, borrowed from the record if possible. The reader skips objects and arrays, because no
/// column of a table has an object or an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is too large for `i64`.
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
