//! Keeps what a user did to a post, and when. The touches of a user decide whether an impression, a view or a share
//! counts, and whether the user has viewed a post.
//!
//! Each user has a sorted sequence of touches with ten bytes for each entry. nova sweeps the chunks of users one by
//! one, because a sweep of all chunks at once would stop every reader for 100 ms (`docs/performance.md`).

use crate::event::Action;

use super::blocks::{Blocks, Item};
use super::chunks::Chunks;
use super::dense::{PostNo, UserNo};
use super::times::{DAY_MS, late};

/// The time within which only one impression, one view and one share of a post by the same user count.
pub const REPEAT_MS: i64 = DAY_MS;
/// Accepted events are at most a day old when they arrive, so a counted touch that is older than `KEPT_MS` does not
/// matter.
const KEPT_MS: i64 = 3 * DAY_MS;
/// The number of users in one chunk.
pub(super) const USERS: usize = 64;
/// The number of touches in a chunk at which nova first sweeps old touches. nova sweeps a chunk each time that its
/// number of touches has doubled.
const SWEEP_MIN_ENTRIES: u32 = 256;
/// The largest time that can be stored. With 46 bits, times up to 1 100 years before and after 1970 can be stored. No
/// clock accepts an event beyond the largest stored time. If an event beyond the largest stored time came nevertheless,
/// it would count at that time.
pub(super) const AT_MAX_MS: i64 = (1 << 45) - 1;
pub(super) const AT_MIN_MS: i64 = -(1 << 45);

/// The kind of a touch, which is what the user did to the post. A counted view is also the latest view of the post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The latest view of the post, if no counted view is as late.
    Viewed,
    Impression,
    View,
    Share,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Viewed, Kind::Impression, Kind::View, Kind::Share];

    /// Returns the kind of a counted action. The touches have no likes and no comments.
    pub(super) fn of(action: Action) -> Option<Kind> {
        match action {
            Action::Impression => Some(Kind::Impression),
            Action::View => Some(Kind::View),
            Action::Share => Some(Kind::Share),
            Action::Like | Action::Comment => None,
        }
    }

    fn is_view(self) -> bool {
        matches!(self, Kind::Viewed | Kind::View)
    }
}

/// A touch of a post. Touches are compared by post, then by time, then by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touch {
    post: [u16; 2],
    word: [u16; 3],
}

impl Touch {
    pub(super) fn new(post: u32, at_ms: i64, kind: Kind) -> Touch {
        let at = (at_ms.clamp(AT_MIN_MS, AT_MAX_MS) - AT_MIN_MS) as u64;
        let word = at << 2 | kind as u64;
        Touch {
            post: [(post >> 16) as u16, post as u16],
            word: [(word >> 32) as u16, (word >> 16) as u16, word as u16],
        }
    }

    /// Reads a touch that [`Touch::word`] wrote. Returns `None` if the word has more than 48 bits.
    pub(super) fn of_word(post: u32, word: u64) -> Option<Touch> {
        let at_ms = i64::try_from(word >> 2).ok()? + AT_MIN_MS;
        (at_ms <= AT_MAX_MS).then(|| Touch::new(post, at_ms, Kind::ALL[(word & 3) as usize]))
    }

    pub(super) fn post(self) -> u32 {
        u32::from(self.post[0]) << 16 | u32::from(self.post[1])
    }

    /// Returns the time and the kind of the touch in 48 bits.
    pub(super) fn word(self) -> u64 {
        self.word.iter().fold(0, |word, part| word << 16 | u64::from(*part))
    }

    pub(super) fn at_ms(self) -> i64 {
        (self.word() >> 2) as i64 + AT_MIN_MS
    }

    pub(super) fn kind(self) -> Kind {
        Kind::ALL[(self.word() & 3) as usize]
    }
}

impl Item for Touch {}

pub(super) type List = Blocks<Vec<Touch>>;

/// The touches of the users of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Users {
    pub(super) lists: [List; USERS],
    /// The number of touches that all users of the chunk have.
    pub(super) len: u32,
    pub(super) sweep_at: u32,
}

