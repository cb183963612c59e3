//! Reads Confluent's wire format, in which a value consists of the magic byte 0, a schema id of 4 bytes (big-endian)
//! and the datum.

use super::fault::Fault;

/// The first byte of Confluent's wire format.
const MAGIC: u8 = 0;
pub(super) const HEADER_BYTES: usize = 5;

pub(super) fn is_avro(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MAGIC)
}

/// Returns the index at which JSON text begins after the head of the wire format, or after a single magic byte.
/// Confluent's JSON Schema serializer writes the head of the wire format before JSON text.
pub(super) fn json_start(bytes: &[u8]) -> Option<usize> {
    let is_json = |start: &usize| {
        let text = bytes.get(*start..).unwrap_or_default().trim_ascii_start();
        is_avro(bytes) && matches!(text.first(), Some(b'{' | b'['))
    };
    [HEADER_BYTES, 1].into_iter().find(is_json)
}

/// Returns the schema id in the bytes, if the bytes are a datum in the wire format.
pub fn schema_id(bytes: &[u8]) -> Option<u32> {
    split("datum", bytes).map(|(id, _)| id).ok()
}

/// Splits bytes into the schema id and the datum.
pub(super) fn split<'a>(what: &str, bytes: &'a [u8]) -> Result<(u32, &'a [u8]), Fault> {
    match bytes.split_at_checked(HEADER_BYTES) {
        Some(([MAGIC, id @ ..], datum)) if id.len() == 4 => {
            Ok((id.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)), datum))
        }
        _ => Err(Fault::new("malformed-avro", format!("the {what} is too short for a schema id"))),
    }
}
