//! A naive reference for trending, feeds and suggestions: clear code with plain maps, written only from the rules in
//! the documents. The reference keeps every row and event, and counts everything again for each query.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use nova::event::{Action, Effect, Facts, Id};
use nova::state::ranking::Ranking;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

#[derive(Default)]
pub struct Naive {
    /// The weights and limits of the ranking.
    pub ranking: Ranking,
    rows: BTreeMap<Id, Facts>,
    /// The author of each post, which is kept after the post is deleted. Actions on a deleted post still count for the
    /// author.
    authors: BTreeMap<Id, Id>,
    /// The times of the impressions, views and shares that count, by (user, post, action).
    counted: BTreeMap<(Id, Id, u8), Vec<i64>>,
    views: BTreeMap<(Id, Id), Vec<i64>>,
}

/// The contents of the reference at one moment.
pub struct View {
    ranking: Ranking,
    users: BTreeMap<Id, bool>,
    /// The author, the creation time and the visibility of each post.
    posts: BTreeMap<Id, (Id, i64, bool)>,
    /// The users whom each user follows, with the times of the follows.
    follows: BTreeMap<Id, BTreeMap<Id, i64>>,
    followers: BTreeMap<Id, BTreeSet<Id>>,
    /// The user, the post, the action and the time of each action.
    actions: Vec<(Id, Id, Action, i64)>,
    views: BTreeMap<(Id, Id), Vec<i64>>,
    authors: BTreeMap<Id, Id>,
}

impl Naive {
    /// Makes a reference with the given ranking parameters.
    pub fn by(ranking: Ranking) -> Naive {
        Naive { ranking, ..Naive::default() }
    }

    pub fn apply(&mut self, effect: &Effect) {
        if let Effect::Row { key, new: Some(Facts::Post { author, .. }), .. } = effect {
            self.authors.insert(*key, *author);
        }
        match effect {
            Effect::Row { key, new: Some(new), .. } => drop(self.rows.insert(*key, new.clone())),
            Effect::Row { key, new: None, .. } => drop(self.rows.remove(key)),
            Effect::Event { user, post, action, at_ms, .. } => {
                if *action == Action::View {
                    self.views.entry((*user, *post)).or_default().push(*at_ms);
                }
                let times = self.counted.entry((*user, *post, *action as u8)).or_default();
                let counts = match action {
                    Action::Impression | Action::View | Action::Share => {
                        !times.iter().any(|at| *at <= *at_ms && at_ms - at < DAY_MS)
                    }
                    Action::Like | Action::Comment => false,
                };
                if counts {
                    times.push(*at_ms);
                }
            }
            // None of the rows in the tested worlds has a time in the future.
            Effect::Dated { .. } => {}
        }
    }

    pub fn view(&self) -> View {
        let mut view = View {
            ranking: self.ranking,
            users: BTreeMap::new(),
            posts: BTreeMap::new(),
            follows: BTreeMap::new(),
            followers: BTreeMap::new(),
            actions: Vec::new(),
            views: self.views.clone(),
            authors: self.authors.clone(),
        };
        for ((user, post, action), times) in &self.counted {
            view.actions.extend(times.iter().map(|at| (*user, *post, Action::ALL[*action as usize], *at)));
        }
        for (key, facts) in &self.rows {
            match facts {
                Facts::User { active, .. } => drop(view.users.insert(*key, *active)),
                Facts::Post { author, created_at_us, published } => {
                    let active = !matches!(self.rows.get(author), Some(Facts::User { active: false, .. }));
                    view.posts.insert(*key, (*author, *created_at_us, *published && active));
                }
                Facts::Follow { follower, followee, created_at_us } => {
                    let since = view.follows.entry(*follower).or_default().entry(*followee).or_insert(*created_at_us);
                    *since = (*since).max(*created_at_us);
                    view.followers.entry(*followee).or_default().insert(*follower);
                }
                Facts::Like { user, post, created_at_us } => {
                    view.actions.push((*user, *post, Action::Like, created_at_us.div_euclid(1_000)));
                }
                Facts::Comment { user, post, created_at_us, counts: true } => {
                    view.actions.push((*user, *post, Action::Comment, created_at_us.div_euclid(1_000)));
                }
                Facts::Comment { .. } => {}
            }
        }
        view
    }
}

