//! Collects the records of the present commit for the listeners of `tap`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::decode::{Decoder, Part, facts};
use crate::event::{ChangeBody, Effect, Id, Outcome, Record, Table};
use crate::pipeline::Body;
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::Version;
use crate::pipeline::tap::{
    About, COMMIT_MAX_RECORDS, RAW_MAX_HEADERS, RAW_NAME_MAX_BYTES, RAW_PART_MAX_BYTES, RAW_VALUE_MAX_BYTES, Raw,
    RawPart, Tap, Tapped, What, concerned, describe,
};
use crate::state::State;

/// The maximum number of effects of one record that `tap` describes. A truncate has an effect for each row.
const EFFECTS_MAX: usize = 8;

/// The records for the listeners, which the writer sends after the commit.
#[derive(Default)]
pub(super) struct Commit {
    records: Vec<Tapped>,
    /// For each entry of `records`, the whole record, if a listener requested bytes.
    whole: Vec<Option<Record>>,
    /// For each entry of `records`, the range of the entry's effects in the list of the commit's effects.
    spans: Vec<Range<usize>>,
    /// The index of the entry of `records` to which the next effect may belong.
    next: usize,
    /// The number of records of the commit that `tap` has not examined.
    more: u64,
}

/// The facts about a record that are known before the writer judges the record, for the listeners.
pub(super) struct Watched {
    what: What,
    about: About,
    /// The LSN of the record, if the record is a change and has an LSN.
    lsn: Option<u64>,
    /// The index of the record's first effect in the effects of the commit.
    before: usize,
}

/// Returns the user and the post of a record.
pub(super) fn watched(body: &Body, before: usize) -> Watched {
    let (mut about, mut lsn) = (About::default(), None);
    let what = match body {
        Body::Event(event, _) => {
            about.users.push(event.user_id);
            about.posts.push(event.post_id);
            What::Event { user: event.user_id, post: event.post_id, action: event.action }
        }
        Body::Change(change) => {
            let (table, key) = (change.table, change.key);
            lsn = change.lsn;
            // A change without an effect also concerns a user or a post.
            match &change.body {
                ChangeBody::Upsert(row) => facts(table, row).iter().for_each(|facts| about.row(key, facts)),
                ChangeBody::Delete | ChangeBody::Tombstone | ChangeBody::Truncate => of_key(table, key, &mut about),
            }
            What::Change { table, key, op: change.op }
        }
        Body::Ignore(_) => What::Other("ignored"),
        Body::Snapshot(_) => What::Other("snapshot"),
        Body::Dead(_) => What::Other("undecodable"),
    };
    Watched { what, about, lsn, before }
}

/// If a row of `users` or `posts` changes, its key is the user or the post that the record is about.
fn of_key(table: Table, key: Id, about: &mut About) {
    match table {
        Table::Users => about.users.push(key),
        Table::Posts => about.posts.push(key),
        Table::Follows | Table::Comments | Table::Likes => {}
    }
}

impl Commit {
    /// Keeps a record for the listeners. `effects` are the effects of the whole commit, and `raw` says whether a
    /// listener requested bytes.
    pub fn keep(
        &mut self,
        record: &Record,
        outcome: Outcome,
        watched: Watched,
        effects: &[Effect],
        tables: &[TableMeta],
        raw: bool,
    ) {
        if self.records.len() >= COMMIT_MAX_RECORDS {
            self.more += 1;
            return;
        }
        let Watched { what, mut about, lsn, before } = watched;
        concerned(effects.get(before..).unwrap_or_default(), &mut about);
        self.spans.push(before..effects.len());
        let version = match what {
            What::Change { table, .. } => {
                let epoch = tables[table as usize].epoch;
                Some(Version { epoch, lsn: lsn.unwrap_or(0), offset: record.offset })
            }
            What::Event { .. } | What::Other(_) => None,
        };
        // A clone of a record shares its bytes with the record, and copies only the headers.
        self.whole.push(raw.then(|| record.clone()));
        self.records.push(Tapped {
            topic: Arc::clone(&record.topic),
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            outcome,
            what,
            version,
            effect: String::new(),
            about,
        });
    }

