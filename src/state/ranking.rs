//! Holds the parameters of ranking, which are the configurable numbers with which nova makes lists. `config` has a key
//! for each parameter, and `docs/feed.md` describes each parameter. A state gets its parameters when nova starts, as
//! plain values. All parameters are integers, so that equal settings compare equal and have the same fingerprint.

/// A number with three decimals, stored in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thousandths(pub u32);

impl Thousandths {
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// The parameters with which feeds are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedNumbers {
    pub recency_weight: Thousandths,
    /// The decay of the recency term for each hour of a post's age.
    pub recency_decay: Thousandths,
    pub engagement_weight: Thousandths,
    pub affinity_weight: Thousandths,
    /// The maximum age of candidates from followed authors and from authors with affinity, hours.
    pub followed_max_age_h: u32,
    pub affinity_max_age_h: u32,
    /// The maximum number of candidates that each source gives.
    pub followed_max: u32,
    pub affinity_max: u32,
    pub trending_max: u32,
    /// The number of first places of a feed among which an author has at most one post.
    pub top_places: u32,
    /// The number of first places of a feed among which an author has at most `head_per_author` posts.
    pub head_places: u32,
    pub head_per_author: u32,
    /// The minimum distance in a feed between two posts of the same author.
    pub author_distance: u32,
    /// The maximum number of posts in one feed.
    pub length: u32,
    /// The time after which nova makes a feed again, seconds. The time varies by up to a tenth.
    pub lifetime_s: u32,
    /// How long nova still serves a feed after the end of its lifetime, while it makes a new feed, seconds.
    pub stale_s: u32,
}

/// The parameters with which trending lists are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrendingNumbers {
    /// The maximum number of posts in a trending list.
    pub list_max: u32,
    /// For each of the windows 1 h, 6 h, 24 h and 7 d, whether nova keeps a trending list.
    pub windows: [bool; 4],
}

/// The parameters with which suggestions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuggestionNumbers {
    /// The maximum number of a user's followees that nova reads for suggestions.
    pub followees_max: u32,
    /// The maximum number of each followee's follows that nova reads for suggestions.
    pub follows_max: u32,
    /// The maximum number of followees that a suggestion names as evidence.
    pub evidence_max: u32,
    /// The maximum number of suggestions in one answer.
    pub list_max: u32,
    /// The number of days over which nova counts how many followers somebody gained.
    pub rising_days: u32,
}

/// All parameters of ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// The weight of each action (see [`crate::event::Action`]), times ten. The weight of an impression is always 0.
    pub weights: [i64; 5],
    pub feed: FeedNumbers,
    pub trending: TrendingNumbers,
    pub suggestions: SuggestionNumbers,
}

impl Ranking {
    pub const DEFAULT: Ranking = Ranking {
        weights: [0, 1, 20, 30, 50],
        feed: FeedNumbers {
            recency_weight: Thousandths(300),
            recency_decay: Thousandths(100),
            engagement_weight: Thousandths(400),
            affinity_weight: Thousandths(300),
            followed_max_age_h: 72,
            affinity_max_age_h: 72,
            followed_max: 500,
            affinity_max: 200,
            trending_max: 200,
            top_places: 5,
            head_places: 50,
            head_per_author: 3,
            author_distance: 3,
            length: 300,
            lifetime_s: 120,
            stale_s: 30,
        },
        trending: TrendingNumbers { list_max: 200, windows: [true; 4] },
        suggestions: SuggestionNumbers {
            followees_max: 200,
            follows_max: 500,
            evidence_max: 3,
            list_max: 100,
            rising_days: 7,
        },
    };

    /// Returns the fingerprint of all parameters. Equal parameters have the same fingerprint on every node and after
    /// every start.
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::new();
        for number in NUMBERS {
            text.extend([number.section, ".", number.key, "=", &(number.get)(self).to_string(), "\n"]);
        }
        text.extend(self.trending.windows.map(|kept| if kept { '1' } else { '0' }));
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }
}

impl Default for Ranking {
    fn default() -> Ranking {
        Ranking::DEFAULT
    }
}

