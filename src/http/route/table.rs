//! The rows.

use http::Method;

use crate::pipeline::writer::SEEK_MAX;

use super::{Class, Kind, METRICS, Operation, Parameter, Plane, Route, STREAM};

const fn parameter(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
    Parameter { name, kind, help }
}

const LIMIT_HELP: &str = "How many.";
const FOR_USER: Parameter =
    parameter("user_id", Kind::Uuid, "Whose; another user's needs the role service or admin. Left out: one's own.");
const REVOKED: [Parameter; 3] = [
    parameter("jti", Kind::Text, "The id of a token."),
    parameter("user_id", Kind::Uuid, "All tokens of a user issued before a time."),
    parameter("key_id", Kind::Text, "All tokens of a key."),
];

const FEED: &[&str] = &[
    "posts",
    "cursor",
    "has_more",
    "total_count",
    "cache_hit",
    "algorithm",
    "latency_ms",
    "snapshot",
    "as_of",
    "newer",
    "degraded",
];
const DAY: &[&str] = &[
    "date",
    "impressions",
    "clicks",
    "ctr",
    "dwell_p50_ms",
    "suggestion_conversion",
    "hit_rate",
    "event_visible_p95_ms",
];
const EVENTS: &[&str] = &["success", "received", "accepted", "deduped", "rejected", "count", "latency_ms", "results"];

/// In the order of the documentation.
pub(super) fn operations() -> Vec<Operation> {
    use Operation as O;
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let mut all = vec![
        O::new(get.clone(), "/api/v1/feed", Route::Feed, "A page of one's own feed")
            .user(Class::Feed)
            .query([
                parameter("algo", Kind::OneOf(&["ch", "time"]), "Ranked, or newest first."),
                parameter("limit", Kind::Integer { min: 1, max: 100 }, LIMIT_HELP),
                parameter("cursor", Kind::Text, "The place where the page begins."),
                parameter("hydrate", Kind::Flag, "With authors and ages."),
                parameter("explain", Kind::Flag, "With the reasons."),
                FOR_USER,
            ])
            .answers(&[200, 400, 403], FEED),
        O::new(post.clone(), "/api/v1/feed/invalidate", Route::Invalidate, "Forgets snapshots of feeds")
            .user(Class::Feed)
            .body([
                parameter("user_ids", Kind::Uuids, "Whose; needs the role admin or service. Left out: one's own."),
                parameter("scope", Kind::OneOf(&["feed"]), "What."),
            ])
            .answers(&[200, 403], &["success"]),
        O::new(get.clone(), "/api/v1/feed/trending", Route::Trending, "What trends")
            .class(Class::Trending)
            .query([
                parameter("window", Kind::OneOf(&["1h", "6h", "24h", "7d"]), "How far back."),
                parameter("limit", Kind::Integer { min: 1, max: 200 }, LIMIT_HELP),
                parameter("cursor", Kind::Text, "The place where the page begins."),
            ])
            .answers(&[200, 304, 400], &["posts", "window", "generated_at", "total_posts", "generation", "cursor"]),
        O::new(get.clone(), STREAM, Route::TrendingStream, "What trends, as server-sent events")
            .class(Class::Trending)
            .query([
                parameter("window", Kind::OneOf(&["1h", "6h", "24h", "7d"]), "How far back."),
                parameter("limit", Kind::Integer { min: 1, max: 200 }, LIMIT_HELP),
            ])
            .answers(&[200, 400, 405], &[]),
        O::new(get.clone(), "/api/v1/feed/metrics", Route::FeedMetrics, "How a day went")
            .class(Class::Trending)
            .query([parameter("date", Kind::Text, "YYYY-MM-DD, UTC; today where it is left out.")])
            .answers(&[200, 400], DAY),
        O::new(get.clone(), "/api/v1/discover/suggested-users", Route::Suggestions, "Whom to follow")
            .user(Class::Suggestions)
            .query([parameter("limit", Kind::Integer { min: 1, max: 100 }, LIMIT_HELP), FOR_USER])
            .answers(&[200, 400, 403], &["users", "total_suggestions", "generated_at", "cache_hit"]),
        O::new(
            delete.clone(),
            "/api/v1/discover/suggested-users/{user_id}",
            Route::Dismiss,
            "Never suggests a person again",
        )
        .user(Class::Suggestions)
        .answers(&[204, 400, 413], &[]),
        O::new(post.clone(), "/api/v1/events", Route::Events, "Client events, durable before the answer")
            .user(Class::Events)
            .body([parameter("events", Kind::Events, "1 to 100.")])
            .answers(&[202, 403, 409, 422], EVENTS),
        O::new(get.clone(), METRICS, Route::Metrics, "Prometheus text, or OpenMetrics by Accept")
            .class(Class::Public)
            .on(Plane::Admin),
        O::new(get.clone(), "/.well-known/jwks.json", Route::Jwks, "Public keys of tokens")
            .class(Class::Public)
            .answers(&[200, 304], &["keys"]),
        O::new(get.clone(), "/openapi.json", Route::OpenApi, "This document")
            .class(Class::Public)
            .on(Plane::Both)
            .answers(&[200, 304], &["openapi", "info", "paths"]),
    ];
    for path in ["/health", "/health/ready", "/api/v1/health", "/api/v1/health/ready"] {
        let ready = O::new(get.clone(), path, Route::Ready, "Whether requests are served, and if not, why");
        all.push(ready.class(Class::Probes).on(Plane::Both).answers(&[200, 503], &["status", "reasons"]));
    }
    for path in ["/health/live", "/api/v1/health/live"] {
        let live = O::new(get.clone(), path, Route::Live, "Whether the process runs");
        all.push(live.class(Class::Probes).on(Plane::Both).answers(&[200], &["status"]));
    }
    all.extend(revocations(&get, &post, &delete));
    all.extend(dead_letters(&get, &post));
    all.extend(tables(&get, &post));
    all.extend(users(&get, &post));
    all
}