    /// Applies effects of the commit, and notes what the effects of each entry did. `first` is the index of
    /// `effects[0]` among all effects of the commit. Entries and effects are in the same order.
    pub fn apply(&mut self, state: &mut State, effects: &[Effect], first: usize, now_ms: i64) {
        for (effect, place) in effects.iter().zip(first..) {
            while self.spans.get(self.next).is_some_and(|span| span.end <= place) {
                self.next += 1;
            }
            let span = self.spans.get(self.next).filter(|span| span.contains(&place));
            match span.map(|span| (place - span.start, span.len())) {
                Some((nth, _)) if nth < EFFECTS_MAX => {
                    let applied = state.apply_told(effect, now_ms);
                    self.note(describe(effect, &applied));
                }
                Some((EFFECTS_MAX, all)) => {
                    state.apply(effect);
                    self.note(Some(format!("and {} more", all - EFFECTS_MAX)));
                }
                _ => state.apply(effect),
            }
        }
    }

    /// Adds words about an effect of the present entry.
    fn note(&mut self, words: Option<String>) {
        let (Some(record), Some(words)) = (self.records.get_mut(self.next), words) else { return };
        if !record.effect.is_empty() {
            record.effect.push_str("; ");
        }
        record.effect.push_str(&words);
    }

    /// Sends the records to the listeners, after the commit.
    pub fn tell(&mut self, tap: &Tap, decoder: &Decoder, now: Instant) {
        let Commit { records, whole, more, spans, next } = self;
        if records.is_empty() {
            return;
        }
        let bytes_of = |place: usize| Some(raw(decoder, whole.get(place)?.as_ref()?));
        tap.tell(records, *more, now, bytes_of);
        records.clear();
        whole.clear();
        spans.clear();
        (*more, *next) = (0, 0);
    }
}

/// Returns the bytes of a record, masked as in a dead letter and within the limits of a listener. nova masks the bytes
/// before it cuts them, because the meaning of a cut text is uncertain.
fn raw(decoder: &Decoder, record: &Record) -> Raw {
    let masked = |part: Part<'_>, bytes: &Bytes, most: usize| RawPart {
        bytes: cut(&decoder.masked(record, part, bytes), most).to_vec(),
        whole_bytes: bytes.len() as u64,
    };
    let headers = record.headers.iter().take(RAW_MAX_HEADERS).map(|(name, value)| {
        let value = masked(Part::Header(name), value, RAW_PART_MAX_BYTES);
        (name[..name.floor_char_boundary(RAW_NAME_MAX_BYTES)].to_owned(), value)
    });
    Raw {
        key: record.key.as_ref().map(|key| masked(Part::Key, key, RAW_PART_MAX_BYTES)),
        value: record.value.as_ref().map(|value| masked(Part::Value, value, RAW_VALUE_MAX_BYTES)),
        headers: headers.collect(),
        headers_left_out: record.headers.len().saturating_sub(RAW_MAX_HEADERS),
    }
}