/// The description of a parameter of ranking: its key, its meaning, and its range.
pub struct Number {
    pub section: &'static str,
    pub key: &'static str,
    /// The text that says what the parameter does. The text names the unit, the default and, at the end, the range.
    pub help: &'static str,
    /// The minimum and the maximum of the parameter, in units of its last decimal.
    pub range: (u32, u32),
    /// The number of decimals of the parameter.
    pub places: u32,
    pub get: fn(&Ranking) -> u32,
    pub set: fn(&mut Ranking, u32),
}

impl Number {
    /// Parses the text of a parameter's value, such as `0.25`.
    ///
    /// # Errors The function returns an error if the text is not a number within the parameter's range. The error says
    /// which range the function expected.
    pub fn parse(&self, text: &str) -> Result<u32, String> {
        let unit = 10u32.pow(self.places);
        let scaled = text.parse::<f64>().ok().map(|value| value * f64::from(unit));
        // The multiplication rounds, so `scaled` may differ a little from a whole number.
        let whole = scaled.filter(|scaled| (scaled - scaled.round()).abs() < 1e-6).map(f64::round);
        let (least, most) = self.range;
        let known = whole.filter(|value| (f64::from(least)..=f64::from(most)).contains(value));
        known.map(|value| value as u32).ok_or_else(|| {
            let ends = format!("expected {} to {}", self.text(least), self.text(most));
            match self.places {
                0 => ends,
                _ => format!("{ends}, in steps of {}", self.text(1)),
            }
        })
    }

    /// Returns the text of a parameter's value, which [`Number::parse`] reads.
    pub fn text(&self, value: u32) -> String {
        match self.places {
            0 => value.to_string(),
            places => (f64::from(value) / f64::from(10u32.pow(places))).to_string(),
        }
    }
}

/// Describes a parameter in a section of [`Ranking`].
macro_rules! number {
    ($section:literal, $key:literal, $($member:ident).+, $range:expr, $help:literal) => {
        Number {
            section: $section,
            key: $key,
            help: $help,
            range: $range,
            places: 0,
            get: |ranking| ranking.$($member).+,
            set: |ranking, value| ranking.$($member).+ = value,
        }
    };
}

/// Describes a weight in the score of feeds, or the decay of recency.
macro_rules! term {
    ($key:literal, $member:ident, $most:literal, $help:literal) => {
        Number {
            section: "feed",
            key: $key,
            help: $help,
            range: (0, $most),
            places: 3,
            get: |ranking| ranking.feed.$member.0,
            set: |ranking, value| ranking.feed.$member = Thousandths(value),
        }
    };
}

/// Describes the weight of an action.
macro_rules! weight {
    ($key:literal, $action:ident, $help:literal) => {
        Number {
            section: "engagement",
            key: $key,
            help: $help,
            range: (0, WEIGHT_MAX),
            places: 1,
            get: |ranking| ranking.weights[crate::event::Action::$action as usize] as u32,
            set: |ranking, value| ranking.weights[crate::event::Action::$action as usize] = value.into(),
        }
    };
}

/// The maximum weight of an action, times ten.
const WEIGHT_MAX: u32 = 10_000;

