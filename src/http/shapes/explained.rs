//! The form of the explanation why a post is or is not in a feed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::feed::FeedItem;
use crate::feed::trending::{self, Window};
use crate::schema::{Uuid, example};
use crate::state::ranking::{NUMBERS, Number, Ranking};

/// The explanation why a user's feed shows a post at its place, or which rule first keeps the post out.
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
    /// When the explained feed was made. The feed is the feed that nova serves to the user, or a feed that nova would
    /// make now.
    #[schemars(extend("format" = "date-time"))]
    pub as_of: String,
    pub shown: bool,
    /// The first rule that keeps the post out of the feed, or null if the feed shows the post.
    pub rule: Option<Rule>,
    /// The rule, or the place of the post, in words for a person.
    pub why: String,
    /// The rank, the score and the parts of the score. A post has these if the feed shows the post, or if only the
    /// spacing or the length of the feed keeps the post out. If the spacing or the length keeps the post out, the rank
    /// is the place where the feed ends.
    pub item: Option<FeedItem>,
    /// The ranking's settings for the feed.
    pub ranking: RankingShown,
}

/// The settings of the ranking, with which nova makes feeds and lists.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RankingShown {
    /// The fingerprint of the ranking's settings, as in `nova_ranking_info`. Equal settings have equal fingerprints.
    pub fingerprint: String,
    /// The parameters of the ranking by their keys in the configuration, such as `feed.length`.
    pub numbers: BTreeMap<String, f64>,
    /// The windows that have trending lists.
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

/// The rules that keep a post out of a feed, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// nova does not know the post.
    UnknownPost,
    /// nova shows the post to nobody because of its status, its deletion, or its author.
    NotVisible,
    /// The post is the user's own.
    Own,
    /// The user viewed the post within 24 hours.
    Seen,
    /// The user neither follows the author nor has affinity to the author, and the post does not trend.
    Author,
    /// The post is too old for a feed, or its time is ahead of the clock.
    Age,
    /// The posts before this post fill the feed, or fill the post's source of posts.
    Cap,
    /// The feed ends before the post, because the spacing allows none of the remaining posts at the next place.
    Spacing,
    /// The post would be in a new feed, but nova still serves an older feed.
    Snapshot,
}

impl Rule {
    /// The name of the rule in the answer.
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