impl View {
    fn weight(&self, action: Action) -> i64 {
        self.ranking.weights[action as usize]
    }

    /// Returns the posts with ten times their scores, best first.
    pub fn trending(&self, window: &str, now_ms: i64) -> Vec<(Id, i64)> {
        let (length, bucket) = match window {
            "1h" => (HOUR_MS, 60_000),
            "6h" => (6 * HOUR_MS, 300_000),
            "24h" => (DAY_MS, 300_000),
            _ => (7 * DAY_MS, HOUR_MS),
        };
        let end = now_ms - now_ms.rem_euclid(bucket) + bucket;
        let mut scores: BTreeMap<Id, i64> = BTreeMap::new();
        for (_, post, action, at) in &self.actions {
            if *at >= end - length && *at < end {
                *scores.entry(*post).or_default() += self.weight(*action);
            }
        }
        let posts = &self.posts;
        let visible = |post: &Id| posts.get(post).is_some_and(|(_, _, visible)| *visible);
        let mut list: Vec<_> = scores.into_iter().filter(|(post, score)| *score > 0 && visible(post)).collect();
        list.sort_by_key(|(post, score)| (Reverse(*score), Reverse(posts[post].1), *post));
        list.truncate(self.ranking.trending.list_max as usize);
        list
    }

    /// Returns, for each author, ten times the weight of the user's actions on the author's posts that count and are
    /// from the last 90 days.
    fn affinities(&self, user: Id, now_ms: i64) -> BTreeMap<Id, i64> {
        let today = now_ms.div_euclid(DAY_MS);
        let mut sums = BTreeMap::new();
        for (_, post, action, at) in self.actions.iter().filter(|(who, ..)| *who == user) {
            let day = at.div_euclid(DAY_MS);
            if let Some(author) = self.authors.get(post).filter(|_| day > today - 90 && day <= today) {
                *sums.entry(*author).or_default() += self.weight(*action);
            }
        }
        sums.retain(|_, weight| *weight > 0);
        sums
    }

    pub fn feed(&self, user: Id, now_ms: i64) -> Vec<Id> {
        let (posts, none) = (&self.posts, BTreeMap::new());
        let affinities = self.affinities(user, now_ms);
        let rules = &self.ranking.feed;
        let recent = |at_us: i64, hours: u32| {
            at_us >= (now_ms - i64::from(hours) * HOUR_MS) * 1_000 && at_us <= now_ms * 1_000 + 999
        };
        let newest = |list: &mut Vec<Id>| list.sort_by_key(|post| (Reverse(posts[post].1), *post));
        let by = |author: &Id, hours: u32| {
            let mut list: Vec<Id> =
                posts.iter().filter(|(_, row)| row.0 == *author && recent(row.1, hours)).map(|(id, _)| *id).collect();
            newest(&mut list);
            list
        };
        let mut followed: Vec<Id> = self
            .follows
            .get(&user)
            .unwrap_or(&none)
            .keys()
            .flat_map(|author| by(author, rules.followed_max_age_h))
            .collect();
        newest(&mut followed);
        followed.truncate(rules.followed_max as usize);
        let mut authors: Vec<_> = affinities.iter().collect();
        authors.sort_by_key(|(author, weight)| (Reverse(**weight), **author));
        let affine = authors.iter().flat_map(|(author, _)| by(author, rules.affinity_max_age_h));
        let affine = affine.take(rules.affinity_max as usize);
        let trending = self.trending("24h", now_ms).into_iter().map(|(post, _)| post);
        let trending = trending.take(rules.trending_max as usize);
        let candidates: BTreeSet<Id> = followed.iter().copied().chain(trending).chain(affine).collect();

        let second = |ms: i64| ms.div_euclid(1_000);
        let seen = |post: &Id| {
            let last = self.views.get(&(user, *post)).and_then(|times| times.iter().max());
            last.is_some_and(|at| second(now_ms) - second(*at) < 86_400)
        };
        let mut engagement: BTreeMap<Id, i64> = BTreeMap::new();
        for (_, post, action, _) in &self.actions {
            *engagement.entry(*post).or_default() += self.weight(*action);
        }
        let mut rest: Vec<(f64, Id, Id)> = Vec::new();
        for post in candidates {
            let (author, created_us, visible) = posts[&post];
            if author == user || !visible || seen(&post) {
                continue;
            }
            let age_h = (now_ms * 1_000 - created_us).max(0) as f64 / 3.6e9;
            let engagement = engagement.get(&post).copied().unwrap_or(0) as f64 / 10.0;
            let affinity = affinities.get(&author).copied().unwrap_or(0) as f64 / 10.0;
            let [recency, decay, by_engagement, by_affinity] =
                [rules.recency_weight, rules.recency_decay, rules.engagement_weight, rules.affinity_weight]
                    .map(|thousandths| f64::from(thousandths.0) / 1_000.0);
            let score =
                recency * (-decay * age_h).exp() + by_engagement * engagement.ln_1p() + by_affinity * affinity.ln_1p();
            rest.push((score, post, author));
        }
        rest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut list: Vec<(Id, Id)> = Vec::new();
        let (top, head) = (rules.top_places as usize, rules.head_places as usize);
        while list.len() < rules.length as usize {
            let place = list.len() + 1;
            let fits = |author: Id| {
                let times = |places: usize| list.iter().take(places).filter(|(_, other)| *other == author).count();
                let near =
                    list.iter().rev().take(rules.author_distance as usize - 1).any(|(_, other)| *other == author);
                !near
                    && (place > top || times(top) == 0)
                    && (place > head || times(head) < rules.head_per_author as usize)
            };
            let Some(at) = rest.iter().position(|(_, _, author)| fits(*author)) else { break };
            let (_, post, author) = rest.remove(at);
            list.push((post, author));
        }
        list.into_iter().map(|(post, _)| post).collect()
    }

