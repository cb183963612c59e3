//! The routes that answer from the state in memory.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::discover::{self, SUGGESTIONS_MAX};
use crate::feed::cursor::Cursor;
use crate::feed::page::{PAGE_MAX, Shape, page_json};
use crate::feed::shown;
use crate::feed::snapshot::{Algorithm, Ask};
use crate::feed::trending::publish::{Board, TrendingPage, parse_cursor};
use crate::feed::trending::{self, TRENDING_MAX, Window};
use crate::jobs::copies::Kind;
use crate::jobs::serving::FEED_WARMUP;
use crate::state::UserNo;

use super::answers;
use super::auth::Subject;
use super::edge::Serving;
use super::error::Problem;
use super::percent::{digits, parameter};
use super::shapes::Forgotten;

const LIMIT_DEFAULT: usize = 20;
/// The time limit for making a feed. When the time limit for a feed is over, nova asks no further source of posts, and
/// orders the feed by time.
const DEADLINE: Duration = Duration::from_millis(50);

pub(super) fn limit(query: &str, max: usize) -> Result<usize, Problem> {
    let Some(text) = parameter(query, "limit")? else { return Ok(LIMIT_DEFAULT.min(max)) };
    let limit = digits(&text).filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| Problem::InvalidParameter { field: "limit", detail: format!("limit: expected 1 to {max}") })
}

/// The requested window of trending (default: `24h`), which must be a window that nova keeps.
pub(super) fn window(trending: &Board, query: &str) -> Result<Window, Problem> {
    let name = parameter(query, "window")?;
    let kept = trending.windows();
    let found = Window::from_name(name.as_deref().unwrap_or("24h")).filter(|window| kept.contains(window));
    found.ok_or_else(|| Problem::InvalidParameter {
        field: "window",
        detail: format!("window: {}", trending::one_of(kept)),
    })
}

/// Answers `GET /api/v1/feed/trending`. A cache may store the list, and must ask at each use whether the list is still
/// valid.
pub(super) fn trending(serving: &Serving, query: &str) -> Result<Response<Full<Bytes>>, Problem> {
    let (window, limit) = (window(&serving.trending, query)?, limit(query, TRENDING_MAX)?);
    let cursor = parameter(query, "cursor")?.filter(|text| !text.is_empty());
    let cursor = cursor.map(|text| parse_cursor(&text).ok_or(Problem::InvalidCursor)).transpose()?;
    let now_ms = serving.clock.now_ms();
    let TrendingPage { etag, body } = serving.trending.page(window, cursor, limit, now_ms);
    serving.told_page(now_ms, "trending", None, || body.clone());
    let mut response = answers::json(StatusCode::OK, body);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    Ok(response)
}

/// Answers `GET /api/v1/feed` for a request that began at `started`.
pub(super) fn feed(
    serving: &Serving,
    query: &str,
    subject: &Subject,
    started: Instant,
) -> Result<Response<Full<Bytes>>, Problem> {
    let wrong =
        |field, expected: &str| Problem::InvalidParameter { field, detail: format!("{field}: expected {expected}") };
    let algorithm = match parameter(query, "algo")?.as_deref() {
        None | Some("ch") => Algorithm::Ranked,
        Some("time") => Algorithm::Time,
        Some(_) => return Err(wrong("algo", "ch or time")),
    };
    let explain = match parameter(query, "explain")?.as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(wrong("explain", "0 or 1")),
    };
    let limit = limit(query, PAGE_MAX)?;
    let decode =
        |text: Cow<'_, str>| Cursor::decode(&text, subject.user, &serving.cursor_key).ok_or(Problem::InvalidCursor);
    let cursor = parameter(query, "cursor")?.filter(|text| !text.is_empty()).map(decode).transpose()?;
    let (cursor, shown) = cursor.unzip();
    let shown = shown.as_ref().unwrap_or(&shown::NOTHING);
    if cursor.is_some_and(|cursor| cursor.algorithm != algorithm as u8) {
        return Err(Problem::InvalidCursor);
    }
    let hydrate = match parameter(query, "hydrate")?.as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(wrong("hydrate", "0 or 1")),
    };
    let now_ms = serving.clock.now_ms();
    let list = serving.trending.last(Window::Day);
    let late = || started.elapsed() > DEADLINE;
    let (user, trending) = (subject.user, &list.numbers);
    let ask = Ask { user, algorithm, cursor, shown, limit, now_ms, trending, late: &late };
    let page = serving.feeds.page(&serving.state, &ask);
    if let Some(shared) = serving.shared_cache.as_ref().filter(|_| algorithm == Algorithm::Ranked && cursor.is_none()) {
        shared.copies.read(Kind::Feed, user, now_ms);
    }
    if page.due {
        serving.runner.wake(FEED_WARMUP);
    }
    let latency_us = started.elapsed().as_micros() as u32;
    serving.feeds.served.feed(now_ms, page.cache_hit, page.snapshot.cut(), latency_us);
    let shape = Shape { explain, hydrate, latency_us };
    let body = page_json(&page, subject.user, algorithm, &serving.cursor_key, &shape);
    serving.told_page(now_ms, "feed", Some(user), || {
        let reasons = Shape { explain: true, hydrate: false, latency_us };
        page_json(&page, user, algorithm, &serving.cursor_key, &reasons)
    });
    Ok(answers::json(StatusCode::OK, body))
}

/// Answers `POST /api/v1/feed/invalidate`, which affects only the caller's own feed.
pub(super) fn invalidate(serving: &Serving, subject: &Subject) -> Response<Full<Bytes>> {
    serving.forget_feeds(&[subject.user]);
    answers::object(StatusCode::OK, &Forgotten { success: true, users: None })
}

/// Answers `GET /api/v1/discover/suggested-users`.
pub(super) fn suggestions(serving: &Serving, query: &str, subject: &Subject) -> Result<Response<Full<Bytes>>, Problem> {
    let limit = limit(query, SUGGESTIONS_MAX)?;
    let now_ms = serving.clock.now_ms();
    let state = serving.state.read();
    let user = state.users.number(subject.user).unwrap_or(UserNo::NOBODY);
    let dismissed = serving.dismissals.of(subject.user, &state);
    let rising = || serving.rising.list(&state, now_ms);
    let list = discover::suggest_with(&state, user, now_ms, limit, &dismissed, rising);
    serving.shown.note(user, list.iter().filter_map(|suggested| state.users.number(suggested.user)), now_ms);
    if let Some(shared) = &serving.shared_cache {
        shared.copies.read(Kind::Suggestions, subject.user, now_ms);
    }
    let body = discover::json(&list, now_ms);
    serving.told_page(now_ms, "suggestions", Some(subject.user), || body.clone());
    Ok(answers::json(StatusCode::OK, body))
}
