//! The numbers by which lists are made, as they can be set: `config` names them as keys, `docs/feed.md` says what each
//! does. They are plain numbers that a state holds from its start on. All are integers, so that equal settings compare
//! equal and have one fingerprint.

/// A number with three places behind the point, as thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thousandths(pub u32);

impl Thousandths {
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// What feeds are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedNumbers {
    pub recency_weight: Thousandths,
    /// Of a post's age, an hour.
    pub recency_decay: Thousandths,
    pub engagement_weight: Thousandths,
    pub affinity_weight: Thousandths,
    /// Ages of candidates, hours.
    pub followed_max_age_h: u32,
    pub affinity_max_age_h: u32,
    /// Posts of each source.
    pub followed_max: u32,
    pub affinity_max: u32,
    pub trending_max: u32,
    /// An author has at most one of this many first places.
    pub top_places: u32,
    /// An author has at most `head_per_author` of this many first places.
    pub head_places: u32,
    pub head_per_author: u32,
    /// The same author at this distance at least.
    pub author_distance: u32,
    /// Posts of one feed.
    pub length: u32,
    /// A feed is to be made anew after this, a tenth more or less, seconds.
    pub lifetime_s: u32,
    /// So much longer it is served while a new one is made, seconds.
    pub stale_s: u32,
}

/// What trending lists are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrendingNumbers {
    /// Posts of a list.
    pub list_max: u32,
    /// Which of 1 h, 6 h, 24 h and 7 d are kept.
    pub windows: [bool; 4],
}

/// What suggestions are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuggestionNumbers {
    /// Followees that are read.
    pub followees_max: u32,
    /// Follows of each of them.
    pub follows_max: u32,
    /// Followees named as evidence.
    pub evidence_max: u32,
    /// Suggestions of one answer.
    pub list_max: u32,
    /// "Gained followers" looks back so far, days.
    pub rising_days: u32,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// What actions weigh, times ten, by [`crate::event::Action`]. An impression weighs nothing.
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

    /// Names the numbers: equal ones have an equal fingerprint, on every node and after every start.
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

/// One of the numbers: its key, what it does, and its range.
pub struct Number {
    pub section: &'static str,
    pub key: &'static str,
    /// One sentence, with its unit.
    pub help: &'static str,
    /// Smallest and largest, in units of the last place.
    pub range: (u32, u32),
    /// Places behind the point.
    pub places: u32,
    pub get: fn(&Ranking) -> u32,
    pub set: fn(&mut Ranking, u32),
}

