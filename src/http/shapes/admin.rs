//! The forms of the answers for people with the role admin.

use schemars::JsonSchema;
use serde::Serialize;

use super::node::CheckState;
use crate::event::Outcome;
use crate::pipeline::audit::Listed;
use crate::pipeline::dead::Summary;
use crate::pipeline::meta::TableTold;
use crate::pipeline::writer::{CommandError, Replayed, Tried};
use crate::schema::{Uuid, example};
use crate::source::postgres::lsn::lsn_text;
use crate::source::postgres::status::View;

/// A rule that revokes tokens before they expire.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "kind": "user_id", "id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "before": "2026-11-24T06:00:00.000000Z",
    "expires_at": null
}"#))]
pub struct Revocation {
    pub kind: RevokedBy,
    pub id: String,
    /// The time before which the revoked tokens were issued, or null if the rule revokes all tokens.
    #[schemars(extend("format" = "date-time"))]
    pub before: Option<String>,
    /// The time when nova drops the rule, or null if the rule never ends.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevokedBy {
    Jti,
    UserId,
    KeyId,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "revocations": [], "total": 0 }"#))]
pub struct RevocationPage {
    pub revocations: Vec<Revocation>,
    /// The number of revocations on all pages.
    pub total: usize,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "entries": [] }"#))]
pub struct AuditPage {
    pub entries: Vec<Listed>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "letters": [], "total": 0 }"#))]
pub struct DeadLetters {
    pub letters: Vec<Summary>,
    /// The number of dead letters on all pages.
    pub total: i64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "results": [{ "id": 7, "outcome": "applied", "detail": "" }] }"#))]
pub struct Replays {
    pub results: Vec<Replay>,
}

/// The outcome of a dead letter's replay, or of a dry run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Replay {
    pub id: u64,
    /// `kept` if the letter stays a dead letter, otherwise the outcome of the record.
    pub outcome: &'static str,
    pub detail: String,
}

impl Replay {
    pub fn of(id: u64, result: Result<Replayed, CommandError>) -> Replay {
        let (outcome, detail) = match result {
            Ok(Replayed::Gone(outcome)) => (outcome.name(), String::new()),
            Ok(Replayed::StillDead) => ("kept", "still cannot be decoded".to_owned()),
            Err(error) => ("kept", error.to_string()),
        };
        Replay { id, outcome, detail }
    }

    /// The outcome of a dry run.
    pub fn tried(id: u64, result: Result<Tried, CommandError>) -> Replay {
        match result {
            Ok(Tried { outcome, why }) => Replay { id, outcome: outcome.map_or("kept", Outcome::name), detail: why },
            Err(error) => Replay { id, outcome: "kept", detail: error.to_string() },
        }
    }
}

/// The state of the source tables and of the partitions.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "tables": [{ "table": "posts", "epoch": 0, "halted": null, "partitions": 1 }],
    "partitions": [{ "topic": "cdc.posts", "partition": 0, "next_offset": 4711, "consumed": 4711, "held": null }],
    "slot": null
}"#))]
pub struct SourceState {
    pub tables: Vec<TableTold>,
    pub partitions: Vec<PartitionTold>,
    /// The replication slot, if changes come from PostgreSQL directly.
    pub slot: Option<SlotTold>,
}

/// The replication slot. A position in the log is an LSN, in the form in which PostgreSQL prints it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReplicationSlot")]
pub struct SlotTold {
    /// The state of the follower: `starting`, `away`, `unfit`, `snapshot`, `streaming`, `stopped` or `closed`.
    pub state: &'static str,
    /// The reason why nova does not stream from the slot, or null if nova streams.
    pub reason: Option<String>,
    /// The end of the server's log, as the server last reported it.
    pub server_lsn: String,
    /// The position up to which the server had sent the log to nova at the last check. The position is null if nova
    /// does not stream, or if nova's role may not see the position.
    pub sent_lsn: Option<String>,
    /// The position up to which nova has received the log. This position is the end of the last whole transaction, or a
    /// later position before which the server had nothing more to send.
    pub received_lsn: String,
    /// The position in the log up to which the store has all changes.
    pub committed_lsn: String,
    /// The position in the log that nova last acknowledged to the server.
    pub told_lsn: String,
    /// The bytes of the server's log after the committed position.
    pub lag_bytes: u64,
    /// The bytes of the write-ahead log that the server keeps for the slot.
    pub held_bytes: Option<u64>,
    /// The bytes that the server may still write before it invalidates the slot, or null if the server has no limit.
    pub safe_bytes: Option<i64>,
}

impl SlotTold {
    pub fn of(view: &View) -> SlotTold {
        let slot = view.seen.slot.as_ref();
        SlotTold {
            state: view.state.name(),
            reason: view.reason(),
            server_lsn: lsn_text(view.server_lsn),
            sent_lsn: slot.and_then(|slot| slot.sent_lsn).map(lsn_text),
            received_lsn: lsn_text(view.received_lsn),
            committed_lsn: lsn_text(view.committed_lsn),
            told_lsn: lsn_text(view.told_lsn),
            lag_bytes: view.lag_bytes(),
            held_bytes: slot.map(|slot| slot.held_bytes(view.seen.flush_lsn)),
            safe_bytes: slot.and_then(|slot| slot.safe_wal_bytes),
        }
    }
}

