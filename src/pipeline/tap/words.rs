//! Describes the effects of records in words for the listeners of `tap`. The words have ids and numbers, and no value
//! of a column.

use crate::event::{Action, Effect, Facts, Id};
use crate::state::{Applied, CountedFrom, Moved, Standing};

/// Describes an effect and what it did. Returns `None` for an effect that only prepares the next effect.
pub fn describe(effect: &Effect, applied: &Applied) -> Option<String> {
    match effect {
        Effect::Dated { .. } => None,
        Effect::Event { post, action, .. } => {
            let subject = format!("{} of post {post}", action.name());
            Some(match applied {
                Applied::Counted(moved) => format!("{subject} counts: {}", counted(moved, Some(*post))),
                Applied::Elsewhere(from) => format!("{subject} does not count: {}", elsewhere(*action, *from)),
                // If nova counts the action from events and the event still does not count, an earlier event of the
                // same user already counts.
                _ => format!("{subject} does not count: an earlier one of the same user does"),
            })
        }
        Effect::Row { key, old, new } => {
            let facts = new.as_ref().or(old.as_ref())?;
            let verb = match (old.is_some(), new.is_some()) {
                (false, _) => "added",
                (true, true) => "changed",
                (true, false) => "removed",
            };
            Some(format!("{} {verb}: {}", subject(*key, facts), row(facts, applied)))
        }
    }
}

fn subject(key: Id, facts: &Facts) -> String {
    match facts {
        Facts::User { active, .. } => format!("{} user {key}", if *active { "active" } else { "inactive" }),
        Facts::Post { published, .. } => format!("{} post {key}", if *published { "published" } else { "hidden" }),
        Facts::Follow { follower, followee, .. } => format!("follow of {followee} by {follower}"),
        Facts::Like { post, .. } => format!("like of post {post}"),
        Facts::Comment { post, .. } => format!("comment on post {post}"),
    }
}

/// Describes what a change of a row did.
fn row(facts: &Facts, applied: &Applied) -> String {
    match (applied, facts) {
        (Applied::Counted(moved), Facts::Like { post, .. } | Facts::Comment { post, .. }) => {
            counted(moved, Some(*post))
        }
        (Applied::Counted(moved), _) => counted(moved, None),
        (Applied::Elsewhere(from), Facts::Comment { .. }) => elsewhere(Action::Comment, *from),
        (Applied::Elsewhere(from), _) => elsewhere(Action::Like, *from),
        (Applied::Followed { followees, followers }, Facts::Follow { follower, followee, .. }) => {
            let (follows, fans) = (many(*followees, "user"), many(*followers, "follower"));
            format!("the feed of {follower} is made anew, {follower} follows {follows}, {followee} has {fans}")
        }
        (Applied::Posted { followers, tenths }, _) => {
            let feeds = match followers {
                0 => "the author has no followers".to_owned(),
                1 => "the feed of 1 follower is made anew".to_owned(),
                more => format!("the feeds of {more} followers are made anew"),
            };
            if *tenths == 0 { feeds } else { format!("{feeds}, {}", score(*tenths)) }
        }
        (Applied::Author { posts: 1.., shown: true }, _) => "the user's posts may be shown now".to_owned(),
        (Applied::Author { posts: posts @ 1.., shown: false }, _) => {
            format!("no list shows the user's posts ({posts}) any more")
        }
        _ => "no list changes".to_owned(),
    }
}

