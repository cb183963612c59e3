//! Why a post is in a feed, or is not.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::feed::FeedItem;
use crate::feed::trending::{self, Window};
use crate::schema::{Uuid, example};
use crate::state::ranking::{NUMBERS, Number, Ranking};

/// Why a user's feed shows a post at its place, or the first rule that keeps the post out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "user_id": "921cad1a-b3e2-5377-a326-6b2c8273740b", "post_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d",
    "as_of": "2026-11-24T06:00:00.000000Z", "shown": false, "rule": "seen",
    "why": "the user viewed it; it may come again at 2026-11-24T18:00:00Z", "item": null,
    "ranking": {
        "fingerprint": "5d1f3c0a9b7e2468", "numbers": { "feed.recency_weight": 0.3, "feed.length": 300 },
        "windows": ["1h", "6h", "24h", "7d"]
    }
}"#))]
pub struct PostExplained {
    pub user_id: Uuid,
    pub post_id: Uuid,
    /// Of the feed that is served to the user, or of one that would be made now.
    #[schemars(extend("format" = "date-time"))]
    pub as_of: String,
    pub shown: bool,
    /// The first rule that keeps it out; null where it is shown.
    pub rule: Option<Rule>,
    /// The same for a person.
    pub why: String,
    /// Place, score and its parts, of a post that is shown, or that only the spacing or the length of the feed keeps out; its
    /// rank then is the place where the feed ends.
    pub item: Option<FeedItem>,
    /// What the feed was made by.
    pub ranking: RankingShown,
}

/// The numbers that lists are made by.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RankingShown {
    /// As in `nova_ranking_info`: equal numbers have an equal one.
    pub fingerprint: String,
    /// By their keys in the configuration, such as `feed.length`.
    pub numbers: BTreeMap<String, f64>,
    /// The windows of which there are trending lists.
    pub windows: Vec<&'static str>,
}

impl RankingShown {
    pub fn of(ranking: &Ranking) -> RankingShown {
        let value = |number: &Number| f64::from((number.get)(ranking)) / f64::from(10u32.pow(number.places));
        RankingShown {
            fingerprint: format!("{:016x}", ranking.fingerprint()),
            numbers: NUMBERS.iter().map(|of| (format!("{}.{}", of.section, of.key), value(of))).collect(),
            windows: trending::kept(ranking).map(Window::name).collect(),
        }
    }
}

/// What keeps a post out of a feed, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// nova has no such post.
    UnknownPost,
    /// Nobody is shown it: its status, its deletion, or its author.
    NotVisible,
    /// It is the user's own.
    Own,
    /// The user viewed it within 24 hours.
    Seen,
    /// The user neither follows the author nor has affinity to them, and it does not trend.
    Author,
    /// It is too old, or dated ahead of the clock.
    Age,
    /// Others come before it, and a source or the feed has no more room.
    Cap,
    /// The feed ends where only posts remain whose authors stand too near.
    Spacing,
    /// It is in a feed that would be made now; the one that is served was made before.
    Snapshot,
}

impl Rule {
    /// Its name, as the answer has it.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::UnknownPost => "unknown-post",
            Rule::NotVisible => "not-visible",
            Rule::Own => "own",
            Rule::Seen => "seen",
            Rule::Author => "author",
            Rule::Age => "age",
            Rule::Cap => "cap",
            Rule::Spacing => "spacing",
            Rule::Snapshot => "snapshot",
        }
    }
}
