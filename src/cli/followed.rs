//! Finds the store's position in PostgreSQL's log, even while a node runs.

use nova_storage::codec::OffsetRow;
use nova_storage::schema::OFFSETS;
use nova_storage::{Options, Store};
use serde_json::{Value, json};

use crate::app::{self, AppError};
use crate::config::Config;
use crate::source::postgres::link;
use crate::source::postgres::lsn::{lsn_text, parse_lsn};
use crate::source::postgres::position::{Phase, Position};

use super::error::CliError;
use super::remote::{Node, Place, Remote};

/// The stopped store or running node that knows the position in PostgreSQL's log.
pub(super) enum Followed {
    /// The stopped store with its position, or `None` if no store exists or the store does not follow the slot.
    Store(Option<Box<Position>>),
    /// The running node that has the store.
    Node { state: String, reason: Option<String>, committed_lsn: u64 },
}

impl Followed {
    pub fn words(&self) -> String {
        match self {
            Followed::Store(None) => "there is none here that follows the slot".to_owned(),
            Followed::Store(Some(position)) => match position.phase {
                Phase::Snapshot => "a stopped one, which reads all tables at the next start".to_owned(),
                Phase::Stream => format!("a stopped one, which has everything up to {}", lsn_text(position.end_lsn)),
            },
            Followed::Node { state, reason, committed_lsn } => {
                let reason = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
                match committed_lsn {
                    // The rows of a first snapshot count only at the snapshot's end, so the node has no position before
                    // the snapshot's end.
                    0 => format!("of a running node, {state}{reason}, which has no position in the log yet"),
                    lsn => format!("of a running node, {state}{reason}, which has everything up to {}", lsn_text(*lsn)),
                }
            }
        }
    }

    pub fn document(&self) -> Value {
        match self {
            Followed::Store(None) => Value::Null,
            Followed::Store(Some(position)) => {
                json!({ "running": false, "snapshot": position.phase == Phase::Snapshot, "lsn": lsn_text(position.end_lsn) })
            }
            Followed::Node { state, reason, committed_lsn } => {
                json!({ "running": true, "state": state, "reason": reason, "lsn": lsn_text(*committed_lsn) })
            }
        }
    }
}

/// Asks the named node, or the node that has the store of the data directory, for the position. If no node has the
/// store, the function reads the position from the store.
pub(super) fn followed(slot: &str, remote: &Remote, config: &Config) -> Result<Followed, CliError> {
    let path = app::store_path(&config.data_dir);
    let open = || match path.exists() {
        true => Ok(Some(Store::open(&path, &Options::default(), |_| {}).map_err(AppError::from)?)),
        false => Ok(None),
    };
    match remote.place_of(&config.data_dir, open)? {
        Place::Stopped(None) => Ok(Followed::Store(None)),
        Place::Stopped(Some(store)) => of_store(&store, slot),
        Place::Running(node) => of_node(&node),
    }
}

fn of_store(store: &Store, slot: &str) -> Result<Followed, CliError> {
    let name = link::partition(slot);
    let read = store.read().map_err(AppError::from)?;
    let cookie = |bytes: &[u8]| OffsetRow::decode(bytes).map(|(_, cookie)| cookie.to_vec());
    let cookie = read.get_with(OFFSETS, (&*name.topic, name.partition), cookie).map_err(AppError::from)?;
    let cookie = cookie.transpose().map_err(|error| CliError::Failed(format!("the store's position: {error}")))?;
    let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) else { return Ok(Followed::Store(None)) };
    let position =
        Position::decode(&cookie).map_err(|error| CliError::Failed(format!("the store's position: {error}")))?;
    Ok(Followed::Store(Some(Box::new(position))))
}

fn of_node(node: &Node) -> Result<Followed, CliError> {
    let state = node.get("cdc")?;
    let slot = &state["slot"];
    let Some(name) = slot["state"].as_str() else {
        return Err(CliError::Failed("the node does not follow PostgreSQL itself".to_owned()));
    };
    Ok(Followed::Node {
        state: name.to_owned(),
        reason: slot["reason"].as_str().map(str::to_owned),
        committed_lsn: slot["committed_lsn"].as_str().and_then(parse_lsn).unwrap_or(0),
    })
}
