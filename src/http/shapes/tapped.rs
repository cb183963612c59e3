//! The form of a record in the answer of `GET /api/v1/admin/tap`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

use crate::pipeline::stored::Version;
use crate::pipeline::tap::{Heard, Raw, RawPart, Tapped, What};
use crate::schema::{Uuid, example};
use crate::source::postgres::lsn::lsn_text;

/// A committed record, as `GET /api/v1/admin/tap` shows it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "topic": "events", "partition": -1, "offset": 4711, "timestamp_ms": 1795500000000, "outcome": "applied",
    "kind": "event", "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b",
    "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "action": "view", "table": null, "key": null, "op": null,
    "version": null, "effect": "view of post 6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d counts: moved trending 24 h by 0.1",
    "left_out": 0, "raw": null
}"#))]
pub struct TappedRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The time of the record's arrival, in epoch milliseconds.
    pub timestamp_ms: i64,
    pub outcome: &'static str,
    /// The kind of the record: `event`, `change`, or a word for a record that is neither of the two.
    pub kind: &'static str,
    /// The user of the event, if the record is an event.
    pub user_id: Option<Uuid>,
    pub post_id: Option<Uuid>,
    pub action: Option<&'static str>,
    /// The table of the change, if the record is a change.
    pub table: Option<&'static str>,
    pub key: Option<Uuid>,
    pub op: Option<String>,
    pub version: Option<RecordVersion>,
    /// The effect of the record on the state in memory, in words, or an empty text if the record had no effect.
    pub effect: String,
    /// The number of records that the listener did not get before this record, because records came faster than the
    /// allowed rate or the listener was too slow.
    pub left_out: u64,
    /// The bytes of the record, if the caller requested them.
    pub raw: Option<RawRecord>,
}

/// The values that decide, in the order of the fields, whether a change is newer than the stored row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecordVersion {
    /// The epoch of the change's table at the commit.
    pub epoch: u16,
    /// The LSN of the change as PostgreSQL prints it, or null if the record has no LSN.
    pub lsn: Option<String>,
    pub offset: i64,
}

/// The bytes of a record: the first 16 KiB of its value, and 512 B of its key and of each of the first 16 headers. nova
/// overwrites private values with `*`, as in a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RawRecord {
    pub key: Option<RawBytes>,
    pub value: Option<RawBytes>,
    pub headers: Vec<RawHeader>,
    /// The number of the record's headers that are left out.
    pub headers_left_out: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RawHeader {
    pub name: String,
    pub value: RawBytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RawBytes {
    /// The shown bytes as text, with U+FFFD for bytes that are not UTF-8.
    pub text: String,
    /// The shown bytes in Base64, if they are not UTF-8.
    pub base64: Option<String>,
    /// The number of bytes of the whole value.
    pub bytes: u64,
    /// Whether the shown bytes are only the beginning of the value.
    pub cut: bool,
}

impl RecordVersion {
    fn of(version: Version) -> RecordVersion {
        let lsn = (version.lsn > 0).then(|| lsn_text(version.lsn));
        RecordVersion { epoch: version.epoch, lsn, offset: version.offset }
    }
}

impl RawBytes {
    fn of(part: &RawPart) -> RawBytes {
        let text = String::from_utf8_lossy(&part.bytes);
        let base64 = std::str::from_utf8(&part.bytes).is_err().then(|| STANDARD.encode(&part.bytes));
        let cut = (part.bytes.len() as u64) < part.whole_bytes;
        RawBytes { text: text.into_owned(), base64, bytes: part.whole_bytes, cut }
    }
}

impl RawRecord {
    fn of(raw: &Raw) -> RawRecord {
        let header = |(name, value): &(String, RawPart)| RawHeader { name: name.clone(), value: RawBytes::of(value) };
        RawRecord {
            key: raw.key.as_ref().map(RawBytes::of),
            value: raw.value.as_ref().map(RawBytes::of),
            headers: raw.headers.iter().map(header).collect(),
            headers_left_out: raw.headers_left_out,
        }
    }
}

impl TappedRecord {
    pub fn of(heard: &Heard) -> TappedRecord {
        let told = TappedRecord::told(&heard.record, heard.left_out);
        TappedRecord { raw: heard.raw.as_deref().map(RawRecord::of), ..told }
    }

    /// Makes the form of a committed record. `left_out` is the number of records that the listener did not get before
    /// this record.
    pub fn told(record: &Tapped, left_out: u64) -> TappedRecord {
        let mut told = TappedRecord {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            outcome: record.outcome.name(),
            kind: "event",
            user_id: None,
            post_id: None,
            action: None,
            table: None,
            key: None,
            op: None,
            version: record.version.map(RecordVersion::of),
            effect: record.effect.clone(),
            left_out,
            raw: None,
        };
        match &record.what {
            What::Event { user, post, action } => {
                (told.user_id, told.post_id) = (Some(Uuid(*user)), Some(Uuid(*post)));
                told.action = Some(action.name());
            }
            What::Change { table, key, op } => {
                (told.kind, told.table, told.key) = ("change", Some(table.name()), Some(Uuid(*key)));
                told.op = Some(format!("{op:?}").to_lowercase());
            }
            What::Other(kind) => told.kind = kind,
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_and_in_base64_where_they_are_none() {
        let of = |bytes: &[u8], whole_bytes| RawBytes::of(&RawPart { bytes: bytes.to_vec(), whole_bytes });
        let text = of("<b>\u{202e}\0".as_bytes(), 7);
        assert_eq!((&*text.text, &text.base64, text.cut), ("<b>\u{202e}\0", &None, false));
        let none = of(b"a\xff", 9);
        assert_eq!((&*none.text, none.base64.as_deref(), none.bytes, none.cut), ("a\u{fffd}", Some("Yf8="), 9, true));
    }

    #[test]
    fn a_version_has_the_lsn_as_postgresql_prints_it() {
        let of = |lsn| RecordVersion::of(Version { epoch: 1, lsn, offset: 9 }).lsn;
        assert_eq!((of(0x16_B374_D848), of(0)), (Some("16/B374D848".to_owned()), None));
    }
}
