//! A record as those who watch are told of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

use crate::pipeline::stored::Version;
use crate::pipeline::tap::{Heard, Raw, RawPart, Tapped, What};
use crate::schema::{Uuid, example};
use crate::source::postgres::lsn::lsn_text;

/// A record that was committed, as those who watch are told of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "topic": "events", "partition": -1, "offset": 4711, "timestamp_ms": 1795500000000, "outcome": "applied",
    "kind": "event", "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b",
    "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "action": "view", "table": null, "key": null, "op": null,
    "version": null, "effect": "view of post 6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d counts", "left_out": 0, "raw": null
}"#))]
pub struct TappedRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Its arrival, epoch milliseconds.
    pub timestamp_ms: i64,
    pub outcome: &'static str,
    /// `event`, `change`, or what else it is.
    pub kind: &'static str,
    /// Of an event.
    pub user_id: Option<Uuid>,
    pub post_id: Option<Uuid>,
    pub action: Option<&'static str>,
    /// Of a change.
    pub table: Option<&'static str>,
    pub key: Option<Uuid>,
    pub op: Option<String>,
    pub version: Option<RecordVersion>,
    /// What it changed in memory, in words; empty where it changed nothing.
    pub effect: String,
    /// Records before this one that the listener was not given: more than it may have a second, or than it took.
    pub left_out: u64,
    /// The record itself, where it is asked for.
    pub raw: Option<RawRecord>,
}

/// What decides whether a change is newer than the stored row, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecordVersion {
    /// Of its table, when it was committed.
    pub epoch: u16,
    /// As PostgreSQL prints it; null where the record has none.
    pub lsn: Option<String>,
    pub offset: i64,
}

/// What a record was: the first 16 KiB of its value, 512 B of its key and of each of the first 16 headers. Private values
/// are overwritten with `*`, as in a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RawRecord {
    pub key: Option<RawBytes>,
    pub value: Option<RawBytes>,
    pub headers: Vec<RawHeader>,
    /// Headers that are not told.
    pub headers_left_out: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RawHeader {
    pub name: String,
    pub value: RawBytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RawBytes {
    /// With U+FFFD for what is not UTF-8.
    pub text: String,
    /// Where they are not UTF-8.
    pub base64: Option<String>,
    /// How many there were before the cut.
    pub bytes: u64,
    /// Not all of them are told.
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

    /// Of a record, before which so many were left out.
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