/// Returns at most `most` bytes, without a partial UTF-8 character at the end.
fn cut(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    let continues = |at: &usize| bytes[*at] & 0b1100_0000 == 0b1000_0000;
    // A UTF-8 character has at most 4 bytes.
    let end = (most.saturating_sub(3)..=most).rev().find(|at| !continues(at)).unwrap_or(most);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{NoSchemas, Topics};
    use crate::event::DROPPED_COLUMNS;

    fn record(topic: &str, value: Vec<u8>) -> Record {
        let long = Bytes::from(vec![0_u8; 1 << 10]);
        Record {
            topic: topic.into(),
            partition: 0,
            offset: 1,
            timestamp_ms: 1,
            key: Some(Bytes::from_static(br#"{"id":"00000000-0000-0000-0000-000000000001"}"#)),
            value: Some(value.into()),
            headers: (0..RAW_MAX_HEADERS + 2).map(|_| ("é".repeat(80).into(), long.clone())).collect(),
            defect: None,
            origin: None,
            lsn_delta: 0,
        }
    }

    #[test]
    fn what_is_shown_of_a_record_is_bounded_and_has_nothing_private_however_it_is_cut() {
        const CANARY: &str = "canary-7f3a";
        let decoder = Decoder::new(Topics::default(), Arc::new(NoSchemas));
        for topic in ["cdc.users", "cdc.posts", "events", "elsewhere"] {
            for before in (0..40).chain(RAW_VALUE_MAX_BYTES - 60..RAW_VALUE_MAX_BYTES + 2) {
                for column in DROPPED_COLUMNS {
                    let value = format!(r#"{{"a":"{}","{column}":"{CANARY}","b":"{CANARY}"}}"#, "x".repeat(before));
                    let shown = raw(&decoder, &record(topic, value.clone().into_bytes()));
                    let part = shown.value.unwrap();
                    assert_eq!(part.whole_bytes, value.len() as u64);
                    assert!(part.bytes.len() <= RAW_VALUE_MAX_BYTES);
                    let text = String::from_utf8(part.bytes).unwrap();
                    // If a topic has no private columns, nova shows the value of a member even if the value looks
                    // private.
                    let found = text.split(&format!("\"{column}\"")).nth(1).unwrap_or_default();
                    let own = found.split("\"b\"").next().unwrap_or_default();
                    assert!(!own.contains("canary"), "{topic} {column} {before}");
                    assert!(topic != "cdc.users" || !text.contains("canary"), "{topic} {before}");
                }
            }
        }
        let shown = raw(&decoder, &record("events", vec![0xff; 1 << 20]));
        assert_eq!((shown.headers.len(), shown.headers_left_out), (RAW_MAX_HEADERS, 2));
        for (name, value) in &shown.headers {
            assert!(name.len() <= RAW_NAME_MAX_BYTES && value.bytes.len() <= RAW_PART_MAX_BYTES);
            assert_eq!(value.whole_bytes, 1 << 10);
        }
    }

    /// The test has spellings of a private member that nova can recognise only if the whole text is present. The test
    /// cuts each spelling at every position.
    #[test]
    fn no_writing_of_a_private_member_is_shown_where_a_record_is_cut() {
        let decoder = Decoder::new(Topics::default(), Arc::new(NoSchemas));
        for member in [
            r#""meta":"{\"email\":\n\"CANARY\"}""#,
            r#""meta":"{\"email\"\n:\"CANARY\"}""#,
            r#""m":"{\"n\":\"{\\\"email\\\":\\t\\\"CANARY\\\"}\"}""#,
            r#""email_":"CANARY""#,
            r#""m":"{\"email\"\u003a\"CANARY\"}""#,
            r#""m":"{\"\u005cu0065mail\":\"CANARY\"}""#,
        ] {
            for before in (RAW_VALUE_MAX_BYTES - 100..RAW_VALUE_MAX_BYTES).step_by(3) {
                let value = format!(r#"{{"a":"{}",{member},"z":1}}"#, "x".repeat(before - 8));
                let shown = raw(&decoder, &record("elsewhere", value.into_bytes())).value.unwrap();
                assert!(shown.bytes.len() <= RAW_VALUE_MAX_BYTES);
                assert!(!String::from_utf8_lossy(&shown.bytes).contains("CA"), "{member} {before}");
            }
        }
    }

    #[test]
    fn a_cut_leaves_whole_characters() {
        let text = "a€".repeat(9);
        for most in 0..text.len() + 2 {
            let cut = std::str::from_utf8(cut(text.as_bytes(), most)).unwrap();
            assert!(cut.len() <= most && cut.len() + 3 >= most.min(text.len()), "{most}");
        }
        assert_eq!(cut(&[0x80; 9], 5).len(), 5, "what is no text is cut where it is");
    }
}