fn revocations(get: &Method, post: &Method, delete: &Method) -> Vec<Operation> {
    use Operation as O;
    vec![
        O::new(get.clone(), "/api/v1/admin/revocations", Route::Revocations, "Rules that end tokens early")
            .admin()
            .query([
                parameter("limit", Kind::Integer { min: 1, max: 1_000 }, LIMIT_HELP),
                parameter("offset", Kind::Integer { min: 0, max: 100_000 }, "How many are left out before."),
            ])
            .answers(&[200, 400], &["revocations", "total"]),
        O::new(post.clone(), "/api/v1/admin/revocations", Route::Revoke, "Revokes a token, a user's tokens, or a key")
            .admin()
            .body([
                REVOKED[0],
                REVOKED[1],
                REVOKED[2],
                parameter("before", Kind::Text, "With user_id: issued before this time; left out, now."),
                parameter("expires_at", Kind::Text, "When the rule may be dropped; left out, never."),
                parameter("reason", Kind::Text, "For the audit."),
            ])
            .answers(&[201, 413], &["kind", "id", "before", "expires_at"]),
        O::new(delete.clone(), "/api/v1/admin/revocations", Route::Unrevoke, "Takes a rule back")
            .admin()
            .query(REVOKED)
            .answers(&[204, 400, 404], &[]),
    ]
}

fn dead_letters(get: &Method, post: &Method) -> Vec<Operation> {
    use Operation as O;
    vec![
        O::new(get.clone(), "/api/v1/admin/audit", Route::Audit, "Who did what to what, oldest first")
            .admin()
            .query([
                parameter("limit", Kind::Integer { min: 1, max: 1_000 }, LIMIT_HELP),
                parameter("after", Kind::Integer { min: 0, max: u64::MAX }, "Only later ids."),
            ])
            .answers(&[200, 400], &["entries"]),
        O::new(get.clone(), "/api/v1/admin/dlq", Route::Dlq, "Dead letters, oldest first")
            .admin()
            .query([
                parameter("limit", Kind::Integer { min: 1, max: 1_000 }, LIMIT_HELP),
                parameter("after", Kind::Integer { min: 0, max: u64::MAX }, "Only later ids."),
            ])
            .answers(&[200, 400], &["letters", "total"]),
        O::new(get.clone(), "/api/v1/admin/dlq/{id}", Route::DlqLetter, "One dead letter with its bytes")
            .admin()
            .path_kind(Kind::Integer { min: 0, max: u64::MAX })
            .answers(&[200, 404], &["id", "topic", "value"]),
        O::new(post.clone(), "/api/v1/admin/dlq/replay", Route::DlqReplay, "Applies dead letters again")
            .admin()
            .body([
                parameter("ids", Kind::Integers, "1 to 1000 ids."),
                parameter("force", Kind::Boolean, "Also events from before the dedup horizon."),
            ])
            .answers(&[200], &["results"]),
        O::new(post.clone(), "/api/v1/admin/dlq/discard", Route::DlqDiscard, "Removes a dead letter for ever")
            .admin()
            .body([
                parameter("id", Kind::Integer { min: 0, max: u64::MAX }, "Which."),
                parameter("reason", Kind::Text, "Why; kept."),
            ])
            .answers(&[200, 404], &["success"]),
    ]
}

