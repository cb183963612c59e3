//! Random transactions like those of an application: inserts, updates, deletes, changes of keys, cascades, statements
//! of several rows, rollbacks, large values.

use postgres::Client;

use crate::support::events::Rng;

/// Runs one session of `count` transactions. All sessions work on the same rows.
pub fn session(sql: &mut Client, session: u64, count: u64) {
    let mut rng = Rng(session * 7_919 + 1);
    for number in 0..count {
        let statements = (0..1 + rng.below(4)).map(|_| statement(&mut rng, session, number)).collect::<Vec<_>>();
        let end = if rng.below(12) == 0 { "ROLLBACK" } else { "COMMIT" };
        // If transactions of two sessions conflict, PostgreSQL rolls one of them back, as it would for an application.
        if sql.batch_execute(&format!("BEGIN; {}; {end}", statements.join("; "))).is_err() {
            sql.batch_execute("ROLLBACK").unwrap();
        }
    }
}

fn statement(rng: &mut Rng, session: u64, number: u64) -> String {
    let unique = format!("{session}_{number}_{}", rng.next());
    let some = |table: &str| {
        format!("(SELECT id FROM {table} ORDER BY id OFFSET floor(random() * (SELECT count(*) FROM {table})) LIMIT 1)")
    };
    let (user, other, post) = (some("users"), some("users"), some("posts"));
    match rng.below(20) {
        0..=2 => format!(
            "INSERT INTO users (email, username, password_hash) VALUES ('{unique}@x', 'u{}', 'h')",
            &unique[..unique.len().min(40)]
        ),
        3..=5 => {
            // The size of each value is drawn. A value above 2 kB is stored out of line, and later updates do not
            // repeat such a value.
            let size = [10, 300, 40_000][rng.below(3) as usize];
            format!(
                "INSERT INTO posts (user_id, caption, image_key, image_sizes, status) SELECT {user}, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, {})), 'k', '{{\"w\": 1}}', 'published' WHERE EXISTS (SELECT 1 FROM users)",
                1 + size / 32
            )
        }
        6..=8 => format!(
            "INSERT INTO follows (follower_id, following_id) SELECT {user}, {other} WHERE EXISTS (SELECT 1 FROM users) ON CONFLICT DO NOTHING"
        ),
        9..=11 => format!(
            "INSERT INTO likes (user_id, post_id) SELECT {user}, {post} WHERE EXISTS (SELECT 1 FROM posts) ON CONFLICT DO NOTHING"
        ),
        12 => "INSERT INTO likes (user_id, post_id) SELECT u.id, p.id FROM (SELECT id FROM users ORDER BY random() LIMIT 8) u, (SELECT id FROM posts ORDER BY random() LIMIT 4) p ON CONFLICT DO NOTHING".to_owned(),
        13 => format!(
            "INSERT INTO comments (post_id, user_id, content) SELECT {post}, {user}, 'c{unique}' WHERE EXISTS (SELECT 1 FROM posts)"
        ),
        14 => format!(
            "UPDATE posts SET status = (ARRAY['published','pending','removed'])[1 + floor(random() * 3)], updated_at = now() WHERE id = {post}"
        ),
        15 => format!(
            "UPDATE users SET is_active = NOT is_active, username = 'r{}' WHERE id = {user}",
            &unique[..unique.len().min(40)]
        ),
        16 => format!("DELETE FROM likes WHERE id = {}", some("likes")),
        17 => format!("DELETE FROM follows WHERE id = {}", some("follows")),
        18 => {
            format!("UPDATE comments SET id = gen_random_uuid(), soft_delete = now() WHERE id = {}", some("comments"))
        }
        _ if rng.below(4) == 0 => format!("DELETE FROM users WHERE id = {user}"),
        _ => format!("UPDATE posts SET soft_delete = now() WHERE id = {post}"),
    }
}
