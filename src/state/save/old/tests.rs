//! This file has the unchanged writer of version 4, because nova must still read what version 4 wrote.

use std::collections::BTreeMap;

use nova_storage::codec::Put;
use nova_storage::testing::mutate::check_values;
use proptest::prelude::*;

use super::*;
use crate::state::tests::{effects, settings, steps};

/// Returns the action that a touch counts as. Returns `None` for a view that does not count.
fn action(kind: Kind) -> Option<Action> {
    match kind {
        Kind::Viewed => None,
        Kind::Impression => Some(Action::Impression),
        Kind::View => Some(Action::View),
        Kind::Share => Some(Action::Share),
    }
}

impl State {
    /// Writes the state as version 4 of the format did.
    fn save_old(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_varint(Action::ALL.len() as u64);
        out.put_varint(self.touches.chunks.len() as u64);
        self.save_rows(&mut out);
        self.save_graph(&mut out);
        self.save_posts(&mut out);
        self.save_touches(&mut out);
        self.save_affinity(&mut out);
        self.daily.chunks.get(0).unwrap().save(&mut out);
        self.save_liked(&mut out);
        self.save_dated(&mut out);
        out
    }

    fn save_rows(&self, out: &mut Vec<u8>) {
        out.put_varint(self.users.len() as u64);
        for (id, user) in self.users.all().zip(self.users.numbers()) {
            let row = self.user_row(user);
            out.put_id(id);
            out.put_optional_bytes(row.map(|row| row.username.as_bytes()));
            if let Some(row) = row {
                out.put_u8(u8::from(row.active));
                // Versions before version 4 stored the time of the row after the user's flag `active`.
                out.put_zigzag(0);
            }
        }
        out.put_varint(self.post_ids.len() as u64);
        self.post_ids.all().for_each(|id| out.put_id(id));
    }

    fn save_graph(&self, out: &mut Vec<u8>) {
        for user in self.users.numbers() {
            out.put_varint(u64::from(self.graph.version(user)));
            out.put_varint(self.graph.followees_len(user) as u64);
            for followee in self.graph.followees(user) {
                out.put_varint(u64::from(followee.user.get()));
                out.put_zigzag(followee.since_us);
            }
        }
        let more: Vec<_> = self.graph.following.iter().flat_map(|chunk| &chunk.more).collect();
        out.put_varint(more.len() as u64);
        for ((from, to), times) in more {
            out.put_varint(u64::from(from.get()));
            out.put_varint(u64::from(to.get()));
            out.put_varint(times.len() as u64);
            times.iter().for_each(|time| out.put_zigzag(*time));
        }
    }

    fn save_posts(&self, out: &mut Vec<u8>) {
        self.users.numbers().for_each(|user| out.put_varint(u64::from(self.posts.version(user))));
        out.put_varint(self.posts.fold_at as u64);
        out.put_varint(self.posts.folding.map_or(0, |next| next as u64 + 1));
        out.put_zigzag(i64::from(self.posts.fold_from));
        for post in self.posts.chunks.iter().flat_map(|chunk| &chunk.list).take(self.posts.len()) {
            out.put_varint(post.author.map_or(0, |author| u64::from(author.get()) + 1));
            match post.row {
                None => out.put_u8(0),
                Some(row) => {
                    out.put_u8(1 + u8::from(row.published));
                    out.put_zigzag(row.created_at_us);
                }
            }
            post.totals.counts().iter().for_each(|total| out.put_zigzag(*total));
            let entries: Vec<_> = post.minutes.entries().collect();
            let buckets: Vec<_> = entries.chunk_by(|a, b| a.minute() == b.minute()).collect();
            out.put_varint(buckets.len() as u64);
            for bucket in buckets {
                out.put_zigzag(i64::from(bucket[0].minute()));
                let mut counts = [0; 5];
                bucket.iter().for_each(|entry| counts[entry.action()] += entry.count());
                counts.iter().for_each(|count| out.put_zigzag(*count));
            }
        }
    }

