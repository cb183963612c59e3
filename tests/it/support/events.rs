//! Client events with duplicates, conflicts and malformed events, and the required outcomes of the events.

use std::collections::BTreeMap;

use nova::event::{Action, ClientEvent, Id, Record};

/// A small deterministic generator of random numbers (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

pub const PARTITIONS: u64 = 3;
pub const BEGIN_MS: i64 = 1_795_132_800_000;

/// The required outcomes of the events that `mix` makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub applied: u64,
    pub duplicate: u64,
    pub conflicts: u64,
    pub dead: u64,
    /// The number of accepted events by (post, action).
    pub accepted: BTreeMap<(Id, u8), u64>,
}

/// Makes `count` records on three partitions: 10 % of the records repeat an event, 1 % repeat an id with different
/// content, and 1 % are malformed.
pub fn mix(count: u64, seed: u64) -> (Vec<Record>, Expected) {
    let mut rng = Rng(seed);
    let (mut records, mut expected) = (Vec::new(), Expected::default());
    let mut sent: Vec<ClientEvent> = Vec::new();
    let mut offsets = [0i64; PARTITIONS as usize];
    for number in 0..count {
        let arrival_ms = BEGIN_MS + number as i64 * 20;
        let value = match rng.below(100) {
            0..10 if !sent.is_empty() => {
                expected.duplicate += 1;
                encode(&sent[rng.below(sent.len() as u64) as usize])
            }
            10 if !sent.is_empty() => {
                expected.duplicate += 1;
                expected.conflicts += 1;
                let mut other = sent[rng.below(sent.len() as u64) as usize].clone();
                other.dwell_ms += 1 + rng.below(1_000) as u32;
                encode(&other)
            }
            11 => {
                expected.dead += 1;
                ["{", "[]", "{\"user_id\":1}", "\u{0}\u{0}"][rng.below(4) as usize].as_bytes().to_vec()
            }
            _ => {
                let event = ClientEvent {
                    event_id: Id::from_u128(u128::from(rng.next()) << 64 | u128::from(number)),
                    user_id: Id::from_u128(1 << 100 | u128::from(rng.below(500))),
                    post_id: Id::from_u128(2 << 100 | u128::from(rng.below(100))),
                    author_id: None,
                    action: Action::ALL[rng.below(5) as usize],
                    event_time_ms: arrival_ms - rng.below(60_000) as i64,
                    dwell_ms: rng.below(10_000) as u32,
                    device: "ios".into(),
                    app_ver: "1.0".into(),
                };
                expected.applied += 1;
                *expected.accepted.entry((event.post_id, event.action as u8)).or_default() += 1;
                sent.push(event);
                encode(&sent[sent.len() - 1])
            }
        };
        let partition = rng.below(PARTITIONS) as usize;
        records.push(Record {
            topic: "events".into(),
            partition: partition as i32,
            offset: offsets[partition],
            timestamp_ms: arrival_ms,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
            defect: None,
            origin: None,
            lsn_delta: 0,
        });
        // Kafka's offsets may have gaps, which transaction markers and compaction make.
        offsets[partition] += 1 + i64::from(rng.below(50) == 0);
    }
    (records, expected)
}

fn encode(event: &ClientEvent) -> Vec<u8> {
    nova::decode::client::encode(event)
}

/// Returns the records as the lines of a capture.
pub fn lines(records: &[Record]) -> String {
    let text = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut out = String::new();
    for record in records {
        let line = serde_json::json!({
            "topic": &*record.topic, "partition": record.partition, "offset": record.offset,
            "timestamp_ms": record.timestamp_ms, "key": text(&record.key), "value": text(&record.value),
        });
        out.push_str(&line.to_string());
        out.push('\n');
    }
    out
}

/// Returns the number of events of each action that count on each day, for all users together. The result is the same
/// for every order of the partitions.
pub fn days(state: &nova::state::State) -> BTreeMap<i32, [u64; 5]> {
    (0..100_000).filter_map(|day| Some((day, state.daily.day(day)?.events))).collect()
}
