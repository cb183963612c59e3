//! The clients of the product: the events that they send, and the required outcome of each event.

use std::collections::{BTreeMap, BTreeSet};

use nova::event::{Action, ClientEvent, Id};

use crate::support::events::Rng;

pub const DAY_MS: i64 = 86_400_000;
const USERS: u64 = 12;
/// The number at the end of the event ids that a constraint of ClickHouse refuses.
const POISON: u128 = 0xdead;

/// The required outcome of an event, in the order in which nova consumes the events of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Accepted,
    Duplicate,
    Conflict,
    Late,
}

/// The user and the id of an event.
pub type Key = (Id, Id);

pub struct Clients {
    rng: Rng,
    sent: Vec<ClientEvent>,
    pub accepted: BTreeMap<Key, ClientEvent>,
    /// The events whose outcome must be accepted or late; which of the two outcomes is right depends on the clock at
    /// the time of reading.
    pub either: BTreeSet<Key>,
    /// The times of the impressions, views and shares that count, by (user, post, action).
    counted: BTreeMap<(Id, Id, u8), Vec<i64>>,
    /// For each post, the number of its impressions, views and shares that count.
    pub counts: BTreeMap<Id, [i64; 3]>,
    made: u64,
}

impl Clients {
    pub fn new(seed: u64) -> Clients {
        let (sent, accepted, either, counted, counts) = Default::default();
        Clients { rng: Rng(seed), sent, accepted, either, counted, counts, made: 0 }
    }

    pub fn user(number: u64) -> Id {
        Id::from_u128(7 << 100 | u128::from(number))
    }

    pub fn pick_user(&mut self) -> u64 {
        self.rng.below(USERS)
    }

    /// Draws an event of the user: a new event, an event from yesterday, a repeated event, or a repeated id with new
    /// content. With `poison`, ClickHouse may refuse the row of the event. With `retried`, the event may arrive again
    /// later, as a second record.
    pub fn event(&mut self, number: u64, post: Id, now_ms: i64, (poison, retried): (bool, bool)) -> ClientEvent {
        let user_id = Clients::user(number);
        let dice = self.rng.below(20);
        let own: Vec<_> = self.sent.iter().filter(|event| event.user_id == user_id).cloned().collect();
        if dice < 4 && !own.is_empty() {
            let mut event = own[self.rng.below(own.len() as u64) as usize].clone();
            event.dwell_ms += u32::from(dice == 0);
            return event;
        }
        self.made += 1;
        let mut id = u128::from(self.rng.next()) << 64 | u128::from(self.made) << 16;
        if poison && self.rng.below(15) == 0 {
            id |= POISON;
        }
        let mut event_id = Id::from_u128(id);
        // An event id belongs to its user, so the events of two users may have one id.
        if self.rng.below(10) == 0 && !self.sent.is_empty() {
            let other = self.sent[self.rng.below(self.sent.len() as u64) as usize].event_id;
            if own.iter().all(|event| event.event_id != other) {
                event_id = other;
            }
        }
        let age_ms = match self.rng.below(12) {
            0 => DAY_MS + self.rng.below(1 << 30) as i64,
            1 if !retried => self.rng.below(20 * 3_600_000) as i64,
            2 if !retried => -(self.rng.below(300_000) as i64),
            _ => self.rng.below(60_000) as i64,
        };
        let event = ClientEvent {
            event_id,
            user_id,
            post_id: post,
            author_id: None,
            action: Action::ALL[self.rng.below(5) as usize],
            event_time_ms: now_ms - age_ms,
            dwell_ms: self.rng.below(10_000) as u32,
            device: "ios:1".into(),
            app_ver: "1.0".into(),
        };
        self.sent.push(event.clone());
        event
    }

    /// Returns an event of a device; the clocks of the device and of its producer are ahead. The event is a like and
    /// does not count, because the simulation counts likes from rows.
    pub fn event_ahead(&mut self, number: u64, post: Id, now_ms: i64, ahead_ms: i64) -> ClientEvent {
        self.made += 1;
        let event = ClientEvent {
            event_id: Id::from_u128(u128::from(self.rng.next()) << 64 | u128::from(self.made) << 16),
            user_id: Clients::user(number),
            post_id: post,
            author_id: None,
            action: Action::Like,
            event_time_ms: now_ms + if self.rng.below(2) == 0 { ahead_ms } else { 0 },
            dwell_ms: 0,
            device: "ios:1".into(),
            app_ver: "1.0".into(),
        };
        self.either.insert((event.user_id, event.event_id));
        event
    }

    /// Notes that nova consumes the event as the next event of its user, and returns the required outcome.
    pub fn consumed(&mut self, event: &ClientEvent, arrival_ms: i64) -> Fate {
        if arrival_ms - event.event_time_ms > DAY_MS {
            return Fate::Late;
        }
        match self.accepted.get(&(event.user_id, event.event_id)) {
            Some(known) if known == event => return Fate::Duplicate,
            Some(_) => return Fate::Conflict,
            None => {}
        }
        self.accepted.insert((event.user_id, event.event_id), event.clone());
        let at_ms = event.event_time_ms.min(arrival_ms);
        let index = match event.action {
            Action::Impression => 0,
            Action::View => 1,
            Action::Share => 2,
            Action::Like | Action::Comment => return Fate::Accepted,
        };
        let counted = self.counted.entry((event.user_id, event.post_id, event.action as u8)).or_default();
        let before = |then: &i64| *then <= at_ms && at_ms - then < DAY_MS;
        if !counted.iter().any(before) {
            counted.push(at_ms);
            self.counts.entry(event.post_id).or_default()[index] += 1;
        }
        Fate::Accepted
    }
}

/// Whether the constraint of `post_events` refuses a row. A row begins with the event's id: the first 8 bytes are the
/// high half of the id, and the next 8 bytes are the low half.
pub fn refused(row: &[u8]) -> bool {
    row[8..10] == (POISON as u16).to_le_bytes()
}

/// Returns the user and the id of the event in a row of `post_events`.
pub fn key_of(row: &[u8]) -> Key {
    (nova::warehouse::rows::id(&row[24..40]), nova::warehouse::rows::id(row))
}
