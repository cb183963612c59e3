//! Answers the console's searches for people and posts, and its requests for the public content of posts, the counts of
//! a post, groups of dead letters, and the configuration. Each list of results has a maximum length. Threads for
//! blocking work read the store, so that the async runtime does not wait for the disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use http::StatusCode;

use crate::clock::rfc3339;
use crate::event::{Action, Cell, Id, Row, Table};
use crate::feed::trending::Window;
use crate::feed::trending::overrides::Override;
use crate::http::answers::{self, Answer};
use crate::http::audit::looked;
use crate::http::call::UserCall;
use crate::http::edge::{Control, Edge, Serving};
use crate::http::error::Problem;
use crate::http::gate::{ReadFailed, Reads, Stored};
use crate::http::overrides;
use crate::http::percent::parameter;
use crate::http::query::{user, wrong};
use crate::http::shapes::{
    ConfigShown, DeadGroup, DeadGroups, Found, HourCounted, PlaceIn, PostCard, PostCards, PostDetails, UserCard,
    UserFound,
};
use crate::schema::Uuid;
use crate::state::{PostNo, State, UserNo};

use super::store::read;

/// The maximum number of users in the answer to a search, and the maximum number of users that one search examines.
const FOUND_MAX: usize = 20;
const LOOKED_AT_MAX: usize = 2_000_000;
const QUERY_MAX_CHARS: usize = 64;
/// The most posts in one request.
const CARDS_MAX: usize = 100;
const CAPTION_MAX_CHARS: usize = 300;
const CARD_HOURS: usize = 24;
const HOURS: i64 = 48;
const HOUR_MINUTES: i64 = 60;
const MINUTE_MS: i64 = 60_000;
/// The most posts that are listed for a user.
const POSTS_MAX: usize = 20;
/// The maximum numbers for one answer with groups of dead letters: groups, letters that nova examines, and ids in one
/// group. A group has no more ids than one replay can take.
const GROUPS_MAX: usize = 200;
const LETTERS_MAX: u64 = 10_000;
const IDS_MAX: usize = 1_000;
const PAGE: usize = 1_000;

/// Answers `GET /api/v1/admin/search`.
pub(in crate::http) async fn search(edge: &Edge, call: UserCall<'_>) -> Answer {
    let text = parameter(call.call.query, "q")?.unwrap_or_default().trim().to_lowercase();
    if text.is_empty() || text.chars().count() > QUERY_MAX_CHARS {
        return Err(wrong("q", "1 to 64 characters of a name, or an id"));
    }
    looked(&edge.serving.durable, &call.subject, "search", text.clone()).await?;
    let serving = Arc::clone(&edge.serving);
    let found = read(&edge.control, move |store| {
        // The copy of the state shares every chunk, so the writer does not wait while the search examines all names.
        let state = serving.state.read().clone();
        match Id::parse(text.as_bytes()) {
            Ok(id) => by_id(&serving, &state, store, id),
            Err(_) => Ok(by_name(&state, &text)),
        }
    })
    .await?;
    Ok(answers::object(StatusCode::OK, &found))
}

fn by_id(serving: &Serving, state: &State, store: &dyn Reads, id: Id) -> Result<Found, ReadFailed> {
    let user = state.users.number(id).map(|number| user_found(state, number));
    let post = state.post_ids.number(id).map(|number| card(serving, state, store, number)).transpose()?;
    Ok(Found { users: user.into_iter().collect(), posts: post.into_iter().collect(), whole: true })
}

fn by_name(state: &State, text: &str) -> Found {
    let (mut begin, mut within) = (Vec::new(), Vec::new());
    let all = state.users.len();
    for number in state.users.numbers().take(LOOKED_AT_MAX) {
        let Some(row) = state.user_row(number) else { continue };
        let name = row.username.to_lowercase();
        match name.find(text) {
            Some(0) if begin.len() < FOUND_MAX => begin.push(number),
            Some(1..) if within.len() < FOUND_MAX => within.push(number),
            _ => {}
        }
    }
    let users = begin.into_iter().chain(within).take(FOUND_MAX).map(|number| user_found(state, number));
    Found { users: users.collect(), posts: Vec::new(), whole: all <= LOOKED_AT_MAX }
}

fn user_found(state: &State, number: UserNo) -> UserFound {
    let row = state.user_row(number);
    UserFound {
        user_id: Uuid(state.users.id(number)),
        username: row.map(|row| row.username.to_string()),
        active: row.is_some_and(|row| row.active),
    }
}

