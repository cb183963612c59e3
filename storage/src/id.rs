//! The identifiers that nova stores: ids of 128 bits, and partitions of topics.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// An identifier of 128 bits (a UUID of any version). Ids are ordered by their bytes, which is also the order of their
/// texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(pub [u8; 16]);

/// The error for a text that is not an [`Id`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: expected 32 hexadecimal digits, with or without hyphens")]
pub struct ParseIdError;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The positions of the pairs of hexadecimal digits in a text with hyphens.
const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

impl Id {
    pub const NIL: Id = Id([0; 16]);

    pub const fn from_u128(value: u128) -> Id {
        Id(value.to_be_bytes())
    }

    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Returns the text in lower case with hyphens, as 36 ASCII bytes.
    pub fn text(self) -> [u8; 36] {
        let mut out = [b'-'; 36];
        for (byte, at) in self.0.iter().zip(PAIRS) {
            [out[at], out[at + 1]] = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        out
    }

    /// Appends the text with hyphens to `out`.
    pub fn write_to(self, out: &mut String) {
        out.push_str(std::str::from_utf8(&self.text()).unwrap_or_default());
    }

    /// Parses hexadecimal text with hyphens (36 bytes) or without (32 bytes), in upper or lower case.
    pub fn parse(text: &[u8]) -> Result<Id, ParseIdError> {
        let mut out = [0u8; 16];
        let mut bad = 0;
        if let Ok(text) = <&[u8; 36]>::try_from(text) {
            if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
                return Err(ParseIdError);
            }
            for (byte, at) in out.iter_mut().zip(PAIRS) {
                let (high, low) = (DIGITS[usize::from(text[at])], DIGITS[usize::from(text[at + 1])]);
                bad |= high | low;
                *byte = high << 4 | low;
            }
        } else if let Ok(text) = <&[u8; 32]>::try_from(text) {
            for (index, byte) in out.iter_mut().enumerate() {
                let (high, low) = (DIGITS[usize::from(text[2 * index])], DIGITS[usize::from(text[2 * index + 1])]);
                bad |= high | low;
                *byte = high << 4 | low;
            }
        } else {
            return Err(ParseIdError);
        }
        if bad & NOT_A_DIGIT == 0 { Ok(Id(out)) } else { Err(ParseIdError) }
    }
}

/// The value in `DIGITS` of every byte that is not a hexadecimal digit. `NOT_A_DIGIT` is a bit that no value of a
/// hexadecimal digit has.
const NOT_A_DIGIT: u8 = 0x80;

/// The value of each hexadecimal digit, by its ASCII code.
const DIGITS: [u8; 256] = {
    let mut digits = [NOT_A_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[HEX[value] as usize] = value as u8;
        digits[HEX[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    digits
};

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
        fn one_wrong_byte_makes_it_no_id(value in any::<u128>(), at in 0usize..36, byte in any::<u8>()) {
            let mut text = Id::from_u128(value).text();
            let was = std::mem::replace(&mut text[at], byte);
            let fits = if was == b'-' { byte == b'-' } else { byte.is_ascii_hexdigit() };
            prop_assert_eq!(Id::parse(&text).is_ok(), fits);
        }

        #[test]
        fn anything_else_is_an_error_and_never_a_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Id::parse(&text);
        }
    }
}
