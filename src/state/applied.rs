//! Says what an effect did to the lists that nova serves. Only the listeners of `tap` need the result of an effect.
//! nova measures the result while it applies the effect, and does not keep the result.

use crate::event::{Effect, Facts, Id};

use super::posts::{Counted, PostRow};
use super::settings::CountedFrom;
use super::whole::State;
use super::window::Window;

/// The result that an effect had for the lists that nova serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The counts of the listed posts changed. A changed row may take a count from one post and give it to another
    /// post.
    Counted(Vec<Moved>),
    /// An earlier action of the same user on the post counts, so the action of this effect does not count.
    Repeated,
    /// nova counts actions of this kind from the given source, and not from the source of the effect.
    Elsewhere(CountedFrom),
    /// The user's set of followees changed. `followees` and `followers` are the numbers after the change.
    Followed { followees: usize, followers: usize },
    /// The post was shown before the effect or is shown after it, so feeds are made again. `tenths` is the change of
    /// the 24-hour score, times ten.
    Posted { followers: usize, tenths: i64 },
    /// The effect shows or hides the published posts of the user.
    Author { posts: usize, shown: bool },
    /// The effect changed no list.
    Nothing,
}

/// The change of the score of a post in the window of 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub post: Id,
    /// The change of the weighted counts in the window, times ten.
    pub tenths: i64,
    pub standing: Standing,
}

/// Says whether a count can change the trending list of 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Listed,
    /// The post may not be shown.
    Hidden,
    /// The time of the count is outside of the window.
    Outside,
    /// nova does not keep the trending list of 24 hours.
    Unkept,
}

impl State {
    /// Applies an effect like [`State::apply`], and returns what the effect did. Scores are of the window at `now_ms`.
    pub fn apply_told(&mut self, effect: &Effect, now_ms: i64) -> Applied {
        let row = match effect {
            Effect::Row { key, old, new } => new.as_ref().or(old.as_ref()).map(|facts| (*key, facts)),
            Effect::Event { .. } | Effect::Dated { .. } => None,
        };
        let before = row.map_or(0, |(key, facts)| self.mark(key, facts));
        self.posts.told = Some(Vec::new());
        self.apply(effect);
        let counted = self.posts.told.take().unwrap_or_default();
        if !counted.is_empty() {
            return Applied::Counted(self.moved(&counted, now_ms));
        }
        match (effect, row) {
            (Effect::Event { action, .. }, _) => match self.settings().source(*action) {
                CountedFrom::Cdc => Applied::Elsewhere(CountedFrom::Cdc),
                CountedFrom::Events => Applied::Repeated,
            },
            (_, Some((key, facts))) => self.row_applied(key, facts, before, now_ms),
            (_, None) => Applied::Nothing,
        }
    }

    /// Returns a number that changes if an effect on the row changes the served lists. For a follow, the number is the
    /// version of the follower's set of followees. For a post or a user, the number says whether the post or the user's
    /// posts may be shown.
    fn mark(&self, key: Id, facts: &Facts) -> u32 {
        match facts {
            Facts::User { .. } => {
                let row = self.users.number(key).and_then(|user| self.user_row(user));
                u32::from(row.is_none_or(|row| row.active))
            }
            Facts::Post { .. } => u32::from(self.post_ids.number(key).is_some_and(|post| self.visible(post))),
            Facts::Follow { follower, .. } => {
                self.users.number(*follower).map_or(0, |follower| self.graph.version(follower))
            }
            Facts::Like { .. } | Facts::Comment { .. } => 0,
        }
    }

    /// Returns the result of a changed row for which no count changed.
    fn row_applied(&self, key: Id, facts: &Facts, before: u32, now_ms: i64) -> Applied {
        let after = self.mark(key, facts);
        let counted = facts.counted();
        match facts {
            Facts::Post { author, .. } if before + after > 0 => {
                let followers = self.users.number(*author).map_or(0, |author| self.graph.followers_len(author));
                let post = self.post_ids.number(key).filter(|_| before != after && self.keeps_day());
                let score = post.map_or(0, |post| self.scores(post, &[Window::Day.range(now_ms)])[0]);
                Applied::Posted { followers, tenths: if after > before { score } else { -score } }
            }
            Facts::User { .. } if before != after => {
                let list = self.users.number(key).map_or(&[][..], |user| self.posts.of_author(user));
                let published = |row: PostRow| row.published;
                let posts = list.iter().filter(|post| self.posts.row(**post).is_some_and(published)).count();
                Applied::Author { posts, shown: after > before }
            }
            Facts::Follow { follower, followee, .. } if before != after => {
                let (follower, followee) = (self.users.number(*follower), self.users.number(*followee));
                Applied::Followed {
                    followees: follower.map_or(0, |user| self.graph.followees_len(user)),
                    followers: followee.map_or(0, |user| self.graph.followers_len(user)),
                }
            }
            // Every counted row changes a count, unless nova counts its action from events.
            Facts::Like { .. } | Facts::Comment { .. } if counted.is_some() => Applied::Elsewhere(CountedFrom::Events),
            _ => Applied::Nothing,
        }
    }

