//! People, posts and groups of dead letters, as the console shows them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::TrendingOverride;
use crate::schema::{Uuid, example};

/// What a search found.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "users": [{ "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "username": "odd_fern_5254", "active": true }],
    "posts": [], "whole": true
}"#))]
pub struct Found {
    /// Names that begin with the text first, then those that have it elsewhere.
    pub users: Vec<UserFound>,
    /// By id only.
    pub posts: Vec<PostCard>,
    /// Every user was looked at.
    pub whole: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserFound {
    pub user_id: Uuid,
    /// Null before the row came and after it went.
    pub username: Option<String>,
    pub active: bool,
}

/// A user, as nova knows them: nothing private is kept.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "UserCard", example = example(r#"{
    "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "username": "odd_fern_5254", "active": true, "followers": 12,
    "followees": 40, "posts": ["6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d"], "posts_total": 1
}"#))]
pub struct UserCard {
    pub user_id: Uuid,
    pub username: Option<String>,
    pub active: bool,
    pub followers: usize,
    pub followees: usize,
    /// The newest ones.
    pub posts: Vec<Uuid>,
    pub posts_total: usize,
}

/// Some posts, with what people see of them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostCards", example = example(r#"{ "posts": [] }"#))]
pub struct PostCards {
    /// In the order of the question; what nova does not know is left out.
    pub posts: Vec<PostCard>,
}

/// A post in short.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PostCard {
    pub post_id: Uuid,
    pub author_id: Option<Uuid>,
    pub username: Option<String>,
    /// Cut after 300 characters; null of a post that was deleted.
    pub caption: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub created_at: Option<String>,
    /// It may be shown.
    pub visible: bool,
    /// Weighed actions of each of the last 24 hours, the oldest first.
    pub activity: Vec<i64>,
}

/// A post with all that nova counts of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostDetails", example = example(r#"{
    "card": { "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "author_id": null, "username": null, "caption": null,
    "created_at": null, "visible": false, "activity": [] }, "status": null, "hidden": "nova has no row of it",
    "totals": { "impression": 0, "view": 0, "like": 0, "comment": 0, "share": 0 }, "hours": [], "windows": [],
    "override": null
}"#))]
pub struct PostDetails {
    pub card: PostCard,
    /// The column.
    pub status: Option<String>,
    /// Why nobody may see it; null where it may be seen.
    pub hidden: Option<String>,
    /// By action, since nova counts.
    pub totals: BTreeMap<&'static str, i64>,
    /// By hour, of the last two days, the oldest first.
    pub hours: Vec<HourCounted>,
    pub windows: Vec<PlaceIn>,
    #[serde(rename = "override")]
    pub overridden: Option<TrendingOverride>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HourCounted {
    /// Its begin, epoch milliseconds.
    pub from_ms: i64,
    /// By action.
    pub counts: BTreeMap<&'static str, i64>,
}

/// A post's place in a window's list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlaceIn {
    pub window: &'static str,
    /// From 1; null where it is not in the list.
    pub rank: Option<usize>,
    pub score: f64,
    /// Of the list.
    pub posts: usize,
}

/// Dead letters by topic, stage and reason.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterGroups", example = example(r#"{ "groups": [], "counted": 0, "total": 0 }"#))]
pub struct DeadGroups {
    /// The largest first.
    pub groups: Vec<DeadGroup>,
    /// Letters that were looked at, the oldest.
    pub counted: u64,
    pub total: i64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterGroup")]
pub struct DeadGroup {
    pub topic: String,
    pub stage: String,
    pub reason: String,
    /// Of the newest letter.
    pub detail: String,
    pub letters: u64,
    /// Arrivals, epoch milliseconds.
    pub first_ms: i64,
    pub last_ms: i64,
    /// The newest letter.
    pub example: u64,
    /// The oldest letters of the group, as many as one request may name.
    pub ids: Vec<u64>,
}

/// What is configured, secrets left out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConfigurationInForce", example = example(r#"{ "settings": { "http": { "console": "full" } } }"#))]
pub struct ConfigShown {
    /// By section and key.
    pub settings: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}