/// Answers `GET /api/v1/admin/users/{user_id}`.
pub(in crate::http) async fn user_card(serving: &Serving, call: UserCall<'_>) -> Answer {
    let whose = user(call.call.name)?;
    looked(&serving.durable, &call.subject, "user-read", whose.to_string()).await?;
    let state = serving.state.read();
    let number = state.users.number(whose).ok_or(Problem::NotFound)?;
    let row = state.user_row(number);
    let posts = state.posts.of_author(number);
    let card = UserCard {
        user_id: Uuid(whose),
        username: row.map(|row| row.username.to_string()),
        active: row.is_some_and(|row| row.active),
        followers: state.graph.followers_len(number),
        followees: state.graph.followees_len(number),
        posts: posts.iter().take(POSTS_MAX).map(|post| Uuid(state.post_ids.id(*post))).collect(),
        posts_total: posts.len(),
    };
    drop(state);
    Ok(answers::object(StatusCode::OK, &card))
}

/// Answers `GET /api/v1/admin/posts`.
pub(in crate::http) async fn post_cards(edge: &Edge, call: UserCall<'_>) -> Answer {
    let text = parameter(call.call.query, "ids")?.unwrap_or_default();
    let ids: Vec<_> = text.split(',').filter(|id| !id.is_empty()).collect();
    if !(1..=CARDS_MAX).contains(&ids.len()) {
        return Err(wrong("ids", "1 to 100 ids with commas between them"));
    }
    let ids = ids.into_iter().map(|id| Id::parse(id.as_bytes()).map_err(|_| wrong("ids", "UUIDs")));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let serving = Arc::clone(&edge.serving);
    let posts = read(&edge.control, move |store| {
        let state = serving.state.read().clone();
        let known = ids.iter().filter_map(|id| state.post_ids.number(*id));
        known.map(|number| card(&serving, &state, store, number)).collect::<Result<Vec<_>, _>>()
    })
    .await?;
    Ok(answers::object(StatusCode::OK, &PostCards { posts }))
}

fn text_of<'r>(table: Table, row: &'r Row, name: &str) -> Option<&'r str> {
    let at = table.columns().iter().position(|column| column.name == name)?;
    match row.cells.get(at)? {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

fn post_row(store: &dyn Reads, post: Id) -> Result<Option<Box<Row>>, ReadFailed> {
    Ok(match store.row(Table::Posts, post)? {
        Stored::Row(row) => Some(row),
        Stored::Nothing | Stored::Deleted => None,
    })
}

fn card(serving: &Serving, state: &State, store: &dyn Reads, number: PostNo) -> Result<PostCard, ReadFailed> {
    let row = post_row(store, state.post_ids.id(number))?;
    Ok(card_of(state, number, row.as_deref(), serving.clock.now_ms()))
}

fn card_of(state: &State, number: PostNo, row: Option<&Row>, now_ms: i64) -> PostCard {
    let author = state.posts.author(number);
    let caption = row.and_then(|row| text_of(Table::Posts, row, "caption"));
    let end = now_ms.div_euclid(MINUTE_MS) + 1;
    // The array has the oldest hour first. One pass over the post's minutes fills all hours.
    let hours: [Range<i64>; CARD_HOURS] = std::array::from_fn(|at| {
        let from = end - (CARD_HOURS - at) as i64 * HOUR_MINUTES;
        from..from + HOUR_MINUTES
    });
    PostCard {
        post_id: Uuid(state.post_ids.id(number)),
        author_id: author.map(|author| Uuid(state.users.id(author))),
        username: author.and_then(|author| state.user_row(author)).map(|row| row.username.to_string()),
        caption: caption.map(|text| text.chars().take(CAPTION_MAX_CHARS).collect()),
        created_at: state.posts.row(number).map(|row| rfc3339(row.created_at_us)),
        visible: state.visible(number),
        activity: state.scores(number, &hours).to_vec(),
    }
}

fn by_action(counts: [i64; 5]) -> BTreeMap<&'static str, i64> {
    Action::ALL.iter().map(|action| (action.name(), counts[*action as usize])).collect()
}

/// Answers `GET /api/v1/admin/posts/{post}`.
pub(in crate::http) async fn post_details(edge: &Edge, call: UserCall<'_>) -> Answer {
    let post = Id::parse(call.call.name.as_bytes()).map_err(|_| wrong("post", "a UUID"))?;
    let serving = Arc::clone(&edge.serving);
    let details = read(&edge.control, move |store| {
        let state = serving.state.read().clone();
        let Some(number) = state.post_ids.number(post) else { return Ok(None) };
        let row = post_row(store, post)?;
        Ok(Some(details(&serving, &state, number, row.as_deref())))
    })
    .await?;
    Ok(answers::object(StatusCode::OK, &details.ok_or(Problem::NotFound)?))
}