    pub fn suggestions(&self, user: Id, now_ms: i64, limit: usize) -> Vec<Id> {
        let limit = limit.min(self.ranking.suggestions.list_max as usize);
        let none = BTreeMap::new();
        let affinities = self.affinities(user, now_ms);
        let of = |who: Id| self.follows.get(&who).unwrap_or(&none).iter().map(|(to, at)| (*to, *at));
        let followers = |who: Id| self.followers.get(&who).map_or(0, BTreeSet::len);
        let mut read: Vec<_> = of(user).collect();
        read.sort_by_key(|(to, at)| (Reverse(affinities.get(to).copied().unwrap_or(0)), Reverse(*at), *to));
        let rules = &self.ranking.suggestions;
        read.truncate(rules.followees_max as usize);
        let mut mutual: BTreeMap<Id, usize> = BTreeMap::new();
        for (followee, _) in &read {
            let mut theirs: Vec<_> = of(*followee).collect();
            theirs.sort_by_key(|(to, at)| (Reverse(*at), *to));
            for (other, _) in theirs.into_iter().take(rules.follows_max as usize) {
                *mutual.entry(other).or_default() += 1;
            }
        }
        let allowed = |other: &Id| {
            let followed = self.follows.get(&user).is_some_and(|list| list.contains_key(other));
            *other != user && self.users.get(other) == Some(&true) && !followed
        };
        let mut list: Vec<_> = mutual.into_iter().filter(|(other, _)| allowed(other)).collect();
        list.sort_by_key(|(other, count)| (Reverse(*count), Reverse(followers(*other)), *other));
        let mut out: Vec<Id> = list.into_iter().map(|(other, _)| other).collect();
        let mut fans: Vec<Id> = self.followers.get(&user).into_iter().flatten().copied().collect();
        fans.retain(|other| allowed(other) && !out.contains(other));
        fans.sort_by_key(|other| (Reverse(followers(*other)), *other));
        if out.len() < limit {
            out.extend(fans);
        }
        if out.len() < limit {
            let mut gained: BTreeMap<Id, usize> = BTreeMap::new();
            for (to, at) in self.follows.values().flatten() {
                if *at > (now_ms - i64::from(rules.rising_days) * DAY_MS) * 1_000 && *at <= now_ms * 1_000 {
                    *gained.entry(*to).or_default() += 1;
                }
            }
            let mut rising: Vec<_> = gained.into_iter().filter(|(o, _)| allowed(o) && !out.contains(o)).collect();
            rising.sort_by_key(|(other, count)| (Reverse(*count), *other));
            out.extend(rising.into_iter().map(|(other, _)| other));
        }
        out.truncate(limit);
        out
    }
}
