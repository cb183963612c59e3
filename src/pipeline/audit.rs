//! The audit log records who did what. An entry of the audit log is written in the same commit as the action that it
//! describes, and is kept for ever. Only the writer adds entries to the audit log.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::AUDIT;
use nova_storage::{ReadError, ReadTxn};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::rfc3339;

const VERSION: u8 = 1;
/// The maximum number of entries on one page, so that a listing never holds a read transaction open for long.
pub const PAGE_MAX_ENTRIES: usize = 1_000;

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at_ms: i64,
    /// The person who acted: `user UUID`, or the user of the command line.
    pub actor: String,
    /// The name of the action, such as `dlq-discard`.
    pub action: String,
    /// The object of the action: an id, a table or a user.
    pub subject: String,
    /// The reason for the action, or the settings that it used. The reason may be empty.
    pub detail: String,
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_zigzag(self.at_ms);
        for text in [&self.actor, &self.action, &self.subject, &self.detail] {
            out.put_bytes(text.as_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Entry, CodecError> {
        let (mut reader, _) = Reader::versioned("audit entry", bytes, VERSION)?;
        let at_ms = reader.zigzag()?;
        let mut text = || Ok::<_, CodecError>(reader.text()?.to_owned());
        let (actor, action, subject, detail) = (text()?, text()?, text()?, text()?);
        reader.end()?;
        Ok(Entry { at_ms, actor, action, subject, detail })
    }

    /// The entry as it is shown in a listing, with its id.
    pub fn listed(&self, id: u64) -> Listed {
        let Entry { at_ms, actor, action, subject, detail } = self.clone();
        Listed { id, at: rfc3339(at_ms.saturating_mul(1_000)), actor, action, subject, detail }
    }
}

/// One entry of the audit log in the form of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry", example = crate::schema::example(r#"{
    "id": 3, "at": "2026-11-24T06:00:00.000000Z", "actor": "user 1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b",
    "action": "dlq-discard", "subject": "7", "detail": "a test record"
}"#))]
pub struct Listed {
    pub id: u64,
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// The person who acted: `user UUID`, or the user of the command line.
    pub actor: String,
    /// The name of the action, such as `dlq-discard`.
    pub action: String,
    /// The object of the action: an id, a table or a user.
    pub subject: String,
    /// The reason for the action, or the settings that it used. The reason may be empty.
    pub detail: String,
}

/// The entries whose ids are above `after`, oldest first. The page has at most `limit` and at most [`PAGE_MAX_ENTRIES`]
/// entries.
pub fn page(read: &ReadTxn, after: Option<u64>, limit: usize) -> Result<Vec<(u64, Entry)>, ReadError> {
    let (mut entries, mut failed) = (Vec::new(), None);
    let limit = limit.min(PAGE_MAX_ENTRIES);
    let from = after.map_or(0, |id| id.saturating_add(1));
    read.scan(AUDIT, from.., |id, bytes| {
        if entries.len() == limit {
            return false;
        }
        match Entry::decode(bytes) {
            Ok(entry) => entries.push((id, entry)),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(entries), |error| Err(error.into()))
}

/// The newest entries of the audit log, from the oldest to the newest. The list has at most `limit` and at most
/// [`PAGE_MAX_ENTRIES`] entries. The ids of entries have no gaps.
pub fn newest(read: &ReadTxn, limit: usize) -> Result<Vec<(u64, Entry)>, ReadError> {
    let last = read.last(AUDIT, |id, _| id)?;
    let limit = limit.min(PAGE_MAX_ENTRIES);
    page(read, last.and_then(|last| last.checked_sub(limit as u64)), limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_read_back_and_mutated_ones_are_errors_or_entries_with_these_bytes(
            at_ms: i64, texts: [String; 4], seed: u64,
        ) {
            let [actor, action, subject, detail] = texts;
            let entry = Entry { at_ms, actor, action, subject, detail };
            let bytes = entry.encode();
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
            check_bytes(&bytes, seed, Entry::decode, Entry::encode);
        }
    }
}
