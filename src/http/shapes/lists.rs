//! Trending posts, suggested people and the figures of a day.

use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::{Uuid, example};

/// What trends in a window.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "posts": [{
        "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d", "author_id": "3304d920-ce8c-5112-bf24-27a6f99f1ebf",
        "rank": 1, "score": 812.5, "views": 310, "likes": 85, "comments": 12, "shares": 7, "impressions": 640,
        "engagement_rate": 0.1625
    }],
    "window": "24h", "generated_at": "2026-11-24T06:00:00.000Z", "total_posts": 190,
    "generation": "8f1d0c7a55e2b934", "cursor": "8f1d0c7a55e2b934-1"
}"#))]
pub struct TrendingPage {
    pub posts: Vec<TrendingPost>,
    pub window: TrendingWindow,
    #[schemars(extend("format" = "date-time"))]
    pub generated_at: String,
    /// Posts of all pages.
    pub total_posts: u32,
    /// Names the list that the page is from.
    pub generation: String,
    /// Where the next page begins; null after the last one.
    pub cursor: Option<String>,
    /// `warmed`: the store is new, and these are ClickHouse's counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub enum TrendingWindow {
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "6h")]
    SixHours,
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
}

/// A post that trends, with what it counts in the window.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TrendingPost {
    pub post_id: Uuid,
    pub author_id: Uuid,
    /// From 1.
    pub rank: u32,
    pub score: f64,
    pub views: i64,
    pub likes: i64,
    pub comments: i64,
    pub shares: i64,
    pub impressions: i64,
    /// Likes, comments and shares of an impression.
    pub engagement_rate: f64,
    /// True where an operator put the post at its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
}

/// The data of the stream's event `diff`: what differs from the list that this client has. The data of `snapshot` is a
/// `TrendingPage`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "changed": [], "removed": ["6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d"], "total_posts": 189,
    "generation": "8f1d0c7a55e2b935"
}"#))]
pub struct TrendingDiff {
    /// Posts that are new, or whose numbers or rank differ.
    pub changed: Vec<TrendingPost>,
    pub removed: Vec<Uuid>,
    pub total_posts: u32,
    pub generation: String,
}

/// How a day went.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "date": "2026-11-24", "impressions": 640, "clicks": 310, "ctr": 0.4844, "shares": 7, "dwell_p50_ms": 5200,
    "dwell_p95_ms": 30000, "suggested": 20, "suggested_followed": 2, "suggestion_conversion": 0.1,
    "feed_requests": 120, "hit_rate": 0.9583, "event_visible_p95_ms": 12
}"#))]
pub struct DayFigures {
    #[schemars(extend("format" = "date"))]
    pub date: String,
    pub impressions: u64,
    /// Views.
    pub clicks: u64,
    /// Clicks of an impression.
    pub ctr: f64,
    pub shares: u64,
    /// Null where nobody told a time.
    pub dwell_p50_ms: Option<u32>,
    pub dwell_p95_ms: Option<u32>,
    /// People suggested, and of them those who were followed within a day.
    pub suggested: u64,
    pub suggested_followed: u64,
    pub suggestion_conversion: f64,
    /// Pages, and how many of them came from a snapshot that was there.
    pub feed_requests: u64,
    pub hit_rate: f64,
    /// From an event's arrival until readers see it.
    pub event_visible_p95_ms: Option<u32>,
}

/// Whom to follow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "users": [{
        "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "username": "odd_fern_5254", "score": 16,
        "affinity_score": 2.5, "mutual_followers": 16, "reason": "mutual_followers",
        "evidence": ["3304d920-ce8c-5112-bf24-27a6f99f1ebf"]
    }],
    "total_suggestions": 1, "generated_at": "2026-11-24T06:00:00.000Z", "cache_hit": false
}"#))]
pub struct Suggestions {
    pub users: Vec<SuggestedUser>,
    pub total_suggestions: u32,
    #[schemars(extend("format" = "date-time"))]
    pub generated_at: String,
    pub cache_hit: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SuggestedUser {
    pub user_id: Uuid,
    pub username: String,
    /// How many of the caller's followees follow them; of `rising` the followers gained.
    pub score: u32,
    pub affinity_score: f64,
    pub mutual_followers: u32,
    pub reason: SuggestedFor,
    /// Followees of the caller who follow them.
    pub evidence: Vec<Uuid>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuggestedFor {
    MutualFollowers,
    FollowsYou,
    Rising,
}