impl Default for Users {
    fn default() -> Users {
        Users { lists: std::array::from_fn(|_| List::default()), len: 0, sweep_at: 0 }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Touches {
    pub(super) chunks: Chunks<Users>,
}

/// Returns the touches of one post.
fn of_post(list: &List, post: u32) -> impl Iterator<Item = Touch> {
    list.entries_from(Touch::new(post, AT_MIN_MS, Kind::Viewed)).take_while(move |touch| touch.post() == post)
}

/// Returns the time at which the user last viewed the post, epoch milliseconds.
fn viewed_ms(list: &List, post: u32) -> Option<i64> {
    of_post(list, post).filter(|touch| touch.kind().is_view()).last().map(Touch::at_ms)
}

/// Returns the chunk of a user, and the user's index in the chunk.
pub(super) fn place(user: UserNo) -> (usize, usize) {
    (user.index() / USERS, user.index() % USERS)
}

impl Touches {
    pub(super) fn grow(&mut self, users: usize) {
        self.chunks.grow(users.div_ceil(USERS));
    }

    /// Notes an impression, a view or a share of a post. Returns true if the touch counts. A touch counts if the user
    /// has no counted touch of the same action and post in the 24 hours before the touch.
    pub(super) fn counts(&mut self, user: UserNo, post: PostNo, action: Action, at_ms: i64) -> bool {
        let Some(kind) = Kind::of(action) else { return false };
        let (chunk, at) = place(user);
        let post = post.get();
        let list = self.chunks.get(chunk).map(|users| &users.lists[at]);
        let new = Touch::new(post, at_ms, kind);
        if list.is_none_or(|list| of_post(list, post).next().is_none()) {
            let users = self.chunks.change(chunk);
            users.lists[at].insert(new);
            users.grown(1);
            return true;
        }
        let from = Touch::new(post, at_ms.saturating_sub(REPEAT_MS - 1), Kind::Viewed);
        let before = list.into_iter().flat_map(|list| list.entries_from(from)).take_while(|touch| *touch <= new);
        let repeated = before.into_iter().any(|touch| touch.kind() == kind);
        let viewed_before_ms = list.and_then(|list| viewed_ms(list, post));
        if repeated && (kind != Kind::View || viewed_before_ms.is_some_and(|before_ms| before_ms >= new.at_ms())) {
            return false;
        }
        let viewed_ms = if kind == Kind::View { viewed_before_ms.max(Some(new.at_ms())) } else { viewed_before_ms };
        let users = self.chunks.change(chunk);
        let list = &mut users.lists[at];
        let len = list.len();
        if !repeated {
            // The time of the user's own touch decides what is old, because a lagging partition may be days behind the
            // latest time.
            forget(list, post, at_ms.saturating_sub(KEPT_MS));
            list.insert(new);
        }
        tell_viewed(list, post, viewed_ms);
        let grown = list.len() as i32 - len as i32;
        users.grown(grown);
        !repeated
    }

    /// Whether the user viewed the post in the 24 hours before `now_ms`, to the second.
    pub fn seen(&self, user: UserNo, post: PostNo, now_ms: i64) -> bool {
        self.seen_until_ms(user, post, now_ms).is_some()
    }

    /// If the user viewed the post within the 24 hours before `now_ms`, returns the time at which these 24 hours end.
    pub fn seen_until_ms(&self, user: UserNo, post: PostNo, now_ms: i64) -> Option<i64> {
        let (chunk, at) = place(user);
        let viewed_s = viewed_ms(&self.chunks.get(chunk)?.lists[at], post.get())?.div_euclid(1_000);
        let until_ms = (viewed_s + REPEAT_MS / 1_000) * 1_000;
        (now_ms < until_ms).then_some(until_ms)
    }

    pub fn mem_bytes(&self) -> usize {
        let users = |users: &Users| users.lists.iter().map(Blocks::mem_bytes).sum::<usize>();
        self.chunks.iter().map(users).sum::<usize>() + self.chunks.mem_bytes()
    }
}

/// Forgets the counted touches of a post that are older than `oldest_ms`.
fn forget(list: &mut List, post: u32, oldest_ms: i64) {
    loop {
        let old = of_post(list, post)
            .take_while(|touch| touch.at_ms() < oldest_ms)
            .find(|touch| touch.kind() != Kind::Viewed);
        let Some(old) = old else { return };
        list.remove(old);
    }
}

/// Keeps the latest view of a post, if no counted view is as late.
fn tell_viewed(list: &mut List, post: u32, viewed_ms: Option<i64>) {
    let Some(viewed_ms) = viewed_ms else { return };
    let (mut told, mut other) = (false, None);
    for touch in of_post(list, post) {
        match touch.kind() {
            Kind::View => told |= touch.at_ms() == viewed_ms,
            Kind::Viewed => other = Some(touch),
            Kind::Impression | Kind::Share => {}
        }
    }
    if let Some(other) = other.filter(|other| told || other.at_ms() != viewed_ms) {
        list.remove(other);
    }
    let viewed = Touch::new(post, viewed_ms, Kind::Viewed);
    if !told && other != Some(viewed) {
        list.insert(viewed);
    }
}

impl Users {
    /// Adds to the number of touches in the chunk.
    fn grown(&mut self, touches: i32) {
        self.len = self.len.saturating_add_signed(touches);
        if self.len >= self.sweep_at.max(SWEEP_MIN_ENTRIES) {
            self.sweep();
        }
    }

    /// Forgets touches that are old by the chunk's own times (see [`late`]).
    fn sweep(&mut self) {
        let touches = self.lists.iter().flat_map(Blocks::entries);
        let mut times: Vec<i64> = touches.map(Touch::at_ms).collect();
        let oldest_ms = late(&mut times).unwrap_or(i64::MIN).saturating_sub(KEPT_MS);
        self.len = 0;
        for list in &mut self.lists {
            if list.entries().any(|touch| touch.at_ms() < oldest_ms) {
                let kept: Vec<Touch> = list.entries().filter(|touch| touch.at_ms() >= oldest_ms).collect();
                *list = List::sorted(&kept);
            }
            self.len += list.len() as u32;
        }
        self.sweep_at = self.len.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: i64 = DAY_MS / 24;
    const FIRST: UserNo = UserNo::of(0);

    /// Keeps what a user did to a post in plain lists, for comparison.
    #[derive(Default)]
    struct Plain {
        viewed_ms: Option<i64>,
        counted: Vec<(Action, i64)>,
    }

    proptest! {
        /// The test has two users, enough posts for several blocks, every action, and times in any order within two
        /// days, so that nothing is old enough to be forgotten.
        #[test]
        fn touches_are_what_plain_lists_say(
            many in 0u32..3_000,
            steps in proptest::collection::vec((0u32..2, 0u32..8, 0usize..3, 0i64..48 * 60), 1..200),
        ) {
            let (mut touches, mut plain) = (Touches::default(), BTreeMap::<(u32, u32), Plain>::new());
            touches.grow(2);
            for post in 0..many {
                prop_assert!(touches.counts(FIRST, PostNo::of(100 + post * 7), Action::View, 0));
            }
            let actions = [Action::Impression, Action::View, Action::Share];
            for (user, post, action, minutes) in steps {
                // Some posts of the test lie among the many posts that the list has, and some lie before or after all
                // posts of the list.
                let (post, at_ms, action) = (post * 2_000, minutes * 60_000, actions[action]);
                let known = plain.entry((user, post)).or_default();
                if (100..100 + many * 7).contains(&post) && user == 0 && (post - 100) % 7 == 0 && known.counted.is_empty() {
                    (known.viewed_ms, known.counted) = (Some(0), vec![(Action::View, 0)]);
                }
                let before = |(of, ms): &(Action, i64)| *of == action && *ms <= at_ms && at_ms - ms < REPEAT_MS;
                let counts = !known.counted.iter().any(before);
                if counts {
                    known.counted.push((action, at_ms));
                }
                if action == Action::View {
                    known.viewed_ms = known.viewed_ms.max(Some(at_ms));
                }
                prop_assert_eq!(touches.counts(UserNo::of(user), PostNo::of(post), action, at_ms), counts);
                for ((user, post), known) in &plain {
                    let until_ms = known.viewed_ms.map(|ms| ms + REPEAT_MS).filter(|until_ms| at_ms < *until_ms);
                    prop_assert_eq!(touches.seen_until_ms(UserNo::of(*user), PostNo::of(*post), at_ms), until_ms);
                }
            }
            let users = touches.chunks.get(0).unwrap();
            let lists: Vec<Touch> = users.lists.iter().flat_map(Blocks::entries).collect();
            prop_assert_eq!(users.len as usize, lists.len());
            prop_assert!(users.lists[0].entries().is_sorted());
        }

        #[test]
        fn a_view_counts_by_the_rule_however_far_ahead_others_are(
            steps in proptest::collection::vec((0i64..9 * HOUR_MS, 0i64..=DAY_MS), 1..60),
        ) {
            let (mut touches, mut naive, mut arrival_ms) = (Touches::default(), Vec::<i64>::new(), 100 * DAY_MS);
            touches.grow(3);
            for (later_ms, ago_ms) in steps {
                arrival_ms += later_ms;
                touches.counts(UserNo::of(2), PostNo::of(1), Action::View, arrival_ms + 10 * DAY_MS);
                let at_ms = arrival_ms - ago_ms;
                let counts = !naive.iter().any(|before| *before <= at_ms && at_ms - before < DAY_MS);
                if counts {
                    naive.push(at_ms);
                }
                prop_assert_eq!(touches.counts(UserNo::of(1), PostNo::of(1), Action::View, at_ms), counts);
            }
        }
    }
}
