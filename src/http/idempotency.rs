//! Requests with the same `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) and the same content have one
//! effect, and get the same answer.
//!
//! nova keeps the answer in the edge's table for a day. If nova crashes between the commit of a request's events and
//! the commit of the answer, the repeated request finds the events, because nova makes their ids from the idempotency
//! key.

#![warn(clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use crate::event::Id;
use crate::pipeline::writer::EdgeEntry;

use super::canonical::canonical;
use super::durable::Durable;
use super::error::Problem;
use super::{answers, encoding};

/// The kind of those entries of the edge's table that contain answers. The name of an entry consists of the user's id
/// and a hash of the idempotency key.
pub const KIND: &str = "idempotency";
/// The time for which nova keeps the answer to an idempotency key.
pub const KEEP_MS: i64 = 86_400_000;
/// The most answers that nova keeps for one user. If a user is at this limit, a new answer removes the user's oldest
/// answer.
pub const PER_USER_MAX: usize = 1_000;
/// The most answers that nova keeps for all users. At this limit, a new answer removes the oldest answer.
pub const ALL_MAX: usize = 50_000;
/// The most bytes of an answer that nova keeps. nova does not keep a longer answer, but still recognises repeated
/// events by their ids.
const ANSWER_MAX_BYTES: usize = 32 << 10;
const KEY_MAX_BYTES: usize = 128;
const HEADER: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";
const VALUE_VERSION: u8 = 1;

/// A user's idempotency key in hashed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    user: Id,
    hash: [u8; 16],
}

impl Key {
    /// The idempotency key of a request, which may be a structured-field string or plain text.
    pub fn of(headers: &HeaderMap, user: Id) -> Result<Option<Key>, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.to_str().unwrap_or_default().trim();
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if values.next().is_some() || text.is_empty() || text.len() > KEY_MAX_BYTES {
            let detail = format!("Idempotency-Key: one of 1 to {KEY_MAX_BYTES} printable characters");
            return Err(Problem::InvalidParameter { field: "idempotency-key", detail });
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Ok(Some(Key { user, hash }))
    }

    /// The id of the request's event at `index`, if the event has no id of its own.
    pub fn event_id(&self, index: usize) -> Id {
        let digest = Sha256::new().chain_update(self.user.0).chain_update(self.hash);
        let digest: [u8; 32] = digest.chain_update((index as u64).to_le_bytes()).finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Id(uuid::Builder::from_custom_bytes(id).into_uuid().into_bytes())
    }

    fn name(&self) -> Vec<u8> {
        [self.user.0, self.hash].concat()
    }
}

/// A hash of the meaning of a request's body. A client that repeats a request may write the JSON with a different order
/// of members or with different white space.
#[derive(Clone, Copy)]
struct Fingerprint {
    content: [u8; 32],
    /// The hash of the body's bytes as they were sent, which earlier versions of nova stored.
    bytes: [u8; 32],
}

impl Fingerprint {
    fn of(body: &[u8]) -> Fingerprint {
        let bytes: [u8; 32] = Sha256::digest(body).into();
        // nova compares a body by its bytes if the body is no JSON, or JSON without a single meaning.
        let content = canonical(body).map_or(bytes, |form| Sha256::digest(form).into());
        Fingerprint { content, bytes }
    }

    /// Whether a stored hash is the hash of this request's body. An earlier version of nova may have stored the hash.
    fn is(&self, kept: &[u8; 32]) -> bool {
        self.content == *kept || self.bytes == *kept
    }
}

/// The result of a request, and whether nova must keep the answer.
pub(super) struct Worked {
    pub response: Response<Full<Bytes>>,
    /// Whether nova accepted at least a part of the request, in this attempt or in an earlier attempt. A request that
    /// nova refused as a whole changed nothing, so the client may send a corrected request with the same key.
    pub taken: bool,
}

/// An answer that nova sent to a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    request: [u8; 32],
    expires_ms: i64,
    status: u16,
    body: Bytes,
}

impl Given {
    fn encode(&self) -> Vec<u8> {
        let head = [&[VALUE_VERSION][..], &self.request, &self.expires_ms.to_le_bytes(), &self.status.to_le_bytes()];
        [&head.concat()[..], &self.body].concat()
    }

    fn decode(value: &[u8]) -> Option<Given> {
        let (request, rest) = value.strip_prefix(&[VALUE_VERSION])?.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (status, body) = rest.split_first_chunk()?;
        Some(Given {
            request: *request,
            expires_ms: i64::from_le_bytes(*expires),
            status: u16::from_le_bytes(*status),
            body: Bytes::copy_from_slice(body),
        })
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::ACCEPTED);
        let mut response = answers::json(status, String::new());
        *response.body_mut() = Full::new(self.body.clone());
        response.headers_mut().insert(REPLAYED, http::HeaderValue::from_static("true"));
        response
    }
}

