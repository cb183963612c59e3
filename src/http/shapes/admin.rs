//! Answers to people with the role admin.

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

/// A rule that ends tokens early.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "kind": "user_id", "id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "before": "2026-11-24T06:00:00.000000Z",
    "expires_at": null
}"#))]
pub struct Revocation {
    pub kind: RevokedBy,
    pub id: String,
    /// Tokens issued before this time; null: all.
    #[schemars(extend("format" = "date-time"))]
    pub before: Option<String>,
    /// When the rule is dropped; null: never.
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
    /// Of all pages.
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
    /// Of all pages.
    pub total: i64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "results": [{ "id": 7, "outcome": "applied", "detail": "" }] }"#))]
pub struct Replays {
    pub results: Vec<Replay>,
}

/// What became of a dead letter, or would become of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Replay {
    pub id: u64,
    /// `kept`, or the outcome of the record.
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

    /// Of a dry run.
    pub fn tried(id: u64, result: Result<Tried, CommandError>) -> Replay {
        match result {
            Ok(Tried { outcome, why }) => Replay { id, outcome: outcome.map_or("kept", Outcome::name), detail: why },
            Err(error) => Replay { id, outcome: "kept", detail: error.to_string() },
        }
    }
}

/// Source tables and partitions.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "tables": [{ "table": "posts", "epoch": 0, "halted": null, "partitions": 1 }],
    "partitions": [{ "topic": "cdc.posts", "partition": 0, "next_offset": 4711, "consumed": 4711, "held": null }],
    "slot": null
}"#))]
pub struct SourceState {
    pub tables: Vec<TableTold>,
    pub partitions: Vec<PartitionTold>,
    /// Where changes come from PostgreSQL itself.
    pub slot: Option<SlotTold>,
}

/// The replication slot; places in the log as PostgreSQL prints them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReplicationSlot")]
pub struct SlotTold {
    /// `starting`, `away`, `unfit`, `snapshot`, `streaming`, `stopped` or `closed`.
    pub state: &'static str,
    /// Why it does not stream, if it does not.
    pub reason: Option<String>,
    /// The end of the server's log, as far as it has told.
    pub server_lsn: String,
    /// Up to where the store has everything.
    pub committed_lsn: String,
    /// What the server was told last.
    pub told_lsn: String,
    /// Between the two ends.
    pub lag_bytes: u64,
    /// What the server keeps of its log for the slot.
    pub held_bytes: Option<u64>,
    /// What is left of that before the server gives the slot up, where it has a limit.
    pub safe_bytes: Option<i64>,
}

impl SlotTold {
    pub fn of(view: &View) -> SlotTold {
        let slot = view.seen.slot.as_ref();
        SlotTold {
            state: view.state.name(),
            reason: view.reason(),
            server_lsn: lsn_text(view.server_lsn),
            committed_lsn: lsn_text(view.committed_lsn),
            told_lsn: lsn_text(view.told_lsn),
            lag_bytes: view.lag_bytes(),
            held_bytes: slot.map(|slot| slot.held_bytes(view.seen.flush_lsn)),
            safe_bytes: slot.and_then(|slot| slot.safe_wal_bytes),
        }
    }
}

/// Which tables are read again.
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
    /// The first offset that was not consumed.
    pub next_offset: i64,
    pub consumed: u64,
    /// Why it waits for a person, if it does.
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

/// What an operator says about a post.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "action": "pin", "place": 3
}"#))]
pub struct TrendingOverride {
    pub post_id: Uuid,
    pub action: OverrideAction,
    /// Of a pinned post, from 1.
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

/// How far the check of the store's pages is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "StoreCheck", example = example(r#"{
    "store": "/var/lib/nova/nova.redb", "check": "running", "bytes": 52428800, "checked_bytes": 13107200, "detail": null
}"#))]
pub struct StoreChecked {
    /// Where the store is, on the machine of the node.
    pub store: String,
    pub check: CheckState,
    /// The size of the file.
    pub bytes: u64,
    pub checked_bytes: u64,
    /// What is wrong with a damaged store.
    pub detail: Option<String>,
}

/// A copy of the store was made.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "success": true, "file": "/var/lib/nova/backups/monday", "entries": 90112,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}"#))]
pub struct BackedUp {
    pub success: bool,
    /// Where it is, on the machine of the node.
    pub file: String,
    pub entries: u64,
    /// Of its manifest, in hexadecimal digits.
    pub sha256: String,
}

/// Quotas, decisions, and nova's health.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "enabled": true, "health": { "factor": 1.0, "commit_ms": 1.4 }, "callers": 3,
    "classes": [{ "class": "feed", "per_s": 100, "granted": 812, "over_quota": 0, "shed": 0 }]
}"#))]
pub struct LimitsState {
    pub enabled: bool,
    pub health: HealthState,
    /// Callers that are remembered.
    pub callers: usize,
    pub classes: Vec<ClassState>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HealthState {
    /// What part of everyone's rate is granted.
    pub factor: f64,
    /// Of the mean commit.
    pub commit_ms: f64,
}

/// A class of requests: what each caller is granted a second, and how many requests had which decision.
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

/// What the truncate that halted a table does: it empties the table, or nothing.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TruncateDecision {
    Apply,
    Ignore,
}

/// Something that differs between the stored rows and ClickHouse's, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

/// What a comparison with ClickHouse found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "findings": [], "changing_hours": 1 }"#))]
pub struct Comparison {
    pub findings: Vec<Difference>,
    /// Hours of creation whose rows changed meanwhile, over all tables: they were not compared.
    pub changing_hours: usize,
}
