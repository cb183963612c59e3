//! Nearly valid bytes for tests of codecs. Random bytes seldom pass the check of the version byte, so they would test
//! nothing but this check.

#![allow(clippy::panic, reason = "what a test finds ends the test")]

use std::fmt::Debug;

use crate::codec::CodecError;

/// The number of mutants of one valid encoding that one check makes.
const MUTANTS: u64 = 32;
/// The maximum number of bytes that one mutation inserts, cuts, doubles or moves.
const PIECE_MAX_BYTES: usize = 24;

/// The generator SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Returns a range within `length`. The range is empty only if `length` is 0.
    fn piece(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        let size = 1 + self.below(PIECE_MAX_BYTES.min(length - start.min(length)));
        start..(start + size).min(length)
    }
}

/// Returns `valid` with one to three mutations. A mutation flips a bit, sets a byte to an end of its range, cuts off
/// the end, or cuts, inserts, doubles or moves a piece.
pub fn mutated(valid: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = valid.to_vec();
    for _ in 0..=random.below(3) {
        let (at, piece) = (random.below(bytes.len()), random.piece(bytes.len()));
        match random.below(8) {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = [0, 0x7f, 0x80, 0xff][random.below(4)]),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(piece)),
            5 => {
                let more: Vec<u8> = (0..1 + random.below(PIECE_MAX_BYTES)).map(|_| random.next() as u8).collect();
                drop(bytes.splice(at..at, more));
            }
            6 => {
                let double = bytes[piece].to_vec();
                drop(bytes.splice(at..at, double));
            }
            _ => {
                let moved: Vec<u8> = bytes.drain(piece).collect();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, moved));
            }
        }
    }
    bytes
}

/// Decodes mutants of an encoding. Each mutant must be an error, or a value that reads back from its own encoding. If a
/// mutant is neither, `check_values` panics with the bytes of the mutant. Returns the mutants that were values, with
/// the encodings of these values.
pub fn check_values<T: PartialEq + Debug>(
    valid: &[u8],
    seed: u64,
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let whole = decode(valid).unwrap_or_else(|error| panic!("the valid bytes {valid:02x?}: {error}"));
    assert_eq!(encode(&whole), valid, "the valid bytes are not what their value encodes to");
    let mut values = Vec::new();
    for number in 0..MUTANTS {
        let mutant = mutated(valid, seed.wrapping_mul(MUTANTS).wrapping_add(number));
        if let Ok(value) = decode(&mutant) {
            let again = encode(&value);
            assert_eq!(decode(&again).as_ref(), Ok(&value), "{mutant:02x?} reads as a value that does not read back");
            values.push((mutant, again));
        }
    }
    values
}

/// Does the same as `check_values`, for a codec that has one encoding for each value. A mutant that can be read must
/// equal the encoding of its value, unless the mutant is of an earlier version.
pub fn check_bytes<T: PartialEq + Debug>(
    valid: &[u8],
    seed: u64,
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    for (mutant, again) in check_values(valid, seed, decode, encode) {
        let earlier = mutant.first() != valid.first();
        assert!(earlier || mutant == again, "{mutant:02x?} reads as the value that is written as {again:02x?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Put, Reader};

    fn decode(bytes: &[u8]) -> Result<(u64, Vec<u8>), CodecError> {
        let (mut reader, _) = Reader::versioned("test", bytes, 1)?;
        let value = (reader.varint()?, reader.bytes()?.to_vec());
        reader.end()?;
        Ok(value)
    }

    fn encode((number, bytes): &(u64, Vec<u8>)) -> Vec<u8> {
        let mut out = vec![1];
        out.put_varint(*number);
        out.put_bytes(bytes);
        out
    }

    #[test]
    fn mutants_differ_and_some_of_them_are_values() {
        let valid = encode(&(300, b"some bytes".to_vec()));
        let values: usize = (0..200).map(|seed| check_values(&valid, seed, decode, encode).len()).sum();
        assert!((500..5_000).contains(&values), "{values} of 6 400 mutants are values");
        assert!((0..1_000).filter(|seed| mutated(&valid, *seed) != valid).count() > 900);
        for short in [&[][..], &[1]] {
            (0..1_000).for_each(|seed| drop(mutated(short, seed)));
        }
    }

    #[test]
    #[should_panic(expected = "reads as the value that is written as")]
    fn a_codec_that_passes_over_bytes_is_found() {
        let careless = |bytes: &[u8]| {
            let mut reader = Reader::new("test", bytes);
            reader.varint()
        };
        let write = |number: &u64| {
            let mut out = Vec::new();
            out.put_varint(*number);
            out
        };
        (0..100).for_each(|seed| check_bytes(&write(&5), seed, careless, write));
    }
}
