//! The forms of trending posts, suggested people and the figures of a day.

use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::{Uuid, example};

/// The trending posts of a window.
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
    /// The number of posts on all pages of the list.
    pub total_posts: u32,
    /// The id of the trending list from which the page comes.
    pub generation: String,
    /// The cursor of the list's next page, or null after the last page.
    pub cursor: Option<String>,
    /// `warmed` means that the store is new, and the counts of the list are from ClickHouse.
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

/// A trending post, with its counts in the window.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TrendingPost {
    pub post_id: Uuid,
    pub author_id: Uuid,
    /// The rank of the post in the list, counted from 1.
    pub rank: u32,
    pub score: f64,
    pub views: i64,
    pub likes: i64,
    pub comments: i64,
    pub shares: i64,
    pub impressions: i64,
    /// The number of likes, comments and shares, divided by the number of impressions.
    pub engagement_rate: f64,
    /// True if an operator pinned the post to its place in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
}

/// The data of the stream's event `diff`: the difference from the client's list. The data of the stream's event
/// `snapshot` is a `TrendingPage`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "changed": [], "removed": ["6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d"], "total_posts": 189,
    "generation": "8f1d0c7a55e2b935"
}"#))]
pub struct TrendingDiff {
    /// The posts that are new in the list, or whose numbers or rank have changed.
    pub changed: Vec<TrendingPost>,
    pub removed: Vec<Uuid>,
    pub total_posts: u32,
    pub generation: String,
}

/// The figures about feeds and suggestions on one day.
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
    /// The number of views of posts, which count as clicks.
    pub clicks: u64,
    /// The number of clicks divided by the number of impressions.
    pub ctr: f64,
    pub shares: u64,
    /// The median dwell time in milliseconds, or null if no event has a dwell time.
    pub dwell_p50_ms: Option<u32>,
    pub dwell_p95_ms: Option<u32>,
    /// The number of people whom nova suggested on the day. `suggested_followed` counts the suggested people whom the
    /// reader followed within a day.
    pub suggested: u64,
    pub suggested_followed: u64,
    pub suggestion_conversion: f64,
    /// The number of feed pages that nova served on the day. `hit_rate` is the part of the pages that nova took from an
    /// existing snapshot.
    pub feed_requests: u64,
    pub hit_rate: f64,
    /// The 95th percentile of the time from an event's arrival until readers see its effect, in milliseconds.
    pub event_visible_p95_ms: Option<u32>,
}

/// Suggestions of people to follow.
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
    /// The number of the caller's followees who follow the suggested person. For the reason `rising`, the score is the
    /// number of new followers of the person.
    pub score: u32,
    pub affinity_score: f64,
    pub mutual_followers: u32,
    pub reason: SuggestedFor,
    /// Followees of the caller who follow the suggested person.
    pub evidence: Vec<Uuid>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuggestedFor {
    MutualFollowers,
    FollowsYou,
    Rising,
}