fn tables(get: &Method, post: &Method) -> Vec<Operation> {
    use Operation as O;
    const TABLE: Kind = Kind::OneOf(&["users", "posts", "follows", "comments", "likes"]);
    vec![
        O::new(get.clone(), "/api/v1/admin/cdc", Route::Cdc, "Source tables and partitions")
            .admin()
            .answers(&[200], &["tables", "partitions"]),
        O::new(post.clone(), "/api/v1/admin/cdc/{table}/pause", Route::CdcPause, "Halts a table")
            .admin()
            .path_kind(TABLE)
            .answers(&[200, 404], &["success"]),
        O::new(post.clone(), "/api/v1/admin/cdc/{table}/resume", Route::CdcResume, "Goes on with a halted table")
            .admin()
            .path_kind(TABLE)
            .body([parameter("truncate", Kind::OneOf(&["apply", "ignore"]), "What the truncate that halted it does.")])
            .answers(&[200, 404, 409], &["success"]),
        O::new(post.clone(), "/api/v1/admin/cdc/{table}/epoch", Route::CdcEpoch, "Takes later changes as newer")
            .admin()
            .path_kind(TABLE)
            .answers(&[200, 404], &["success", "epoch"]),
        O::new(post.clone(), "/api/v1/admin/cdc/seek", Route::CdcSeek, "Goes on with a partition at another offset")
            .admin()
            .body([
                parameter("topic", Kind::Text, "Of a table, or of the events."),
                parameter("partition", Kind::Integer { min: 0, max: i32::MAX as u64 }, "Of the topic."),
                parameter("offset", Kind::Integer { min: 0, max: SEEK_MAX as u64 }, "The first that shall be read."),
            ])
            .answers(&[200, 400], &["success", "topic", "partition", "next_offset"]),
        O::new(
            post.clone(),
            "/api/v1/admin/cdc/resnapshot",
            Route::CdcResnapshot,
            "Reads tables again from PostgreSQL, whatever became of the slot, while old rows are served",
        )
        .admin()
        .body([parameter("tables", Kind::Text, "Their names with spaces. Left out: all, with a new slot.")])
        .answers(&[200, 400, 409], &["success", "tables"]),
    ]
}

fn users(get: &Method, post: &Method) -> Vec<Operation> {
    use Operation as O;
    vec![
        O::new(
            post.clone(),
            "/api/v1/admin/cache/invalidate",
            Route::CacheInvalidate,
            "Forgets what is cached of users",
        )
        .admin()
        .body([
            parameter("user_ids", Kind::Uuids, "1 to 5000 users."),
            parameter("scope", Kind::OneOf(&["feed"]), "What."),
        ])
        .answers(&[200], &["success", "users"]),
        O::new(
            get.clone(),
            "/api/v1/admin/users/{user_id}/explain-feed",
            Route::ExplainFeed,
            "A user's feed with reasons",
        )
        .admin()
        .query([
            parameter("algo", Kind::OneOf(&["ch", "time"]), "Ranked, or newest first."),
            parameter("limit", Kind::Integer { min: 1, max: 100 }, LIMIT_HELP),
        ])
        .answers(&[200, 400], FEED),
        O::new(get.clone(), "/api/v1/admin/trending/overrides", Route::Overrides, "What operators say about trending")
            .admin()
            .answers(&[200], &["overrides"]),
        O::new(Method::PUT, "/api/v1/admin/trending/overrides/{post}", Route::Override, "Pins or blocks a post")
            .admin()
            .body([
                parameter("action", Kind::OneOf(&["pin", "block"]), "What."),
                parameter("place", Kind::Integer { min: 1, max: 200 }, "Of a pinned post."),
            ])
            .answers(&[200], &["post_id", "action"]),
        O::new(Method::DELETE, "/api/v1/admin/trending/overrides/{post}", Route::Unoverride, "Takes an override back")
            .admin()
            .answers(&[204, 400], &[]),
        O::new(post.clone(), "/api/v1/admin/backup", Route::Backup, "Copies the store into a file beside it")
            .admin()
            .body([parameter("name", Kind::Text, "Of the file: letters, digits, dots, dashes, underscores.")])
            .answers(&[200, 409], &["success", "file", "entries"]),
        O::new(get.clone(), "/api/v1/admin/limits", Route::Limits, "Quotas, decisions, and nova's health")
            .admin()
            .answers(&[200], &["enabled", "health", "callers", "classes"]),
    ]
}
