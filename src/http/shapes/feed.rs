//! The forms of a feed's pages.

use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::{Uuid, example};

/// A page of a feed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "posts": ["6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "0c9b3f1e-7d55-5a35-8a53-8f3b1f3a4c11"],
    "cursor": "AQAAAAAAAAB7", "has_more": true, "total_count": 214, "cache_hit": true, "algorithm": "ch",
    "latency_ms": 0.041, "snapshot": "00000193a5f0c2d1", "as_of": "2026-11-24T06:00:00.000000Z", "newer": false,
    "degraded": [], "items": [{
        "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "author_id": "3304d920-ce8c-5112-bf24-27a6f99f1ebf",
        "rank": 1, "age_h": 1.25
    }, {
        "post_id": "0c9b3f1e-7d55-5a35-8a53-8f3b1f3a4c11", "author_id": "9d1c1f5e-2f7a-5d0b-8c44-0a6f1f3b7e21",
        "rank": 2, "age_h": 3.5
    }]
}"#))]
pub struct FeedPage {
    pub posts: Vec<Uuid>,
    /// The cursor of the feed's next page, or null after the last page.
    pub cursor: Option<String>,
    pub has_more: bool,
    /// The number of posts on all pages of the feed.
    pub total_count: u32,
    /// Whether nova took the page from an existing snapshot of the feed.
    pub cache_hit: bool,
    pub algorithm: Algorithm,
    /// The time that nova took to make the page, in milliseconds.
    pub latency_ms: f64,
    /// The id of the snapshot from which the page comes.
    pub snapshot: String,
    /// When nova made the snapshot of the feed.
    #[schemars(extend("format" = "date-time"))]
    pub as_of: String,
    /// Whether the first page of a new snapshot would differ from the first page of this snapshot.
    pub newer: bool,
    pub degraded: Vec<Degraded>,
    /// The details of each post of the page, if the request has `hydrate` or `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<FeedItem>>,
}

/// The order of a feed: ranked, or newest first.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    Ch,
    Time,
}

/// A way in which a page of a feed is degraded. A rebuilt snapshot continues a snapshot that nova no longer had,
/// without the posts that the reader has seen. A page that took too long has only posts of followees, newest first.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    SnapshotRebuilt,
    Deadline,
}

/// A post of a feed's page. If the request has `explain`, the members from `rank_before_spacing` on are present. If the
/// request has `hydrate` and not `explain`, `age_h` is the only optional member that is present.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "author_id": "3304d920-ce8c-5112-bf24-27a6f99f1ebf", "rank": 1,
    "rank_before_spacing": 1, "score": 0.712345, "sources": ["followed", "trending"],
    "features": { "age_h": 1.25, "engagement": 3.5, "affinity": 2.0 },
    "terms": { "recency": 0.6, "engagement": 0.1, "affinity": 0.012345 }
}"#))]
pub struct FeedItem {
    pub post_id: Uuid,
    pub author_id: Uuid,
    /// The rank among all posts of the feed, counted from 1.
    pub rank: u32,
    /// The hours since the post was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_h: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_before_spacing: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Those sources of the feed that contain the post.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<FeedSource>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedSource {
    Followed,
    Trending,
    Affinity,
}

/// The values from which a post's score is made.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Features {
    /// The age of the post in hours.
    pub age_h: f64,
    pub engagement: f64,
    pub affinity: f64,
}

/// The parts of a post's score.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Terms {
    pub recency: f64,
    pub engagement: f64,
    pub affinity: f64,
}

/// The kind of a user's data that nova forgets: the snapshots of the feed.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Feed,
}
