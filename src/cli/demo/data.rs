//! The bundled social data set: a real network with real activity (`docs/demo-data.md` names its origin).

use std::io::Read as _;

use nova_storage::codec::{CodecError, Reader};

use crate::event::{Action, Id};

const BUNDLED: &[u8] = include_bytes!("social.bin.gz");
const WHAT: &str = "the bundled data set";
/// The beginning of the data set's 72 hours: 2026-11-20T00:00:00Z.
const BEGIN_MS: i64 = 1_795_132_800_000;
/// The unit of the stored times of follows. Most follow times are multiples of five minutes.
const FIVE_MINUTES_MS: u64 = 300_000;

/// The reason why nova cannot read the bundled data, which is always a broken build.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("the bundled data set cannot be unpacked: {0}")]
    Gzip(#[from] std::io::Error),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

#[derive(Debug)]
pub struct User {
    pub id: Id,
    pub username: Box<str>,
}

/// A post of the data set. In the data set, fields such as `author`, `user` and `post` are indexes into
/// [`Social::users`] and [`Social::posts`], and times are epoch milliseconds.
#[derive(Debug)]
pub struct Post {
    pub id: Id,
    pub author: u32,
    pub created_at_ms: i64,
    pub caption: Box<str>,
}

#[derive(Debug)]
pub struct Follow {
    pub follower: u32,
    pub followee: u32,
    pub created_at_ms: i64,
}

#[derive(Debug)]
pub struct Comment {
    pub id: Id,
    pub post: u32,
    pub user: u32,
    pub text: u32,
    pub created_at_ms: i64,
}

#[derive(Debug)]
pub struct Like {
    pub user: u32,
    pub post: u32,
    pub created_at_ms: i64,
}

#[derive(Debug, Default)]
pub struct Event {
    pub user: u32,
    pub post: u32,
    pub action: u32,
    pub dwell_ms: u32,
    pub label: u32,
    pub time_ms: i64,
}

/// The bundled social data set.
#[derive(Debug)]
pub struct Social {
    pub users: Vec<User>,
    pub posts: Vec<Post>,
    pub follows: Vec<Follow>,
    pub texts: Vec<Box<str>>,
    pub comments: Vec<Comment>,
    pub likes: Vec<Like>,
    /// The pairs of device and app version of the events.
    pub labels: Vec<(Box<str>, Box<str>)>,
    pub events: Vec<Event>,
    /// The beginning of the data set's 72 hours, in epoch milliseconds. The demo's snapshot has the rows from before
    /// this time.
    pub begin_ms: i64,
}

fn many<T>(
    reader: &mut Reader<'_>,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    (0..reader.varint()?).map(|_| one(reader)).collect()
}

fn time_ms(reader: &mut Reader<'_>) -> Result<i64, CodecError> {
    i64::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))
}

impl Social {
    pub fn bundled() -> Result<Social, DataError> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(BUNDLED).read_to_end(&mut bytes)?;
        let (mut reader, _) = Reader::versioned(WHAT, &bytes, 1)?;
        let reader = &mut reader;
        let users = many(reader, |r| Ok(User { id: r.id()?, username: r.text()?.into() }))?;
        let posts = many(reader, |r| {
            let (id, author) = (r.id()?, r.varint_u32()?);
            Ok(Post { id, author, created_at_ms: time_ms(r)?, caption: r.text()?.into() })
        })?;
        let follows = follows(reader)?;
        let texts = many(reader, |r| Ok(r.text()?.into()))?;
        let comments = many(reader, |r| {
            let (id, post, user, text) = (r.id()?, r.varint_u32()?, r.varint_u32()?, r.varint_u32()?);
            Ok(Comment { id, post, user, text, created_at_ms: time_ms(r)? })
        })?;
        let likes = many(reader, |r| {
            let (user, post) = (r.varint_u32()?, r.varint_u32()?);
            Ok(Like { user, post, created_at_ms: time_ms(r)? })
        })?;
        let labels = many(reader, |r| Ok((r.text()?.into(), r.text()?.into())))?;
        let events = events(reader)?;
        Ok(Social { users, posts, follows, texts, comments, likes, labels, events, begin_ms: BEGIN_MS })
    }

    /// Moves all times of the data set by `by_ms`.
    pub fn later(mut self, by_ms: i64) -> Social {
        self.posts.iter_mut().for_each(|row| row.created_at_ms += by_ms);
        self.follows.iter_mut().for_each(|row| row.created_at_ms += by_ms);
        self.comments.iter_mut().for_each(|row| row.created_at_ms += by_ms);
        self.likes.iter_mut().for_each(|row| row.created_at_ms += by_ms);
        self.events.iter_mut().for_each(|event| event.time_ms += by_ms);
        self.begin_ms += by_ms;
        self
    }

    /// The end of the data set, epoch milliseconds.
    pub fn end_ms(&self) -> i64 {
        self.events.last().map_or(0, |event| event.time_ms)
    }

    pub fn action(event: &Event) -> Action {
        Action::ALL[event.action as usize % Action::ALL.len()]
    }
}

fn follows(reader: &mut Reader<'_>) -> Result<Vec<Follow>, CodecError> {
    let (mut follower, mut followee) = (0, 0);
    let mut follows = many(reader, |r| {
        let (step, next) = (r.varint_u32()?, r.varint_u32()?);
        if step > 0 {
            followee = 0;
        }
        follower += step;
        followee += next;
        Ok(Follow { follower, followee, created_at_ms: 0 })
    })?;
    for follow in &mut follows {
        let coded = reader.varint()?;
        let time = if coded & 1 == 0 { (coded >> 1) * FIVE_MINUTES_MS } else { coded >> 1 };
        follow.created_at_ms = i64::try_from(time).map_err(|_| CodecError::Invalid(WHAT))?;
    }
    Ok(follows)
}

/// Reads the events of the data set, which are stored column by column.
fn events(reader: &mut Reader<'_>) -> Result<Vec<Event>, CodecError> {
    let count = usize::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
    let mut events: Vec<Event> = Vec::new();
    events.resize_with(count, Event::default);
    let columns: [fn(&mut Event) -> &mut u32; 5] =
        [|e| &mut e.user, |e| &mut e.post, |e| &mut e.action, |e| &mut e.dwell_ms, |e| &mut e.label];
    for column in columns {
        for event in &mut events {
            *column(event) = u32::try_from(reader.zigzag()?).map_err(|_| CodecError::Invalid(WHAT))?;
        }
    }
    let mut time_ms = 0;
    for event in &mut events {
        time_ms += reader.zigzag()?;
        event.time_ms = time_ms;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_the_whole_data_set() {
        let social = Social::bundled().unwrap();
        let counts = [social.users.len(), social.follows.len(), social.posts.len(), social.comments.len()];
        assert_eq!(counts, [7_115, 103_689, 1_241, 714]);
        assert_eq!((social.likes.len(), social.events.len()), (2_187, 55_300));
        let views = social.events.iter().filter(|event| Social::action(event) == Action::View).count();
        assert_eq!(views, 24_212);
        assert_eq!(crate::clock::rfc3339(social.end_ms() * 1_000), "2026-11-22T23:59:59.957000Z");
        assert_eq!(social.users[0].id.to_string(), "9dfd123b-7c6f-5a0b-9c2d-3874aba4141a");
        assert!(BUNDLED.len() <= 1_500_000);
    }
}