/// The tables that nova reads again from PostgreSQL.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true, "tables": ["posts"] }"#))]
pub struct ReadAgain {
    pub success: bool,
    pub tables: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SourcePartition")]
pub struct PartitionTold {
    pub topic: String,
    pub partition: i32,
    /// The offset of the next record to consume.
    pub next_offset: i64,
    pub consumed: u64,
    /// The reason why the partition waits for a person, or null if it does not wait.
    pub held: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true, "epoch": 1 }"#))]
pub struct EpochRaised {
    pub success: bool,
    pub epoch: u16,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true, "topic": "cdc.posts", "partition": 0, "next_offset": 4711 }"#))]
pub struct Sought {
    pub success: bool,
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
}

/// An operator's decision to pin or to block a post.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "action": "pin", "place": 3
}"#))]
pub struct TrendingOverride {
    pub post_id: Uuid,
    pub action: OverrideAction,
    /// The place of a pinned post, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverrideAction {
    Pin,
    Block,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "overrides": [] }"#))]
pub struct TrendingOverrides {
    pub overrides: Vec<TrendingOverride>,
}

/// The progress of the check of the store's pages.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "StoreCheck", example = example(r#"{
    "store": "/var/lib/nova/nova.redb", "check": "running", "bytes": 52428800, "checked_bytes": 13107200, "detail": null
}"#))]
pub struct StoreChecked {
    /// The path of the store on the node's machine.
    pub store: String,
    pub check: CheckState,
    /// The size of the store's file in bytes.
    pub bytes: u64,
    pub checked_bytes: u64,
    /// The damage that the check found in the store, or null if it found none.
    pub detail: Option<String>,
}

/// The result of a backup of the store.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "success": true, "file": "/var/lib/nova/backups/monday", "entries": 90112,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}"#))]
pub struct BackedUp {
    pub success: bool,
    /// The path of the backup on the node's machine.
    pub file: String,
    pub entries: u64,
    /// The SHA-256 in the backup's manifest, in hexadecimal digits.
    pub sha256: String,
}

/// The quotas of requests, the counts of decisions, and nova's health.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "enabled": true, "health": { "factor": 1.0, "commit_ms": 1.4 }, "callers": 3,
    "classes": [{ "class": "feed", "per_s": 100, "granted": 812, "over_quota": 0, "shed": 0 }]
}"#))]
pub struct LimitsState {
    pub enabled: bool,
    pub health: HealthState,
    /// The number of remembered callers.
    pub callers: usize,
    pub classes: Vec<ClassState>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HealthState {
    /// The part of every caller's rate that nova grants, from 0 to 1.
    pub factor: f64,
    /// The mean time of a commit, in milliseconds.
    pub commit_ms: f64,
}

/// A class of requests, with each caller's rate per second, and with the number of requests by decision.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClassState {
    pub class: &'static str,
    pub per_s: u32,
    pub granted: u64,
    pub over_quota: u64,
    pub shed: u64,
}

/// A source table.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableName {
    Users,
    Posts,
    Follows,
    Comments,
    Likes,
}

/// What nova does with the TRUNCATE that halted a table: nova empties the table, or ignores the TRUNCATE.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TruncateDecision {
    Apply,
    Ignore,
}

/// A difference between the rows in the store and in ClickHouse, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

/// The result of a comparison with ClickHouse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "findings": [], "changing_hours": 1 }"#))]
pub struct Comparison {
    pub findings: Vec<Difference>,
    /// nova compares the rows of a table by the hour of their creation. This is the number of hours that nova could not
    /// compare because their rows changed during the comparison.
    pub changing_hours: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::postgres::slot::{Seen, SlotRow};

    #[test]
    fn a_slot_has_what_was_sent_and_received_and_what_the_role_may_not_see_is_null() {
        let row = SlotRow { sent_lsn: Some(0x1_0000_00b0), restart_lsn: Some(0x1_0000_0000), ..SlotRow::default() };
        let seen = Seen { slot: Some(row), flush_lsn: 0x1_0000_00c0, ..Seen::default() };
        let mut view = View { seen, server_lsn: 0x1_0000_00c0, received_lsn: 0x1_0000_00a0, ..View::default() };
        let told = SlotTold::of(&view);
        assert_eq!((told.sent_lsn.as_deref(), &*told.received_lsn), (Some("1/B0"), "1/A0"));
        assert_eq!((&*told.server_lsn, told.held_bytes), ("1/C0", Some(0xc0)));
        view.seen.slot = Some(SlotRow::default());
        assert_eq!(SlotTold::of(&view).sent_lsn, None);
    }
}