enum State {
    OnItsWay([u8; 32]),
    Done(Given),
}

/// The stored answers to requests with idempotency keys. Clones of this value share the answers.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    states: FxHashMap<Key, State>,
    /// The keys of stored answers, oldest first, for each user and for all users. A list may still have the key of a
    /// removed answer.
    per_user: FxHashMap<Id, VecDeque<Key>>,
    all: VecDeque<Key>,
}

impl Inner {
    fn keep(&mut self, key: Key, given: Given) {
        self.states.insert(key, State::Done(given));
        self.per_user.entry(key.user).or_default().push_back(key);
        self.all.push_back(key);
    }

    fn drop_key(&mut self, key: &Key) {
        self.states.remove(key);
        if let Some(keys) = self.per_user.get_mut(&key.user) {
            keys.retain(|known| known != key);
            if keys.is_empty() {
                self.per_user.remove(&key.user);
            }
        }
        if self.all.front() == Some(key) {
            self.all.pop_front();
        } else {
            self.all.retain(|known| known != key);
        }
    }

    /// The answers that nova must remove before it keeps one more answer of the user.
    fn surplus(&self, user: Id) -> Vec<Key> {
        let own = self.per_user.get(&user).filter(|keys| keys.len() >= PER_USER_MAX);
        let oldest = (self.all.len() >= ALL_MAX).then(|| self.all.front()).flatten();
        own.and_then(VecDeque::front).or(oldest).copied().into_iter().collect()
    }
}

/// The next step of a request with an idempotency key.
enum Turn {
    Go(OnItsWay),
    Answered(Response<Full<Bytes>>),
}

/// A request that nova is handling. If the request ends without an answer, its idempotency key is free again.
struct OnItsWay {
    answers: Answers,
    key: Key,
    request: [u8; 32],
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut inner = self.answers.0.lock();
        if matches!(inner.states.get(&self.key), Some(State::OnItsWay(_))) {
            inner.states.remove(&self.key);
        }
    }
}

impl Answers {
    /// Loads the stored answers. nova skips malformed entries of the edge's table.
    pub fn load(&self, entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
        let mut known: Vec<_> = entries
            .filter_map(|(name, value)| {
                let (user, hash) = name.split_first_chunk::<16>()?;
                let key = Key { user: Id(*user), hash: hash.try_into().ok()? };
                Some((key, Given::decode(&value)?))
            })
            .collect();
        known.sort_by_key(|(_, given)| given.expires_ms);
        let mut inner = self.0.lock();
        known.into_iter().for_each(|(key, given)| inner.keep(key, given));
    }

    fn begin(&self, key: Key, request: Fingerprint, now_ms: i64) -> Result<Turn, Problem> {
        let mut inner = self.0.lock();
        match inner.states.get(&key) {
            Some(State::OnItsWay(known)) if request.is(known) => return Err(Problem::IdempotencyConflict),
            Some(State::OnItsWay(_)) => return Err(Problem::IdempotencyMismatch),
            Some(State::Done(given)) if given.expires_ms > now_ms => {
                let same = request.is(&given.request);
                return if same { Ok(Turn::Answered(given.response())) } else { Err(Problem::IdempotencyMismatch) };
            }
            Some(State::Done(_)) => inner.drop_key(&key),
            None => {}
        }
        inner.states.insert(key, State::OnItsWay(request.content));
        Ok(Turn::Go(OnItsWay { answers: self.clone(), key, request: request.content }))
    }

    /// Removes expired answers from memory, and returns the entries to remove from the edge's table.
    pub(super) fn expire(&self, now_ms: i64, limit: usize) -> Vec<EdgeEntry> {
        let mut inner = self.0.lock();
        let mut entries = Vec::new();
        while let Some(key) = inner.all.front().copied().filter(|_| entries.len() < limit) {
            // If a stored answer expires later than a new answer would, the clock was ahead when nova made the stored
            // answer, so nova removes the stored answer too.
            let kept_ms = now_ms + 1..=now_ms + KEEP_MS;
            if matches!(inner.states.get(&key), Some(State::Done(given)) if kept_ms.contains(&given.expires_ms)) {
                break;
            }
            inner.drop_key(&key);
            entries.push(EdgeEntry { kind: KIND, name: key.name(), value: None });
        }
        entries
    }
}

