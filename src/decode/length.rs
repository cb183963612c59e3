//! How long the key and the value of a record may be.

use super::fault::Fault;

/// A longer key or value is dead unread. Kafka's own limit is 1 MiB by default.
pub const RECORD_MAX_BYTES: usize = 16 << 20;

/// Refuses what is too long; `what` is the key or the value.
pub(super) fn check(what: &str, bytes: &[u8]) -> Result<(), Fault> {
    match bytes.len() {
        ..=RECORD_MAX_BYTES => Ok(()),
        length => {
            let detail = format!("the {what} has {length} bytes, at most {RECORD_MAX_BYTES} are read");
            Err(Fault::new("too-long", detail))
        }
    }
}
