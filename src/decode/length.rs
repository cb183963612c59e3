//! The limits on the length of a record's key and value.

use super::fault::Fault;

/// If the key or the value of a record is longer than this limit, the record becomes a dead letter and is not decoded.
/// Kafka's own limit for a record is 1 MiB by default.
pub const RECORD_MAX_BYTES: usize = 16 << 20;

/// Returns a fault if the bytes are too long. `what` says whether the bytes are the key or the value.
pub(super) fn check(what: &str, bytes: &[u8]) -> Result<(), Fault> {
    match bytes.len() {
        ..=RECORD_MAX_BYTES => Ok(()),
        length => {
            let detail = format!("the {what} has {length} bytes, at most {RECORD_MAX_BYTES} are read");
            Err(Fault::new("too-long", detail))
        }
    }
}