impl Number {
    /// From a text such as `0.25`.
    ///
    /// # Errors
    /// What is expected, where the text is no number of the range.
    pub fn parse(&self, text: &str) -> Result<u32, String> {
        let unit = 10u32.pow(self.places);
        let scaled = text.parse::<f64>().ok().map(|value| value * f64::from(unit));
        // Half of what the shortest text of a number may be off by.
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

    /// As [`Number::parse`] reads it.
    pub fn text(&self, value: u32) -> String {
        match self.places {
            0 => value.to_string(),
            places => (f64::from(value) / f64::from(10u32.pow(places))).to_string(),
        }
    }
}

/// A number of a section of [`Ranking`].
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

/// A weight of a feed's terms, or the decay.
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

/// What an action weighs.
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

/// Of one action, times ten.
const WEIGHT_MAX: u32 = 10_000;

/// Every number, those of a section together.
pub const NUMBERS: &[Number] = &[
    term!("recency_weight", recency_weight, 100_000, "Weight of a post's recency in its score; 0 to 100."),
    term!("recency_decay", recency_decay, 10_000, "Recency is e to the minus this times the age in hours; 0 to 10."),
    term!(
        "engagement_weight",
        engagement_weight,
        100_000,
        "Weight of the logarithm of what all actions on a post weigh; 0 to 100."
    ),
    term!(
        "affinity_weight",
        affinity_weight,
        100_000,
        "Weight of the logarithm of what the reader's actions on the author's posts weigh; 0 to 100."
    ),
    number!(
        "feed",
        "followed_max_age_h",
        feed.followed_max_age_h,
        (1, 720),
        "Followees' posts are candidates up to this age, hours; 1 to 720."
    ),
    number!(
        "feed",
        "affinity_max_age_h",
        feed.affinity_max_age_h,
        (1, 720),
        "Posts of authors of affinity are candidates up to this age, hours; 1 to 720."
    ),
    number!(
        "feed",
        "followed_max",
        feed.followed_max,
        (0, 2_000),
        "At most this many of the followees' newest posts are candidates; 0 to 2000."
    ),
    number!(
        "feed",
        "affinity_max",
        feed.affinity_max,
        (0, 1_000),
        "At most this many posts of the authors with the highest affinity are candidates; 0 to 1000."
    ),
    number!(
        "feed",
        "trending_max",
        feed.trending_max,
        (0, 1_000),
        "At most this many posts from the top of trending 24h are candidates; 0 to 1000."
    ),
    number!(
        "feed",
        "top_places",
        feed.top_places,
        (0, 50),
        "An author has at most one of this many first places; 0 to 50."
    ),
    number!(
        "feed",
        "head_places",
        feed.head_places,
        (0, 600),
        "An author has at most head_per_author of this many first places; 0 to 600."
    ),
    number!(
        "feed",
        "head_per_author",
        feed.head_per_author,
        (1, 50),
        "An author has at most this many of the first head_places; 1 to 50."
    ),
    number!(
        "feed",
        "author_distance",
        feed.author_distance,
        (1, 10),
        "Two posts of one author are at least this many places apart; 1 to 10."
    ),
    number!("feed", "length", feed.length, (1, 600), "Posts of one feed; 1 to 600."),
    number!(
        "feed",
        "lifetime_s",
        feed.lifetime_s,
        (10, 3_600),
        "A feed is made again after this, a tenth more or less, seconds; 10 to 3600."
    ),
    number!(
        "feed",
        "stale_s",
        feed.stale_s,
        (0, 600),
        "A feed is served this much longer while the next one is made, seconds; 0 to 600."
    ),
    number!("trending", "list_max", trending.list_max, (1, 1_000), "Posts of a trending list; 1 to 1000."),
    weight!("view_weight", View, "What a view weighs in trending, engagement and affinity; 0 to 1000."),
    weight!("like_weight", Like, "What a like weighs; 0 to 1000."),
    weight!("comment_weight", Comment, "What a comment weighs; 0 to 1000."),
    weight!("share_weight", Share, "What a share weighs; 0 to 1000."),
    number!(
        "suggestions",
        "followees_max",
        suggestions.followees_max,
        (1, 2_000),
        "Suggestions come from at most this many followees of a user; 1 to 2000."
    ),
    number!(
        "suggestions",
        "follows_max",
        suggestions.follows_max,
        (1, 5_000),
        "Of each followee at most this many latest follows count; 1 to 5000."
    ),
    number!(
        "suggestions",
        "evidence_max",
        suggestions.evidence_max,
        (0, 20),
        "A suggestion names at most this many followees as its evidence; 0 to 20."
    ),
    number!("suggestions", "list_max", suggestions.list_max, (1, 100), "Suggestions of one answer; 1 to 100."),
    number!(
        "suggestions",
        "rising_days",
        suggestions.rising_days,
        (1, 90),
        "People who gained followers within this many days are suggested last; 1 to 90."
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_as_it_is_written_and_refused_beyond_its_range() {
        for number in NUMBERS {
            let name = format!("{}.{}", number.section, number.key);
            let (least, most) = number.range;
            for value in [least, least + 1, (least + most) / 2, most - 1, most] {
                let mut ranking = Ranking::DEFAULT;
                (number.set)(&mut ranking, value);
                assert_eq!((number.get)(&ranking), value, "{name}");
                assert_eq!(number.parse(&number.text(value)), Ok(value), "{name}");
                let same = value == (number.get)(&Ranking::DEFAULT);
                assert_eq!(ranking.fingerprint() == Ranking::DEFAULT.fingerprint(), same, "{name}");
                assert_eq!(ranking == Ranking::DEFAULT, same, "{name}");
            }
            assert!(((least)..=most).contains(&(number.get)(&Ranking::DEFAULT)), "{name}");
            let beyond = number.text(most + 1);
            for wrong in [&beyond, "-1", "", "x", "NaN", "inf", "0.00001", "1e99"] {
                let error = number.parse(wrong).unwrap_err();
                assert!(error.starts_with(&format!("expected {} to {}", number.text(least), number.text(most))));
            }
            assert!(number.help.ends_with(&format!("{} to {}.", number.text(least), number.text(most))), "{name}");
        }
        for window in 0..4 {
            let mut ranking = Ranking::DEFAULT;
            ranking.trending.windows[window] = false;
            assert_ne!(ranking.fingerprint(), Ranking::DEFAULT.fingerprint());
        }
    }
}
