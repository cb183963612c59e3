//! Identifiers that nova stores: 128-bit ids and topic-partitions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A 128-bit identifier (UUID, any version), ordered by its bytes, which is also the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(pub [u8; 16]);

/// Why a text is not an [`Id`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: expected 32 hexadecimal digits, with or without hyphens")]
pub struct ParseIdError;

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Id {
    pub const NIL: Id = Id([0; 16]);

    pub const fn from_u128(value: u128) -> Id {
        Id(value.to_be_bytes())
    }

    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The hyphenated lower-case text, as 36 ASCII bytes.
    pub fn text(self) -> [u8; 36] {
        let mut out = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            out[at] = HEX[usize::from(byte >> 4)];
            out[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        out
    }

    /// Parses hyphenated (36 bytes) or plain (32 bytes) hexadecimal text, in either case.
    pub fn parse(text: &[u8]) -> Result<Id, ParseIdError> {
        let mut out = [0u8; 16];
        let mut at = 0;
        let hyphenated = match text.len() {
            36 => true,
            32 => false,
            _ => return Err(ParseIdError),
        };
        for (index, byte) in out.iter_mut().enumerate() {
            if hyphenated && matches!(index, 4 | 6 | 8 | 10) {
                if text[at] != b'-' {
                    return Err(ParseIdError);
                }
                at += 1;
            }
            *byte = digit(text[at])? << 4 | digit(text[at + 1])?;
            at += 2;
        }
        Ok(Id(out))
    }
}

fn digit(byte: u8) -> Result<u8, ParseIdError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ParseIdError),
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Id, ParseIdError> {
        Id::parse(text.as_bytes())
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_parse_are_inverse(value in any::<u128>()) {
            let id = Id::from_u128(value);
            prop_assert_eq!(id.to_string().parse::<Id>(), Ok(id));
            prop_assert_eq!(id.to_string().replace('-', "").to_uppercase().parse::<Id>(), Ok(id));
        }

        #[test]
        fn order_of_ids_is_the_order_of_their_text(a in any::<u128>(), b in any::<u128>()) {
            let (a, b) = (Id::from_u128(a), Id::from_u128(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn anything_else_is_an_error_and_never_a_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Id::parse(&text);
        }
    }
}
