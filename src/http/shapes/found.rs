//! The forms of people, posts and groups of dead letters for the console.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::TrendingOverride;
use crate::schema::{Uuid, example};

/// The result of a search for people and posts.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "users": [{ "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "username": "odd_fern_5254", "active": true }],
    "posts": [], "whole": true
}"#))]
pub struct Found {
    /// The users whose names begin with the searched text, followed by the users whose names contain the text in
    /// another place.
    pub users: Vec<UserFound>,
    /// The posts that the search found. A search finds a post only by its id.
    pub posts: Vec<PostCard>,
    /// Whether the search examined every user.
    pub whole: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserFound {
    pub user_id: Uuid,
    /// The name of the user, or null if nova has no row of the user.
    pub username: Option<String>,
    pub active: bool,
}

/// The data that nova has about a user. nova does not keep private columns.
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
    /// The newest posts of the user.
    pub posts: Vec<Uuid>,
    pub posts_total: usize,
}

/// Some posts with their public content.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostCards", example = example(r#"{ "posts": [] }"#))]
pub struct PostCards {
    /// The posts in the order of the request, without the posts that nova does not know.
    pub posts: Vec<PostCard>,
}

/// A post with its most important data.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PostCard {
    pub post_id: Uuid,
    pub author_id: Option<Uuid>,
    pub username: Option<String>,
    /// The first 300 characters of the post's caption, or null if the post was deleted.
    pub caption: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    pub created_at: Option<String>,
    /// Whether nova may show the post in lists.
    pub visible: bool,
    /// The weighted number of actions on the post in each of the last 24 hours, oldest first.
    pub activity: Vec<i64>,
}

/// A post with all counts that nova has of the post.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PostDetails", example = example(r#"{
    "card": { "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "author_id": null, "username": null, "caption": null,
    "created_at": null, "visible": false, "activity": [] }, "status": null, "hidden": "nova has no row of it",
    "totals": { "impression": 0, "view": 0, "like": 0, "comment": 0, "share": 0 }, "hours": [], "windows": [],
    "override": null
}"#))]
pub struct PostDetails {
    pub card: PostCard,
    /// The value of the post's column `status`.
    pub status: Option<String>,
    /// The reason why nobody may see the post, or null if the post is visible.
    pub hidden: Option<String>,
    /// The number of the post's actions since nova began to count, by action.
    pub totals: BTreeMap<&'static str, i64>,
    /// The counts of the post's actions in each of the last 48 hours, oldest first.
    pub hours: Vec<HourCounted>,
    pub windows: Vec<PlaceIn>,
    #[serde(rename = "override")]
    pub overridden: Option<TrendingOverride>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HourCounted {
    /// The beginning of the hour, in epoch milliseconds.
    pub from_ms: i64,
    /// The number of the post's actions in the hour, by action.
    pub counts: BTreeMap<&'static str, i64>,
}

/// A post's place in the trending list of a window.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlaceIn {
    pub window: &'static str,
    /// The post's rank in the list, counted from 1, or null if the post is not in the list.
    pub rank: Option<usize>,
    pub score: f64,
    /// The number of posts in the trending list.
    pub posts: usize,
}

/// Dead letters by topic, stage and reason.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterGroups", example = example(r#"{ "groups": [], "counted": 0, "total": 0 }"#))]
pub struct DeadGroups {
    /// The groups of dead letters, largest first.
    pub groups: Vec<DeadGroup>,
    /// The number of dead letters that nova examined, from the oldest on.
    pub counted: u64,
    pub total: i64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterGroup")]
pub struct DeadGroup {
    pub topic: String,
    pub stage: String,
    pub reason: String,
    /// The detail of the newest dead letter of the group.
    pub detail: String,
    pub letters: u64,
    /// The arrival of the group's first letter, in epoch milliseconds. `last_ms` is the arrival of the last letter.
    pub first_ms: i64,
    pub last_ms: i64,
    /// The id of the newest dead letter of the group.
    pub example: u64,
    /// The ids of the group's oldest dead letters, as many as one request may name.
    pub ids: Vec<u64>,
}

/// The configuration of the node without secrets.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConfigurationInForce", example = example(r#"{ "settings": { "http": { "console": "full" } } }"#))]
pub struct ConfigShown {
    /// The settings of the node by section and key.
    pub settings: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}
