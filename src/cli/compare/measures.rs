//! The lists of two configurations, and the differences between them.

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::event::Id;

use super::log::Act;
use super::side::{FIRST, Shown};

/// A running mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean with three decimals, or `None` if no values were added.
    pub(super) fn get(self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count) * 1e3).round() / 1e3)
    }
}

/// Sums over all feeds of one configuration.
#[derive(Debug, Default)]
pub(super) struct OfSide {
    posts: Mean,
    authors: Mean,
    most_of_one: Mean,
    median_age_h: Mean,
    clicks_shown: u64,
    likes_shown: u64,
}

/// The report about one configuration.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct SideReport {
    /// The mean number of posts among the first 20 places of a feed.
    pub posts: Option<f64>,
    /// The mean number of different authors among the first 20 places of a feed.
    pub authors: Option<f64>,
    /// The fraction (0 to 1) of a feed's first 20 posts that are by the feed's most frequent author.
    pub share_of_one_author: Option<f64>,
    /// The median age of the feed's posts, in hours.
    pub median_age_h: Option<f64>,
    /// The number of later clicks on posts that the feeds showed.
    pub clicks_shown: u64,
    /// The number of later likes of posts that the feeds showed.
    pub likes_shown: u64,
}

impl OfSide {
    fn add(&mut self, feed: &[Shown], later: &[Act]) {
        self.posts.add(feed.len() as f64);
        if !feed.is_empty() {
            let mut authors: Vec<_> = feed.iter().map(|post| post.author).collect();
            authors.sort_unstable();
            let runs = authors.chunk_by(|one, other| one == other).map(<[Id]>::len);
            let most = runs.clone().max().unwrap_or(0);
            self.authors.add(runs.count() as f64);
            self.most_of_one.add(most as f64 / feed.len() as f64);
            let mut ages_h: Vec<_> = feed.iter().map(|post| post.age_h).collect();
            ages_h.sort_by(f64::total_cmp);
            self.median_age_h.add(ages_h[ages_h.len() / 2]);
        }
        for act in later.iter().filter(|act| feed.iter().any(|shown| shown.post == act.post)) {
            *if act.like { &mut self.likes_shown } else { &mut self.clicks_shown } += 1;
        }
    }

    fn report(&self) -> SideReport {
        SideReport {
            posts: self.posts.get(),
            authors: self.authors.get(),
            share_of_one_author: self.most_of_one.get(),
            median_age_h: self.median_age_h.get(),
            clicks_shown: self.clicks_shown,
            likes_shown: self.likes_shown,
        }
    }
}

/// The number of entries that are in both lists, divided by the length of the longer list: a fraction from 0 to 1. The
/// result for two empty lists is 1.
pub(super) fn overlap(one: &[Id], other: &[Id]) -> f64 {
    let longer = one.len().max(other.len());
    let known: FxHashSet<_> = one.iter().collect();
    let both = other.iter().filter(|id| known.contains(id)).count();
    if longer == 0 { 1.0 } else { both as f64 / longer as f64 }
}

/// The sums of the comparison over all moments and people.
#[derive(Debug, Default)]
pub(super) struct Measures {
    feeds: u64,
    clicks: u64,
    likes: u64,
    feed_overlap: Mean,
    equal: u64,
    pub suggestions_overlap: Mean,
    sides: [OfSide; 2],
}

impl Measures {
    /// Adds the feeds of one user under both configurations, and what the user did later.
    pub(super) fn add(&mut self, feeds: [&[Shown]; 2], later: &[Act]) {
        self.feeds += 1;
        let likes = later.iter().filter(|act| act.like).count() as u64;
        self.likes += likes;
        self.clicks += later.len() as u64 - likes;
        let [one, other] = feeds.map(|feed| feed.iter().map(|shown| shown.post).collect::<Vec<_>>());
        self.feed_overlap.add(overlap(&one, &other));
        self.equal += u64::from(one == other);
        for (side, feed) in self.sides.iter_mut().zip(feeds) {
            side.add(feed, later);
        }
    }

    pub(super) fn report(&self) -> FeedsReport {
        let [a, b] = &self.sides;
        FeedsReport {
            first: FIRST,
            feeds: self.feeds,
            later_clicks: self.clicks,
            later_likes: self.likes,
            overlap: self.feed_overlap.get(),
            equal: self.equal,
            suggestions_overlap: self.suggestions_overlap.get(),
            a: a.report(),
            b: b.report(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct FeedsReport {
    /// The number of first places that the comparison looks at in each list.
    pub first: usize,
    /// The number of feeds that were made under both configurations.
    pub feeds: u64,
    pub later_clicks: u64,
    pub later_likes: u64,
    /// The fraction (0 to 1) of the first posts that are in the feeds of both configurations.
    pub overlap: Option<f64>,
    /// The number of feeds that have equal first places under both configurations.
    pub equal: u64,
    pub suggestions_overlap: Option<f64>,
    pub a: SideReport,
    pub b: SideReport,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Id {
        Id::from_u128(n)
    }

    fn shown(post: u128, author: u128, age_h: f64) -> Shown {
        Shown { post: id(post), author: id(author), age_h }
    }

    #[test]
    fn lists_overlap_in_what_both_have_of_the_longer() {
        assert_eq!(overlap(&[], &[]), 1.0);
        assert_eq!(overlap(&[id(1), id(2)], &[]), 0.0);
        assert_eq!(overlap(&[id(1), id(2), id(3), id(4)], &[id(4), id(9)]), 0.25);
    }

    #[test]
    fn a_later_click_counts_for_the_side_that_showed_the_post() {
        let act = |post, like| Act { at_ms: 1, user: id(7), post: id(post), like };
        let (a, b) = ([shown(1, 5, 1.0), shown(2, 5, 3.0), shown(3, 6, 5.0)], [shown(1, 5, 1.0)]);
        let mut measures = Measures::default();
        measures.add([&a, &b], &[act(2, false), act(1, true), act(8, false)]);
        let report = measures.report();
        assert_eq!((report.feeds, report.later_clicks, report.later_likes, report.equal), (1, 2, 1, 0));
        assert_eq!((report.a.clicks_shown, report.a.likes_shown), (1, 1));
        assert_eq!((report.b.clicks_shown, report.b.likes_shown), (0, 1));
        assert_eq!((report.a.authors, report.a.share_of_one_author), (Some(2.0), Some(0.667)));
        assert_eq!((report.a.median_age_h, report.b.median_age_h), (Some(3.0), Some(1.0)));
        assert_eq!(report.overlap, Some(0.333));
    }
}
