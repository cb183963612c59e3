//! A page as the JSON of `GET /api/v1/feed`.

use crate::clock::rfc3339;
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
    pub latency_ms: f64,
}

/// The answer; `key` makes the cursor's MAC.
pub fn page_json(page: &Page, user: Id, algorithm: Algorithm, key: &[u8; 32], shape: &Shape) -> String {
    let posts = page.places.iter().map(|place| (&page.snapshot.posts()[*place], place + 1));
    let ids: Vec<_> = posts.clone().map(|(post, _)| format!("\"{}\"", post.post)).collect();
    let cursor = page.cursor.map_or("null".to_owned(), |cursor| format!("\"{}\"", cursor.encode(user, key)));
    let item = |(post, rank)| if shape.explain { item_json(post, rank) } else { plain_json(post, rank) };
    let wanted = shape.explain || shape.hydrate;
    let items: Vec<_> = posts.filter(|_| wanted).map(item).collect();
    let items = if wanted { format!(r#","items":[{}]"#, items.join(",")) } else { String::new() };
    let degraded = [(page.rebuilt, "\"snapshot_rebuilt\""), (page.snapshot.cut(), "\"deadline\"")];
    let degraded: Vec<_> = degraded.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    format!(
        r#"{{"posts":[{}],"cursor":{cursor},"has_more":{},"total_count":{},"cache_hit":{},"algorithm":"{}","latency_ms":{:.3},"snapshot":"{:016x}","as_of":"{}","newer":{},"degraded":[{}]{items}}}"#,
        ids.join(","),
        page.cursor.is_some(),
        page.snapshot.posts().len(),
        page.cache_hit,
        algorithm.name(),
        shape.latency_ms,
        page.snapshot.id,
        rfc3339(page.snapshot.as_of_ms * 1_000),
        page.newer,
        degraded.join(","),
    )
}

/// One post without its reasons.
fn plain_json(post: &Ranked, rank: usize) -> String {
    format!(r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"age_h":{:.4}}}"#, post.post, post.author, post.age_h)
}
