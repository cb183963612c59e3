//! Finds the dead letters that a forced replay must leave out. A forced replay includes events that are older than the
//! dedup horizon. Only ClickHouse knows whether nova has already accepted an event from before the dedup horizon.

use std::collections::{BTreeMap, BTreeSet};

use nova_storage::{ReadError, Store};

use crate::decode::Decoder;
use crate::event::{Decoded, Id};
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::verdict::Failure;

use super::dead;

/// The maximum number of ids in one query.
const ASKED_MAX: usize = 1_000;

/// The reason for which it is unknown whether ClickHouse has the events.
#[derive(Debug, thiserror::Error)]
pub enum SentError {
    #[error("ClickHouse: {0}")]
    ClickHouse(#[from] Failure),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Returns those of the given dead letters whose event is already a row of `post_events`.
pub async fn sent(
    store: &Store,
    decoder: &mut Decoder,
    clickhouse: &ClickHouse,
    letters: &[u64],
) -> Result<BTreeSet<u64>, SentError> {
    let mut found = BTreeSet::new();
    for letters in letters.chunks(ASKED_MAX) {
        let events = events(store, decoder, letters)?;
        if events.is_empty() {
            continue;
        }
        let ids: Vec<_> = events.keys().map(|(event, _)| format!("'{event}'")).collect();
        let sql = format!(
            "SELECT DISTINCT toString(event_id), toString(user_id) FROM post_events WHERE event_id IN ({})",
            ids.join(", ")
        );
        for row in clickhouse.rows(&sql).await? {
            let id = |field: usize| Id::parse(row.get(field)?.as_bytes()).ok();
            let key = id(0).zip(id(1));
            found.extend(key.and_then(|key| events.get(&key)).into_iter().flatten());
        }
    }
    Ok(found)
}

/// Returns the dead letters, grouped by the event's id and the user.
fn events(store: &Store, decoder: &mut Decoder, letters: &[u64]) -> Result<BTreeMap<(Id, Id), Vec<u64>>, ReadError> {
    let (read, mut events) = (store.read()?, BTreeMap::<_, Vec<u64>>::new());
    for letter in letters {
        let Some(stored) = dead::get(&read, *letter)? else { continue };
        if let Decoded::Event(event) = decoder.decode(&dead::record(&stored)) {
            events.entry((event.event_id, event.user_id)).or_default().push(*letter);
        }
    }
    Ok(events)
}