/// Every number. Parameters of one section are adjacent in the list.
pub const NUMBERS: &[Number] = &[
    term!(
        "recency_weight",
        recency_weight,
        100_000,
        "The score adds this weight times the post's recency. The default is 0.3, the range 0 to 100."
    ),
    term!(
        "recency_decay",
        recency_decay,
        10_000,
        "Recency is e to the minus this number times the post's age in hours. The default is 0.1, the range 0 to 10."
    ),
    term!(
        "engagement_weight",
        engagement_weight,
        100_000,
        "The score adds this weight times the logarithm of what all actions on the post weigh. The default is 0.4, the range 0 to 100."
    ),
    term!(
        "affinity_weight",
        affinity_weight,
        100_000,
        "The score adds this weight times the logarithm of what the reader's actions on the author's posts weigh. The default is 0.3, the range 0 to 100."
    ),
    number!(
        "feed",
        "followed_max_age_h",
        feed.followed_max_age_h,
        (1, 720),
        "Posts of followed authors are candidates for a feed up to this age in hours. The default is 72, the range 1 to 720."
    ),
    number!(
        "feed",
        "affinity_max_age_h",
        feed.affinity_max_age_h,
        (1, 720),
        "Posts of authors whom the reader likes are candidates for a feed up to this age in hours. The default is 72, the range 1 to 720."
    ),
    number!(
        "feed",
        "followed_max",
        feed.followed_max,
        (0, 2_000),
        "At most this many newest posts of followed authors are candidates for a feed. The default is 500, the range 0 to 2000."
    ),
    number!(
        "feed",
        "affinity_max",
        feed.affinity_max,
        (0, 1_000),
        "At most this many posts of the authors with the highest affinity are candidates for a feed. The default is 200, the range 0 to 1000."
    ),
    number!(
        "feed",
        "trending_max",
        feed.trending_max,
        (0, 1_000),
        "At most this many posts from the top of trending 24h are candidates for a feed. The default is 200, the range 0 to 1000."
    ),
    number!(
        "feed",
        "top_places",
        feed.top_places,
        (0, 50),
        "An author has at most one of this many first places of a feed. The default is 5, the range 0 to 50."
    ),
    number!(
        "feed",
        "head_places",
        feed.head_places,
        (0, 600),
        "An author has at most head_per_author of this many first places of a feed. The default is 50, the range 0 to 600."
    ),
    number!(
        "feed",
        "head_per_author",
        feed.head_per_author,
        (1, 50),
        "An author has at most this many of the first head_places of a feed. The default is 3, the range 1 to 50."
    ),
    number!(
        "feed",
        "author_distance",
        feed.author_distance,
        (1, 10),
        "Two posts of one author are at least this many places apart. The default is 3, the range 1 to 10."
    ),
    number!(
        "feed",
        "length",
        feed.length,
        (1, 600),
        "A feed has at most this many posts. The default is 300, the range 1 to 600."
    ),
    number!(
        "feed",
        "lifetime_s",
        feed.lifetime_s,
        (10, 3_600),
        "nova makes a feed again after this many seconds, a tenth more or less. The default is 120, the range 10 to 3600."
    ),
    number!(
        "feed",
        "stale_s",
        feed.stale_s,
        (0, 600),
        "nova serves a feed this many seconds longer while it makes the next one. The default is 30, the range 0 to 600."
    ),
    number!(
        "trending",
        "list_max",
        trending.list_max,
        (1, 1_000),
        "A trending list has at most this many posts. The default is 200, the range 1 to 1000."
    ),
    weight!(
        "view_weight",
        View,
        "A view weighs this much in trending, engagement and affinity. The default is 0.1, the range 0 to 1000."
    ),
    weight!("like_weight", Like, "A like weighs this much. The default is 2, the range 0 to 1000."),
    weight!("comment_weight", Comment, "A comment weighs this much. The default is 3, the range 0 to 1000."),
    weight!("share_weight", Share, "A share weighs this much. The default is 5, the range 0 to 1000."),
    number!(
        "suggestions",
        "followees_max",
        suggestions.followees_max,
        (1, 2_000),
        "Suggestions come from at most this many followees of a user. The default is 200, the range 1 to 2000."
    ),
    number!(
        "suggestions",
        "follows_max",
        suggestions.follows_max,
        (1, 5_000),
        "At most this many latest follows of each followee count. The default is 500, the range 1 to 5000."
    ),
    number!(
        "suggestions",
        "evidence_max",
        suggestions.evidence_max,
        (0, 20),
        "A suggestion names at most this many followees as its evidence. The default is 3, the range 0 to 20."
    ),
    number!(
        "suggestions",
        "list_max",
        suggestions.list_max,
        (1, 100),
        "An answer has at most this many suggestions. The default is 100, the range 1 to 100."
    ),
    number!(
        "suggestions",
        "rising_days",
        suggestions.rising_days,
        (1, 90),
        "People who gained followers within this many days are suggested last. The default is 7, the range 1 to 90."
    ),
];

#[cfg(test)]
mod tests;
