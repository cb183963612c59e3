//! The operators' decisions about trending: an operator can pin a post to a place or keep it out of every list.
//! Overrides are durable in the store's table of edge entries, and nova also keeps them in memory. A post that may not
//! be shown stays hidden even if it is pinned.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::event::Id;
use crate::state::State;

use super::list::{Entry, TRENDING_MAX, Trending, list_max};

/// The kind of the overrides' entries in the store's table of edge entries. The name of an override's entry is the
/// post's id.
pub const KIND: &str = "override";
/// The maximum number of posts with an override.
pub const OVERRIDES_MAX: usize = 1_000;

const VALUE_VERSION: u8 = 1;
const BLOCK: u8 = 0;

/// The operator's override of one post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// The post is in no trending list.
    Block,
    /// The post is at this place of the list, from 1 to [`TRENDING_MAX`]. If several posts are pinned to one place, the
    /// post with the smallest id has the place, and the rest of these posts follow it.
    Pin { place: u8 },
}

impl Override {
    pub fn pin(place: u64) -> Option<Override> {
        let place = u8::try_from(place).ok().filter(|place| (1..=TRENDING_MAX).contains(&usize::from(*place)))?;
        Some(Override::Pin { place })
    }

    /// Returns the value of the override's entry in the store.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Override::Block => vec![VALUE_VERSION, BLOCK],
            Override::Pin { place } => vec![VALUE_VERSION, place],
        }
    }

    fn decode(bytes: &[u8]) -> Option<Override> {
        match bytes {
            [VALUE_VERSION, BLOCK] => Some(Override::Block),
            [VALUE_VERSION, place] => Override::pin(u64::from(*place)),
            _ => None,
        }
    }
}

/// The overrides of trending by post.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<Id, Override>);

impl Overrides {
    /// Loads overrides from stored entries, each of which is a name and a value. `load` skips malformed entries.
    pub fn load<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Overrides {
        let decode = |(name, value): (&[u8], &[u8])| Some((Id(name.try_into().ok()?), Override::decode(value)?));
        Overrides(entries.filter_map(decode).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, post: Id) -> Option<Override> {
        self.0.get(&post).copied()
    }

    /// Returns every override with its post's id, in the order of the ids.
    pub fn all(&self) -> impl Iterator<Item = (Id, Override)> + '_ {
        self.0.iter().map(|(post, what)| (*post, *what))
    }

    /// Sets or removes the override of a post.
    pub fn put(&mut self, post: Id, what: Option<Override>) {
        match what {
            Some(what) => drop(self.0.insert(post, what)),
            None => drop(self.0.remove(&post)),
        }
    }

    /// Applies the overrides to a list, and cuts the list to its maximum length. Before the cut, the list must be
    /// longer than its maximum by the number of overrides.
    pub(super) fn apply(&self, state: &State, range: &Range<i64>, list: &mut Trending) {
        list.entries.retain(|entry| !self.0.contains_key(&entry.post));
        let mut pins = Vec::new();
        for (post, what) in self.all() {
            let number = state.post_ids.number(post);
            let Some(entry) = number.and_then(|number| Entry::of(state, number, range)) else { continue };
            let scored = usize::from(entry.score > 0);
            match what {
                Override::Block => list.total -= scored,
                Override::Pin { place } => {
                    list.total += 1 - scored;
                    pins.push((usize::from(place) - 1, Entry { pinned: true, ..entry }));
                }
            }
        }
        pins.sort_unstable_by_key(|(place, entry)| (*place, entry.post));
        let mut free = 0;
        for (place, entry) in pins {
            let at = place.max(free).min(list.entries.len());
            list.entries.insert(at, entry);
            free = at + 1;
        }
        list.entries.truncate(list_max(state));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Window, rank};
    use super::*;
    use crate::event::{Action, Effect, Facts};
    use crate::state::{MINUTE_MS, StateSettings};

    const NOW_MS: i64 = 1_795_000_000_000;

    fn id(kind: u128, n: u64) -> Id {
        Id::from_u128(kind << 64 | u128::from(n))
    }

    /// Makes a state with the posts 0 to 299. Post `n` has `views[n]` views, and post 299 is not published.
    fn world(views: &[u8]) -> State {
        let mut state = State::new(StateSettings::default());
        for (n, views) in views.iter().enumerate() {
            let row = Facts::Post { author: id(1, 0), created_at_us: n as i64, published: n != 299 };
            state.apply(&Effect::Row { key: id(2, n as u64), old: None, new: Some(row) });
            for user in 0..u64::from(*views) {
                let (at_ms, post) = (NOW_MS - MINUTE_MS, id(2, n as u64));
                state.apply(&Effect::Event { user: id(1, user), post, action: Action::View, at_ms, dwell_ms: 0 });
            }
        }
        state
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocked_posts_are_nowhere_and_pinned_ones_at_their_place(
            views in proptest::collection::vec(0u8..4, 300),
            given in proptest::collection::btree_map(0u64..310, 0u8..201, 0..12),
        ) {
            let state = world(&views);
            let mut overrides = Overrides::default();
            for (n, place) in &given {
                overrides.put(id(2, *n), Some(Override::pin(u64::from(*place)).unwrap_or(Override::Block)));
            }
            let plain = rank(&state, Window::Hour, NOW_MS, &Overrides::default());
            let list = rank(&state, Window::Hour, NOW_MS, &overrides);
            let posts: Vec<Id> = list.entries.iter().map(|entry| entry.post).collect();
            let mut taken = std::collections::BTreeSet::new();
            for (n, place) in &given {
                let pinned = list.entries.iter().position(|entry| entry.post == id(2, *n));
                if *place == 0 || *n >= 299 {
                    prop_assert_eq!(pinned, None);
                } else if taken.insert(*place) && given.values().all(|other| other >= place) {
                    prop_assert_eq!(pinned, Some(usize::from(*place - 1).min(list.total - 1)));
                    prop_assert!(list.entries[pinned.unwrap()].pinned);
                }
            }
            // The posts without an override keep their order, and the list is as long as possible.
            let rest = |posts: &[Id]| -> Vec<Id> {
                posts.iter().copied().filter(|post| overrides.get(*post).is_none()).collect()
            };
            let all: Vec<Id> = plain.entries.iter().map(|entry| entry.post).collect();
            let common = rest(&posts).len().min(rest(&all).len());
            prop_assert_eq!(&rest(&posts)[..common], &rest(&all)[..common]);
            prop_assert_eq!(list.entries.len(), list.total.min(TRENDING_MAX));
            let stored: Vec<_> = overrides.all().map(|(post, what)| (post.0.to_vec(), what.encode())).collect();
            let loaded = Overrides::load(stored.iter().map(|(name, value)| (&name[..], &value[..])));
            prop_assert_eq!(loaded, overrides);
        }
    }
}
