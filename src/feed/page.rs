//! Writes a page of a feed as the JSON of `GET /api/v1/feed`.

use std::fmt::Write as _;

use crate::event::Id;

use super::page_size::{POST_BYTES, TEXT_BYTES};
use super::rank::{Ranked, item_json};
use super::snapshot::{Algorithm, Page};

pub use super::page_size::PAGE_MAX;

/// The options that change the JSON of a page, although its posts are the same.
pub struct Shape {
    /// Whether the answer has `items` with the reasons of every post.
    pub explain: bool,
    /// Whether the answer has `items` with the author and the age of every post.
    pub hydrate: bool,
    pub latency_us: u32,
}

/// The number of bytes of an answer without posts and without a cursor.
const REST_BYTES: usize = 240;

/// Returns the JSON of a page. `key` makes the cursor's MAC. A process uses one `key` for all pages, so nova keeps the
/// text that contains the cursor.
pub fn page_json(page: &Page, user: Id, algorithm: Algorithm, key: &[u8; 32], shape: &Shape) -> String {
    let text = page.cut.text.get_or_init(|| text(page, user, key).into_boxed_str());
    let degraded = match (page.rebuilt, page.snapshot.cut()) {
        (true, true) => r#""snapshot_rebuilt","deadline""#,
        (true, false) => r#""snapshot_rebuilt""#,
        (false, true) => r#""deadline""#,
        (false, false) => "",
    };
    let (hit, name) = (if page.cache_hit { "true" } else { "false" }, algorithm.name());
    let newer = if page.cut.newer { "true" } else { "false" };
    let mut out = String::with_capacity(text.len() + REST_BYTES);
    out.extend([text, r#","cache_hit":"#, hit, r#","algorithm":""#, name, r#"","latency_ms":"#]);
    push_ms(shape.latency_us.into(), &mut out);
    out.extend([",", &page.snapshot.text, r#","newer":"#, newer, r#","degraded":["#, degraded, "]"]);
    if shape.explain || shape.hydrate {
        let item = |(post, rank)| {
            if shape.explain { item_json(post, page.snapshot.scoring(), rank) } else { plain_json(post, rank) }
        };
        let items: Vec<_> = posts(page).map(item).collect();
        out.extend([r#","items":["#, &items.join(","), "]"]);
    }
    out.push('}');
    out
}

/// Returns the posts of a page, each with its rank among all posts that the reader is shown.
fn posts(page: &Page) -> impl Iterator<Item = (&Ranked, usize)> {
    let before = page.snapshot.shown.len();
    page.cut.places.iter().map(move |place| (&page.snapshot.posts()[*place], before + place + 1))
}

/// Writes the part of the JSON that is the same in all answers with this page.
fn text(page: &Page, user: Id, key: &[u8; 32]) -> String {
    let cursor = page.cut.cursor.map(|cursor| cursor.encode(&page.snapshot.shown_before(cursor.position), user, key));
    let cursor_bytes = cursor.as_ref().map_or(0, String::len);
    let mut out = String::with_capacity(TEXT_BYTES + cursor_bytes + page.cut.places.len() * POST_BYTES);
    out.push_str("{\"posts\":[");
    for (place, (post, _)) in posts(page).enumerate() {
        out.push_str(if place == 0 { "\"" } else { ",\"" });
        post.post.write_to(&mut out);
        out.push('"');
    }
    out.push_str("],\"cursor\":");
    match &cursor {
        Some(cursor) => out.extend(["\"", cursor, "\""]),
        None => out.push_str("null"),
    }
    let (more, total) = (cursor.is_some(), page.snapshot.shown.len() + page.snapshot.posts().len());
    // Writing to a string cannot fail.
    let _ = write!(out, r#","has_more":{more},"total_count":{total}"#);
    out
}

/// Writes microseconds as milliseconds.
pub(crate) fn push_ms(us: u64, out: &mut String) {
    let (mut whole, mut part) = (itoa::Buffer::new(), itoa::Buffer::new());
    // A thousand is added so that the leading zeros of the fraction are printed; the first digit is cut off.
    out.extend([whole.format(us / 1_000), ".", &part.format(1_000 + us % 1_000)[1..]]);
}

/// Writes a post without its reasons as JSON.
fn plain_json(post: &Ranked, rank: usize) -> String {
    format!(r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"age_h":{:.4}}}"#, post.post, post.author, post.age_h)
}
