//! A page as the JSON of `GET /api/v1/feed`.

use std::fmt::Write as _;

use crate::event::Id;

use super::rank::{Ranked, item_json};
use super::snapshot::{Algorithm, Page};

/// Posts of one page.
pub const PAGE_MAX: usize = 100;

/// What varies between answers of one page.
pub struct Shape {
    /// With `items`: the reasons of every post.
    pub explain: bool,
    /// With `items`: author and age of every post.
    pub hydrate: bool,
    pub latency_us: u32,
}

/// Bytes of an answer without its posts, and of each post's id, its quotes and its comma.
const HEAD_BYTES: usize = 420;
const POST_BYTES: usize = 39;

/// The answer; `key` makes the cursor's MAC. Written into one buffer: this is most of what a page from a snapshot costs.
pub fn page_json(page: &Page, user: Id, algorithm: Algorithm, key: &[u8; 32], shape: &Shape) -> String {
    let posts = page.places.iter().map(|place| (&page.snapshot.posts()[*place], place + 1));
    let mut out = String::with_capacity(HEAD_BYTES + page.places.len() * POST_BYTES);
    out.push_str("{\"posts\":[");
    for (place, (post, _)) in posts.clone().enumerate() {
        out.push_str(if place == 0 { "\"" } else { ",\"" });
        post.post.write_to(&mut out);
        out.push('"');
    }
    out.push_str("],\"cursor\":");
    match page.cursor {
        Some(cursor) => out.extend(["\"", &cursor.encode(user, key), "\""]),
        None => out.push_str("null"),
    }
    let degraded = match (page.rebuilt, page.snapshot.cut()) {
        (true, true) => r#""snapshot_rebuilt","deadline""#,
        (true, false) => r#""snapshot_rebuilt""#,
        (false, true) => r#""deadline""#,
        (false, false) => "",
    };
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        r#","has_more":{},"total_count":{},"cache_hit":{},"algorithm":"{}","latency_ms":{}.{:03},"snapshot":"{:016x}","as_of":"{}","newer":{},"degraded":[{degraded}]"#,
        page.cursor.is_some(),
        page.snapshot.posts().len(),
        page.cache_hit,
        algorithm.name(),
        shape.latency_us / 1_000,
        shape.latency_us % 1_000,
        page.snapshot.id,
        page.snapshot.as_of,
        page.newer,
    );
    if shape.explain || shape.hydrate {
        let item = |(post, rank)| if shape.explain { item_json(post, rank) } else { plain_json(post, rank) };
        let items: Vec<_> = posts.map(item).collect();
        let _ = write!(out, r#","items":[{}]"#, items.join(","));
    }
    out.push('}');
    out
}

/// One post without its reasons.
fn plain_json(post: &Ranked, rank: usize) -> String {
    format!(r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"age_h":{:.4}}}"#, post.post, post.author, post.age_h)
}
