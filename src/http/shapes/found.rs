//! People, posts and groups of dead letters, in the form for the console.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::TrendingOverride;
use crate::schema::{Uuid, example};

/// The result of a search.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "users": [{ "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "username": "odd_fern_5254", "active": true }],
    "posts": [], "whole": true
}"#))]
pub struct Found {
    /// The users whose names begin with the text, and then those whose names contain it.
    pub users: Vec<UserFound>,
    /// Posts, which are found only by id.
    pub posts: Vec<PostCard>,
    /// Whether every user was examined.
    pub whole: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserFound {
    pub user_id: Uuid,
    /// The name. Null before the row came and after it was deleted.
    pub username: Option<String>,
    pub active: bool,
}

/// A user as nova knows them. Private columns are not kept.
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
    /// The newest posts.
    pub posts: Vec<Uuid>,
    pub posts_total: usize,
}

/// Some posts with their public content.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostCards", example = example(r#"{ "posts": [] }"#))]
pub struct PostCards {
    /// The posts in the order of the request. Posts that nova does not know are left out.
    pub posts: Vec<PostCard>,
}

/// A post in short.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PostCard {
    pub post_id: Uuid,
    pub author_id: Option<Uuid>,
    pub username: Option<String>,
    /// The caption, cut after 300 characters. Null if the post was deleted.
    pub caption: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub created_at: Option<String>,
    /// Whether the post may be shown.
    pub visible: bool,
    /// The weighted actions in each of the last 24 hours, oldest first.
    pub activity: Vec<i64>,
}

/// A post with all counts that nova has of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostDetails", example = example(r#"{
    "card": { "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "author_id": null, "username": null, "caption": null,
    "created_at": null, "visible": false, "activity": [] }, "status": null, "hidden": "nova has no row of it",
    "totals": { "impression": 0, "view": 0, "like": 0, "comment": 0, "share": 0 }, "hours": [], "windows": [],
    "override": null
}"#))]
pub struct PostDetails {
    pub card: PostCard,
    /// The value of the column `status`.
    pub status: Option<String>,
    /// Why nobody may see the post. Null if it may be seen.
    pub hidden: Option<String>,
    /// The counts by action, since nova counts.
    pub totals: BTreeMap<&'static str, i64>,
    /// The counts of each of the last 48 hours, oldest first.
    pub hours: Vec<HourCounted>,
    pub windows: Vec<PlaceIn>,
    #[serde(rename = "override")]
    pub overridden: Option<TrendingOverride>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HourCounted {
    /// The beginning of the hour, epoch milliseconds.
    pub from_ms: i64,
    /// The counts by action.
    pub counts: BTreeMap<&'static str, i64>,
}

/// A post's place in a window's list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlaceIn {
    pub window: &'static str,
    /// The rank from 1. Null if the post is not in the list.
    pub rank: Option<usize>,
    pub score: f64,
    /// The number of posts in the list.
    pub posts: usize,
}

/// Dead letters by topic, stage and reason.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterGroups", example = example(r#"{ "groups": [], "counted": 0, "total": 0 }"#))]
pub struct DeadGroups {
    /// The groups, largest first.
    pub groups: Vec<DeadGroup>,
    /// The number of letters that were examined, from the oldest on.
    pub counted: u64,
    pub total: i64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterGroup")]
pub struct DeadGroup {
    pub topic: String,
    pub stage: String,
    pub reason: String,
    /// The detail of the newest letter.
    pub detail: String,
    pub letters: u64,
    /// The first and the last arrival, epoch milliseconds.
    pub first_ms: i64,
    pub last_ms: i64,
    /// The id of the newest letter.
    pub example: u64,
    /// The ids of the oldest letters of the group, as many as one request may name.
    pub ids: Vec<u64>,
}

/// The configuration without secrets.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConfigurationInForce", example = example(r#"{ "settings": { "http": { "console": "full" } } }"#))]
pub struct ConfigShown {
    /// The settings by section and key.
    pub settings: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}