fn details(serving: &Serving, state: &State, number: PostNo, row: Option<&Row>) -> PostDetails {
    let (post, now_ms) = (state.post_ids.id(number), serving.clock.now_ms());
    let end = now_ms.div_euclid(MINUTE_MS).div_euclid(HOUR_MINUTES) + 1;
    let hours = (end - HOURS..end).map(|hour| HourCounted {
        from_ms: hour * HOUR_MINUTES * MINUTE_MS,
        counts: by_action(state.posts.counted(number, hour * HOUR_MINUTES..(hour + 1) * HOUR_MINUTES)),
    });
    let windows = serving.trending.windows().iter().map(|window: &Window| {
        let list = serving.trending.get(*window, now_ms);
        let at = list.list.entries.iter().position(|entry| entry.post == post);
        let [score] = state.scores(number, &[window.range(now_ms)]);
        PlaceIn {
            window: window.name(),
            rank: at.map(|at| at + 1),
            score: score as f64 / 10.0,
            posts: list.list.entries.len(),
        }
    });
    let overridden: Option<Override> = serving.trending.overrides().get(post);
    let status = row.and_then(|row| text_of(Table::Posts, row, "status"));
    PostDetails {
        card: card_of(state, number, row, now_ms),
        hidden: (!state.visible(number)).then(|| hidden(state, number, row, status)),
        status: status.map(str::to_owned),
        totals: by_action(state.posts.totals(number)),
        hours: hours.collect(),
        windows: windows.collect(),
        overridden: overridden.map(|what| overrides::one(post, what)),
    }
}

/// The first reason why a post is hidden.
fn hidden(state: &State, number: PostNo, row: Option<&Row>, status: Option<&str>) -> String {
    let author = state.posts.author(number).and_then(|author| state.user_row(author));
    match (row, status, author) {
        (None, ..) => "nova has no row of it: it never came, or it was deleted".to_owned(),
        (_, Some(status), _) if status != "published" => format!("its status is {status}"),
        (.., None) => "its author has no row: it never came, or it was deleted".to_owned(),
        (.., Some(author)) if !author.active => "its author is not active".to_owned(),
        _ => "it was deleted (soft_delete)".to_owned(),
    }
}

/// Answers `GET /api/v1/admin/dlq/groups`.
pub(in crate::http) async fn dead_groups(control: &Arc<Control>) -> Answer {
    let (groups, counted) = read(control, grouped).await?;
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|a, b| (b.letters, &a.topic, &a.reason).cmp(&(a.letters, &b.topic, &b.reason)));
    groups.truncate(GROUPS_MAX);
    Ok(answers::object(StatusCode::OK, &DeadGroups { groups, counted, total: control.observed.dead_letters.get() }))
}

type Groups = BTreeMap<(String, String, String), DeadGroup>;

fn grouped(store: &dyn Reads) -> Result<(Groups, u64), ReadFailed> {
    let (mut groups, mut after, mut counted) = (Groups::new(), None, 0);
    while counted < LETTERS_MAX {
        let page = store.dead_letters(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        counted += page.len() as u64;
        for letter in page {
            let key = (letter.topic.clone(), letter.stage.clone(), letter.reason.clone());
            let group = groups.entry(key).or_insert_with(|| DeadGroup {
                topic: letter.topic,
                stage: letter.stage,
                reason: letter.reason,
                detail: String::new(),
                letters: 0,
                first_ms: letter.timestamp_ms,
                last_ms: letter.timestamp_ms,
                example: letter.id,
                ids: Vec::new(),
            });
            group.letters += 1;
            (group.first_ms, group.last_ms) =
                (group.first_ms.min(letter.timestamp_ms), group.last_ms.max(letter.timestamp_ms));
            (group.detail, group.example) = (letter.detail, letter.id);
            if group.ids.len() < IDS_MAX {
                group.ids.push(letter.id);
            }
        }
    }
    Ok((groups, counted))
}

/// Answers `GET /api/v1/admin/config`.
pub(in crate::http) fn config(control: &Control) -> Answer {
    let settings = serde_json::from_value(control.config.clone()).unwrap_or_default();
    Ok(answers::object(StatusCode::OK, &ConfigShown { settings }))
}
