//! The limits of the key and the value of a record.

use super::fault::Fault;

/// A record with a longer key or value is dead and is not decoded. Kafka's own limit is 1 MiB by default.
pub const RECORD_MAX_BYTES: usize = 16 << 20;

/// Refuses bytes that are too long. `what` names the key or the value.
pub(super) fn check(what: &str, bytes: &[u8]) -> Result<(), Fault> {
    match bytes.len() {
        ..=RECORD_MAX_BYTES => Ok(()),
        length => {
            let detail = format!("the {what} has {length} bytes, at most {RECORD_MAX_BYTES} are read");
            Err(Fault::new("too-long", detail))
        }
    }
}