    fn save_touches(&self, out: &mut Vec<u8>) {
        self.touches.chunks.iter().for_each(|users| out.put_varint(u64::from(users.sweep_at)));
        let lists = self.touches.chunks.iter().flat_map(|users| &users.lists).zip(0u64..);
        let mut touches = Vec::new();
        let mut len = 0u64;
        for (list, user) in lists {
            let all: Vec<Touch> = list.entries().collect();
            for group in all.chunk_by(|a, b| a.post() == b.post()) {
                len += 1;
                touches.put_varint(user);
                touches.put_varint(u64::from(group[0].post()));
                let mut views = group.iter().filter(|touch| matches!(touch.kind(), Kind::View | Kind::Viewed));
                touches.put_zigzag(views.next_back().map_or(i64::MIN, |touch| touch.at_ms()));
                let counted: Vec<_> =
                    group.iter().filter_map(|touch| Some((action(touch.kind())?, touch.at_ms()))).collect();
                touches.put_varint(counted.len() as u64);
                for (action, at_ms) in counted {
                    touches.put_u8(action as u8);
                    touches.put_zigzag(at_ms);
                }
            }
        }
        out.put_varint(len);
        out.put_fixed(&touches);
    }

    fn save_affinity(&self, out: &mut Vec<u8>) {
        for weights in self.affinity.users.iter().flat_map(|users| &users.list).take(self.users.len()) {
            let cells = weights.cells();
            let days = cells.chunk_by(|a, b| (a.author, a.day) == (b.author, b.day));
            let sums = days.map(|day| (day[0], day.iter().map(|cell| weight(cell.kind, cell.count)).sum::<i64>()));
            let sums: Vec<_> = sums.filter(|(_, sum)| *sum != 0).collect();
            out.put_varint(sums.len() as u64);
            for (cell, sum) in sums {
                out.put_varint(u64::from(cell.author.get()));
                out.put_zigzag(i64::from(cell.day));
                out.put_zigzag(sum);
            }
        }
        let pending: Vec<_> = self.affinity.pending.iter().flatten().collect();
        out.put_varint(pending.len() as u64);
        for (post, list) in pending {
            out.put_varint(u64::from(post.get()));
            out.put_varint(list.len() as u64);
            for Pended { user, day, count, kind } in list {
                out.put_varint(u64::from(user.get()));
                out.put_zigzag(i64::from(*day));
                out.put_zigzag(weight(*kind, i64::from(*count)));
            }
        }
    }

    fn save_liked(&self, out: &mut Vec<u8>) {
        let lists = self.liked.chunks.iter().flat_map(|likers| &likers.lists).zip(0u64..);
        let all: Vec<_> = lists.flat_map(|(list, post)| list.numbers().map(move |(user, _)| (post, user))).collect();
        out.put_varint(all.len() as u64);
        for (post, user) in all {
            out.put_varint(post);
            out.put_varint(u64::from(user));
        }
    }

    fn save_dated(&self, out: &mut Vec<u8>) {
        out.put_varint(self.dated.len as u64);
        for ((action, key), at_ms) in self.dated.chunks.iter().flatten() {
            out.put_u8(*action);
            out.put_id(*key);
            out.put_zigzag(*at_ms);
        }
    }
}

/// The weights that versions 1 to 4 of the format used.
fn weight(kind: u8, count: i64) -> i64 {
    count * [1, 1, 20, 30, 50][usize::from(kind)]
}

proptest! {
    /// nova converts a state that was stored in version 4. The converted state equals the original state, also after
    /// every later effect.
    #[test]
    fn a_stream_of_version_4_is_the_state_that_wrote_it(
        before in steps(),
        after in steps(),
        settings in settings(),
    ) {
        let (mut state, mut rows) = (State::new(settings.clone()), BTreeMap::new());
        effects(&before, &mut rows).iter().for_each(|effect| state.apply(effect));
        let stream = state.save_old();
        let halves = [stream[..stream.len() / 2].to_vec(), stream[stream.len() / 2..].to_vec()];
        let chunks = halves.into_iter().zip(0..).map(|(bytes, number)| (STRUCTURE.to_owned(), number, bytes));
        let mut loaded = State::load(settings, chunks).unwrap();
        prop_assert_eq!(loaded.save_old(), state.save_old());
        for effect in effects(&after, &mut rows) {
            state.apply(&effect);
            loaded.apply(&effect);
        }
        prop_assert_eq!(loaded.save_old(), state.save_old());
    }

    #[test]
    fn mutated_streams_are_errors_or_states_that_read_back(steps in steps(), settings in settings(), seed: u64) {
        let mut state = State::new(settings.clone());
        effects(&steps, &mut BTreeMap::new()).iter().for_each(|effect| state.apply(effect));
        let read = |bytes: &[u8]| {
            let chunks = [(STRUCTURE.to_owned(), 0, bytes.to_vec())];
            Ok(State::load(settings.clone(), chunks.into_iter())?.save_old())
        };
        check_values(&state.save_old(), seed, read, Vec::clone);
    }
}
