//! Explains why a user's feed shows or does not show a post. The module puts the explanation of the ranking
//! (`feed/rank.rs`) into words, for a running node and for the store of a stopped node.

use parking_lot::RwLock;

use crate::clock::rfc3339;
use crate::event::{Cell, Id, Row, Table};
use crate::feed::candidates::{Barred, Missed};
use crate::feed::rank::{self, Clash, Explained, Making, Ranked, Scoring};
use crate::feed::shown;
use crate::feed::snapshot::{Algorithm, Ask, Snapshots};
use crate::schema::Uuid;
use crate::state::ranking::{FeedNumbers, Ranking};
use crate::state::{PostNo, State, UserNo};

use super::gate::{ReadFailed, Stored};
use super::shapes::{Features, FeedItem, FeedSource, PostExplained, RankingShown, Rule, Terms};

/// The question about a post in a feed, and the data for the explanation.
pub struct Asked<'a> {
    pub user: Id,
    pub post: Id,
    pub now_ms: i64,
    pub state: &'a RwLock<State>,
    /// The snapshots of the feeds that nova serves.
    pub feeds: &'a Snapshots,
    /// The posts of the 24 h trending list.
    pub trending: &'a [PostNo],
    /// Reads a row from the store.
    pub row: &'a dyn Fn(Table, Id) -> Result<Stored, ReadFailed>,
}

/// Explains one post in the feed that nova serves. If the feed does not have the post, nova makes a new feed to find
/// out why.
pub fn explain(asked: &Asked<'_>) -> Result<PostExplained, ReadFailed> {
    let Asked { user, post, now_ms, state, feeds, trending, .. } = *asked;
    let (algorithm, shown) = (Algorithm::Ranked, &shown::NOTHING);
    let ask = Ask { user, algorithm, cursor: None, shown, limit: 1, now_ms, trending, late: &|| false };
    let page = feeds.page(state, &ask);
    let served = page.snapshot.posts().iter().zip(1..).find(|(ranked, _)| ranked.post == post);
    let state = state.read();
    let number = state.post_ids.number(post).filter(|number| state.posts.row(*number).is_some());
    let (ranking, scoring) = (*state.ranking(), *page.snapshot.scoring());
    let told = Told { asked, as_of_ms: now_ms, ranking, scoring };
    let Some(number) = number else {
        return Ok(match (asked.row)(Table::Posts, post)? {
            Stored::Nothing => told.out(Rule::UnknownPost, "nova has no such post: its row never came".to_owned()),
            _ => told.out(Rule::NotVisible, "its row was deleted".to_owned()),
        });
    };
    if let (Some((ranked, place)), true) = (served, state.visible(number)) {
        let told = Told { as_of_ms: page.snapshot.as_of_ms, ..told };
        return Ok(told.shown(ranked, place));
    }
    let making = Making { relaxed: feeds.relaxed_spacing(), ..Making::strict(now_ms, trending) };
    let reader = state.users.number(user).unwrap_or(UserNo::NOBODY);
    let explained = rank::explain(&state, reader, number, &making);
    let author = state.posts.author(number).map(|author| state.users.id(author));
    drop(state);
    told.why(explained, author, page.snapshot.as_of_ms)
}

struct Told<'a> {
    asked: &'a Asked<'a>,
    as_of_ms: i64,
    ranking: Ranking,
    scoring: Scoring,
}