    fn keeps_day(&self) -> bool {
        self.ranking().trending.windows[Window::Day as usize]
    }

    /// Returns the counts of an effect, summed for each post.
    fn moved(&self, counted: &[Counted], now_ms: i64) -> Vec<Moved> {
        let (range, weights) = (Window::Day.range(now_ms), self.ranking().weights);
        let mut all: Vec<Moved> = Vec::new();
        for one in counted {
            let within = range.contains(&i64::from(one.minute));
            let tenths = if within { weights[one.action as usize] * i64::from(one.sign) } else { 0 };
            let standing = match (self.keeps_day(), self.visible(one.post), within) {
                (false, _, _) => Standing::Unkept,
                (true, false, _) => Standing::Hidden,
                (true, true, false) => Standing::Outside,
                (true, true, true) => Standing::Listed,
            };
            let post = self.post_ids.id(one.post);
            match all.iter_mut().find(|known| known.post == post) {
                Some(known) => {
                    known.tenths += tenths;
                    // A row that moves into the window or out of the window changes the score.
                    if standing == Standing::Listed {
                        known.standing = standing;
                    }
                }
                None => all.push(Moved { post, tenths, standing }),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::Action;
    use crate::state::{DAY_MS, MINUTE_MS, StateSettings};
    use proptest::prelude::*;

    const NOW_MS: i64 = 20_000 * DAY_MS;

    fn id(number: u128) -> Id {
        Id::from_u128(number)
    }

    fn post(author: u128, published: bool) -> Facts {
        Facts::Post { author: id(author), created_at_us: 1, published }
    }

    fn added(key: u128, new: Facts) -> Effect {
        Effect::Row { key: id(key), old: None, new: Some(new) }
    }

    fn event(user: u128, action: Action, at_ms: i64) -> Effect {
        Effect::Event { user: id(user), post: id(20), action, at_ms, dwell_ms: 0 }
    }

    fn moved(tenths: i64, standing: Standing) -> Applied {
        Applied::Counted(vec![Moved { post: id(20), tenths, standing }])
    }

    #[test]
    fn an_event_moves_the_score_by_its_weight_once() {
        let mut state = State::new(StateSettings::default());
        let mut told = |effect: Effect| state.apply_told(&effect, NOW_MS);
        assert_eq!(told(event(1, Action::View, NOW_MS)), moved(1, Standing::Hidden), "there is no row of the post");
        assert_eq!(told(added(20, post(5, true))), Applied::Posted { followers: 0, tenths: 1 });
        assert_eq!(told(event(1, Action::View, NOW_MS)), Applied::Repeated);
        assert_eq!(told(event(2, Action::Share, NOW_MS)), moved(50, Standing::Listed));
        assert_eq!(told(event(3, Action::Share, NOW_MS - 2 * DAY_MS)), moved(0, Standing::Outside));
        assert_eq!(told(event(2, Action::Like, NOW_MS)), Applied::Elsewhere(CountedFrom::Cdc));
        let mut settings = StateSettings::default();
        settings.ranking.trending.windows[Window::Day as usize] = false;
        let mut state = State::new(settings);
        state.apply(&added(20, post(5, true)));
        assert_eq!(state.apply_told(&event(2, Action::Share, NOW_MS), NOW_MS), moved(50, Standing::Unkept));
    }

    #[test]
    fn a_row_tells_which_lists_it_changed() {
        let mut state = State::new(StateSettings::default());
        let mut told = |effect: Effect| state.apply_told(&effect, NOW_MS);
        let follow = |at_us| Facts::Follow { follower: id(1), followee: id(5), created_at_us: at_us };
        assert_eq!(told(added(30, follow(1))), Applied::Followed { followees: 1, followers: 1 });
        assert_eq!(told(added(31, follow(2))), Applied::Nothing, "another row of the same follow");
        let gone = |key: u128, old: Facts| Effect::Row { key: id(key), old: Some(old), new: None };
        assert_eq!(told(gone(31, follow(2))), Applied::Nothing);
        assert_eq!(told(added(20, post(5, false))), Applied::Nothing, "a hidden post is in no list");
        let shown = |before: bool| Effect::Row { key: id(20), old: Some(post(5, before)), new: Some(post(5, !before)) };
        assert_eq!(told(shown(false)), Applied::Posted { followers: 1, tenths: 0 });
        let like = || Facts::Like { user: id(2), post: id(20), created_at_us: NOW_MS * 1_000 };
        assert_eq!(told(added(40, like())), moved(20, Standing::Listed));
        let comment = |counts| Facts::Comment { user: id(2), post: id(20), created_at_us: NOW_MS * 1_000, counts };
        assert_eq!(told(added(41, comment(true))), moved(30, Standing::Listed));
        let deleted = Effect::Row { key: id(41), old: Some(comment(true)), new: Some(comment(false)) };
        assert_eq!(told(deleted), moved(-30, Standing::Listed));
        assert_eq!(told(gone(41, comment(false))), Applied::Nothing);
        let user = |active| Facts::User { username: "a".into(), active, created_at_us: 1 };
        assert_eq!(told(added(5, user(true))), Applied::Nothing, "an author without a row counts as active");
        let off = Effect::Row { key: id(5), old: Some(user(true)), new: Some(user(false)) };
        assert_eq!(told(off), Applied::Author { posts: 1, shown: false });
        assert_eq!(told(gone(40, like())), moved(-20, Standing::Hidden));
        assert_eq!(told(gone(5, user(false))), Applied::Author { posts: 1, shown: true });
        assert_eq!(told(gone(20, post(5, true))), Applied::Posted { followers: 1, tenths: 0 });
        assert_eq!(told(gone(30, follow(1))), Applied::Followed { followees: 0, followers: 0 });
    }

    #[test]
    fn a_row_counts_nothing_where_events_count() {
        let mut state = State::new(StateSettings { likes: CountedFrom::Events, ..StateSettings::default() });
        state.apply(&added(20, post(5, true)));
        let like = Facts::Like { user: id(2), post: id(20), created_at_us: NOW_MS * 1_000 };
        assert_eq!(state.apply_told(&added(40, like), NOW_MS), Applied::Elsewhere(CountedFrom::Events));
        assert_eq!(state.apply_told(&event(2, Action::Like, NOW_MS), NOW_MS), moved(20, Standing::Listed));
        assert_eq!(state.apply_told(&event(2, Action::Like, NOW_MS), NOW_MS), Applied::Repeated);
    }

    proptest! {
        /// Whatever happens to a post, the reported changes of its score add up to its score.
        #[test]
        fn what_is_told_adds_up_to_the_score(
            steps in proptest::collection::vec((0u8..6, 0u32..4, 0u32..3, -100i64..30 * 60), 1..80),
        ) {
            let mut state = State::new(StateSettings::default());
            let (mut sums, mut rows) = (BTreeMap::<Id, i64>::new(), BTreeMap::<u128, Facts>::new());
            for (kind, user, of, minutes_ago) in steps {
                let (at_ms, user, key) = (NOW_MS - minutes_ago * MINUTE_MS, u128::from(user), 20 + u128::from(of));
                let row = |rows: &mut BTreeMap<u128, Facts>, key: u128, new: Option<Facts>| {
                    let old = match new.clone() {
                        Some(new) => rows.insert(key, new),
                        None => rows.remove(&key),
                    };
                    Effect::Row { key: id(key), old, new }
                };
                let like = Facts::Like { user: id(user), post: id(key), created_at_us: at_ms * 1_000 };
                let effect = match kind {
                    0 => Effect::Event { user: id(user), post: id(key), action: Action::View, at_ms, dwell_ms: 0 },
                    1 => Effect::Event { user: id(user), post: id(key), action: Action::Share, at_ms, dwell_ms: 0 },
                    2 => row(&mut rows, 100 + user, Some(like)),
                    3 => row(&mut rows, 100 + user, None),
                    4 => row(&mut rows, key, Some(post(9, minutes_ago % 2 == 0))),
                    _ => row(&mut rows, key, None),
                };
                match state.apply_told(&effect, NOW_MS) {
                    Applied::Counted(all) => {
                        for one in all.iter().filter(|one| one.standing == Standing::Listed) {
                            *sums.entry(one.post).or_default() += one.tenths;
                        }
                    }
                    Applied::Posted { tenths, .. } => *sums.entry(id(key)).or_default() += tenths,
                    _ => {}
                }
                for post in state.post_ids.numbers() {
                    let [score] = state.scores(post, &[Window::Day.range(NOW_MS)]);
                    let score = if state.visible(post) { score } else { 0 };
                    let sum = sums.get(&state.post_ids.id(post)).copied().unwrap_or(0);
                    prop_assert_eq!(sum, score);
                }
            }
        }
    }
}