/// Describes how the scores of posts changed. The text does not name a post that the text of the effect already names.
fn counted(moved: &[Moved], own: Option<Id>) -> String {
    let one = |one: &Moved| {
        let of = if own == Some(one.post) { String::new() } else { format!(" (post {})", one.post) };
        let what = match one.standing {
            Standing::Listed => score(one.tenths),
            Standing::Hidden => "no list changes, because the post is not shown".to_owned(),
            Standing::Outside => "trending 24 h does not move, because the count is of another time".to_owned(),
            Standing::Unkept => "trending.windows does not keep 24 h".to_owned(),
        };
        format!("{what}{of}")
    };
    moved.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn elsewhere(action: Action, from: CountedFrom) -> String {
    let source = match from {
        CountedFrom::Cdc => "rows",
        CountedFrom::Events => "events",
    };
    format!("nova counts {}s from {source}", action.name())
}

/// Describes the change of a score in tenths, as the lists show scores.
fn score(tenths: i64) -> String {
    let (sign, whole, rest) =
        (if tenths < 0 { "-" } else { "" }, tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10);
    let rest = if rest == 0 { String::new() } else { format!(".{rest}") };
    format!("moved trending 24 h by {sign}{whole}{rest}")
}

fn many(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Id {
        Id::from_u128(number)
    }

    #[test]
    fn an_event_says_by_how_much_the_score_moved_or_why_it_did_not() {
        let event = |action| Effect::Event { user: id(1), post: id(2), action, at_ms: 0, dwell_ms: 0 };
        let moved = |tenths, standing| Applied::Counted(vec![Moved { post: id(2), tenths, standing }]);
        let subject = format!("of post {}", id(2));
        for (action, applied, says) in [
            (Action::View, moved(1, Standing::Listed), "counts: moved trending 24 h by 0.1"),
            (Action::Share, moved(50, Standing::Listed), "counts: moved trending 24 h by 5"),
            (Action::Impression, moved(0, Standing::Listed), "counts: moved trending 24 h by 0"),
            (Action::View, moved(1, Standing::Hidden), "counts: no list changes, because the post is not shown"),
            (Action::View, moved(1, Standing::Unkept), "counts: trending.windows does not keep 24 h"),
            (Action::View, Applied::Repeated, "does not count: an earlier one of the same user does"),
            (Action::Like, Applied::Elsewhere(CountedFrom::Cdc), "does not count: nova counts likes from rows"),
        ] {
            assert_eq!(describe(&event(action), &applied), Some(format!("{} {subject} {says}", action.name())));
        }
    }

    #[test]
    fn a_row_says_which_lists_changed() {
        let says = |facts: &Facts, applied: Applied| {
            let effect = Effect::Row { key: id(9), old: None, new: Some(facts.clone()) };
            describe(&effect, &applied).unwrap()
        };
        let like = Facts::Like { user: id(1), post: id(2), created_at_us: 0 };
        let moved = |post, tenths| Moved { post: id(post), tenths, standing: Standing::Listed };
        let told = says(&like, Applied::Counted(vec![moved(3, -20), moved(2, 20)]));
        let two = format!("moved trending 24 h by -2 (post {}), moved trending 24 h by 2", id(3));
        assert_eq!(told, format!("like of post {} added: {two}", id(2)));
        let follow = Facts::Follow { follower: id(1), followee: id(2), created_at_us: 0 };
        let told = says(&follow, Applied::Followed { followees: 1, followers: 7 });
        assert!(told.ends_with(&format!("{} follows 1 user, {} has 7 followers", id(1), id(2))), "{told}");
        assert!(says(&follow, Applied::Nothing).ends_with("added: no list changes"));
        let post = Facts::Post { author: id(1), created_at_us: 0, published: true };
        let told = says(&post, Applied::Posted { followers: 3, tenths: 123 });
        assert!(told.ends_with("the feeds of 3 followers are made anew, moved trending 24 h by 12.3"), "{told}");
        let user = Facts::User { username: "secret".into(), active: false, created_at_us: 0 };
        for (posts, end) in [(2, "no list shows the user's posts (2) any more"), (0, "no list changes")] {
            let told = says(&user, Applied::Author { posts, shown: false });
            assert!(told.ends_with(end) && !told.contains("secret"), "{told}");
        }
        let dated = Effect::Dated { action: Action::Like, key: id(9), at_ms: 0 };
        assert_eq!(describe(&dated, &Applied::Nothing), None);
    }
}