impl Told<'_> {
    fn told(&self, rule: Option<Rule>, why: String, item: Option<FeedItem>) -> PostExplained {
        PostExplained {
            user_id: Uuid(self.asked.user),
            post_id: Uuid(self.asked.post),
            as_of: time(self.as_of_ms),
            shown: rule.is_none(),
            rule,
            why,
            item,
            ranking: RankingShown::of(&self.ranking),
        }
    }

    fn item(&self, ranked: &Ranked, place: u32) -> FeedItem {
        item(ranked, &self.scoring, place)
    }

    fn out(&self, rule: Rule, why: String) -> PostExplained {
        self.told(Some(rule), why, None)
    }

    fn shown(&self, ranked: &Ranked, place: u32) -> PostExplained {
        let why = format!("it stands at place {place}; by its score alone it would stand at {}", ranked.rank_before);
        self.told(None, why, Some(self.item(ranked, place)))
    }

    fn why(&self, explained: Explained, author: Option<Id>, served_ms: i64) -> Result<PostExplained, ReadFailed> {
        Ok(match explained {
            Explained::Barred(Barred::Hidden) => self.out(Rule::NotVisible, self.hidden(author)?),
            Explained::Barred(Barred::Own) => self.out(Rule::Own, "it is the user's own".to_owned()),
            Explained::Barred(Barred::Seen { until_ms }) => {
                self.out(Rule::Seen, format!("the user viewed it; it may come again at {}", time(until_ms)))
            }
            Explained::Missed(missed) => self.missed(missed),
            Explained::Placed { place, post } => {
                let why = format!(
                    "a feed that were made now would have it at place {place}; the one that is served was made at {}",
                    time(served_ms)
                );
                self.told(Some(Rule::Snapshot), why, Some(self.item(&post, place)))
            }
            Explained::Spaced { place, clash, post } => {
                let rule = self.clash(clash);
                let why = format!("the feed ends before place {place}, where no remaining post fits: {rule}");
                self.told(Some(Rule::Spacing), why, Some(self.item(&post, place)))
            }
            Explained::Full { post } => {
                let length = self.ranking.feed.length;
                let why = format!("a feed has {length} posts, and as many come before it");
                self.told(Some(Rule::Cap), why, Some(self.item(&post, length + 1)))
            }
            // The feed that nova makes for an explanation has no time limit, and has no posts that the reader has
            // already seen.
            Explained::Shown | Explained::Cut => self.out(Rule::Snapshot, "it stands in another feed".to_owned()),
        })
    }

    fn clash(&self, clash: Clash) -> String {
        let FeedNumbers { author_distance, top_places, head_places, head_per_author, .. } = self.ranking.feed;
        let places = match author_distance - 1 {
            1 => "one place".to_owned(),
            2 => "two places".to_owned(),
            places => format!("{places} places"),
        };
        match clash {
            Clash::Near => format!("its author stands within {places} before it"),
            Clash::Top => format!("its author stands in the first {top_places} places already"),
            Clash::Head => {
                format!("its author stands {head_per_author} times in the first {head_places} places already")
            }
        }
    }

    fn missed(&self, missed: Missed) -> PostExplained {
        let FeedNumbers { followed_max, affinity_max, followed_max_age_h, affinity_max_age_h, .. } = self.ranking.feed;
        let ages = match followed_max_age_h == affinity_max_age_h {
            true => format!("{followed_max_age_h} hours"),
            false => format!("{followed_max_age_h} hours (by affinity {affinity_max_age_h})"),
        };
        match missed {
            Missed::Author => {
                let why = "the user neither follows its author nor has affinity to them, and it does not trend";
                self.out(Rule::Author, why.to_owned())
            }
            Missed::Ahead => self.out(Rule::Age, "it is dated ahead of nova's clock".to_owned()),
            Missed::Age => self.out(Rule::Age, format!("it is older than {ages}, and does not trend")),
            Missed::Cap { followed: true } => {
                let why = format!("{followed_max} posts of those whom the user follows are newer");
                self.out(Rule::Cap, why)
            }
            Missed::Cap { followed: false } => {
                let why = format!("{affinity_max} posts of authors to whom the user has affinity come before it");
                self.out(Rule::Cap, why)
            }
        }
    }

    /// The column that hides the post. The state in memory only says that a post is hidden.
    fn hidden(&self, author: Option<Id>) -> Result<String, ReadFailed> {
        if let Stored::Row(row) = (self.asked.row)(Table::Posts, self.asked.post)? {
            match (cell(Table::Posts, &row, "status"), cell(Table::Posts, &row, "soft_delete")) {
                (Some(Cell::Text(status)), _) if **status != *"published" => {
                    return Ok(format!("its status is {status}"));
                }
                (_, Some(Cell::Micros(at_us))) => return Ok(format!("it was deleted at {}", rfc3339(*at_us))),
                _ => {}
            }
        }
        let author = author.map_or(Ok(Stored::Nothing), |author| (self.asked.row)(Table::Users, author))?;
        Ok(match author {
            Stored::Row(row) => match cell(Table::Users, &row, "deleted_at") {
                Some(Cell::Micros(at_us)) => format!("its author was deleted at {}", rfc3339(*at_us)),
                _ => "its author is not active".to_owned(),
            },
            _ => "its author was deleted".to_owned(),
        })
    }
}

fn cell<'a>(table: Table, row: &'a Row, name: &str) -> Option<&'a Cell> {
    row.cells.get(table.columns().iter().position(|column| column.name == name)?)
}

fn time(ms: i64) -> String {
    rfc3339(ms.saturating_mul(1_000))
}

/// Rounds a value as a page of the feed does.
fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

fn item(ranked: &Ranked, scoring: &Scoring, rank: u32) -> FeedItem {
    let sources = [
        (ranked.sources.followed, FeedSource::Followed),
        (ranked.sources.trending, FeedSource::Trending),
        (ranked.sources.affinity, FeedSource::Affinity),
    ];
    let terms = ranked.terms(scoring);
    let [recency, engagement, affinity] = terms.map(|term| rounded(term, 6));
    let age_h = rounded(ranked.age_h, 4);
    FeedItem {
        post_id: Uuid(ranked.post),
        author_id: Uuid(ranked.author),
        rank,
        age_h: None,
        rank_before_spacing: Some(ranked.rank_before),
        score: Some(rounded(terms.iter().sum(), 6)),
        sources: Some(sources.into_iter().filter(|(is, _)| *is).map(|(_, source)| source).collect()),
        features: Some(Features { age_h, engagement: ranked.engagement, affinity: ranked.affinity }),
        terms: Some(Terms { recency, engagement, affinity }),
    }
}