/// Runs `work` once for an idempotency key and the content of a body; repeated requests get the same answer. nova keeps
/// the answer only if nova accepted at least a part of the request, because a request that nova refused as a whole
/// changed nothing.
pub(super) async fn once(
    (answers, durable): (&Answers, &Durable),
    now_ms: i64,
    (key, body): (Key, &[u8]),
    work: impl Future<Output = Result<Worked, Problem>>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let turn = answers.begin(key, Fingerprint::of(body), now_ms)?;
    let on_its_way = match turn {
        Turn::Answered(response) => return Ok(response),
        Turn::Go(on_its_way) => on_its_way,
    };
    let Worked { response, taken } = work.await?;
    if !taken || !response.status().is_success() {
        return Ok(response);
    }
    let bytes = encoding::whole(response.body()).unwrap_or_default();
    if bytes.len() <= ANSWER_MAX_BYTES {
        let status = response.status().as_u16();
        let given = Given { request: on_its_way.request, expires_ms: now_ms + KEEP_MS, status, body: bytes };
        let surplus = answers.0.lock().surplus(key.user);
        let mut entries: Vec<_> =
            surplus.iter().map(|old| EdgeEntry { kind: KIND, name: old.name(), value: None }).collect();
        entries.push(EdgeEntry { kind: KIND, name: key.name(), value: Some(given.encode()) });
        let kept = durable.put(entries, None, move || {
            let mut inner = on_its_way.answers.0.lock();
            surplus.iter().for_each(|old| inner.drop_key(old));
            inner.keep(key, given);
        });
        if kept.await.is_err() {
            // The events are durable, so the request succeeds although nova could not keep the answer.
            tracing::warn!("an answer could not be kept for its idempotency key");
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use nova_storage::codec::CodecError;
    use nova_storage::testing::mutate::check_bytes;

    use super::*;
    use proptest::prelude::*;

    fn key(user: u128, hash: u8) -> Key {
        Key { user: Id::from_u128(user), hash: [hash; 16] }
    }

    fn given(expires_ms: i64) -> Given {
        Given { request: [1; 32], expires_ms, status: 202, body: Bytes::from_static(b"{}") }
    }

    #[test]
    fn the_oldest_answers_make_room_and_expired_ones_go() {
        let answers = Answers::default();
        let mut inner = answers.0.lock();
        for n in 0..PER_USER_MAX as i64 {
            let hash = (n as u128).to_le_bytes();
            inner.keep(Key { user: Id::from_u128(1), hash }, given(n));
        }
        assert_eq!(inner.surplus(Id::from_u128(1)), [Key { user: Id::from_u128(1), hash: [0; 16] }]);
        assert_eq!(inner.surplus(Id::from_u128(2)), []);
        drop(inner);
        let gone = answers.expire(9, 5);
        assert_eq!((gone.len(), answers.expire(9, 500).len(), answers.expire(9, 500).len()), (5, 5, 0));
        assert_eq!(answers.0.lock().all.len(), PER_USER_MAX - 10);
    }

    #[test]
    fn event_ids_of_a_key_are_the_same_each_time_and_of_nobody_else() {
        assert_eq!(key(1, 1).event_id(0), key(1, 1).event_id(0));
        let ids = [key(1, 1).event_id(0), key(1, 1).event_id(1), key(1, 2).event_id(0), key(2, 1).event_id(0)];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn a_request_is_known_by_what_it_says_and_by_the_bytes_that_an_older_nova_kept() {
        let sent = br#"{"events":[{"action":"view","dwell_ms":5}]}"#;
        let again = b" {\"events\": [\n{\"dwell_ms\": 5, \"action\": \"view\"} ] }";
        let kept = Fingerprint::of(sent).content;
        assert!(Fingerprint::of(sent).is(&kept) && Fingerprint::of(again).is(&kept));
        let older: [u8; 32] = Sha256::digest(again).into();
        assert!(Fingerprint::of(again).is(&older) && !Fingerprint::of(sent).is(&older));
        for other in [&br#"{"events":[{"action":"view","dwell_ms":6}]}"#[..], b"{", b"", br#"{"a":1,"a":1}"#] {
            assert!(!Fingerprint::of(other).is(&kept));
            assert!(Fingerprint::of(other).is(&Fingerprint::of(other).content));
        }
    }

    proptest! {
        #[test]
        fn stored_answers_read_back_and_malformed_ones_are_passed_over(
            request: [u8; 32], expires_ms: i64, status: u16, body: Vec<u8>, junk: Vec<u8>,
        ) {
            let given = Given { request, expires_ms, status, body: body.into() };
            prop_assert_eq!(Given::decode(&given.encode()), Some(given));
            Answers::default().load([(junk.clone(), junk)].into_iter());
        }
    }

    proptest! {
        #[test]
        fn mutants_of_a_given_answer_are_errors_or_answers(
            request: [u8; 32], expires_ms: i64, status: u16, body: Vec<u8>, seed: u64,
        ) {
            let given = Given { request, expires_ms, status, body: body.into() };
            let read = |bytes: &[u8]| Given::decode(bytes).ok_or(CodecError::Invalid("answer"));
            check_bytes(&given.encode(), seed, read, Given::encode);
        }
    }
}
