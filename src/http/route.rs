//! The route table: what there is, who may, what it costs, what it answers. Dispatch, `/openapi.json` and the test that
//! walks every route read the same rows.

use http::Method;
use matchit::Router;

use super::limit::Class;

/// What handles a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Live,
    Ready,
    Metrics,
    Jwks,
    OpenApi,
    Events,
    Feed,
    Invalidate,
    Trending,
    TrendingStream,
    FeedMetrics,
    Suggestions,
    Dismiss,
    Revocations,
    Revoke,
    Unrevoke,
    Dlq,
    DlqLetter,
    DlqReplay,
    DlqDiscard,
    Cdc,
    CdcPause,
    CdcResume,
    CdcEpoch,
    CacheInvalidate,
    ExplainFeed,
    Limits,
    Overrides,
    Override,
    Unoverride,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Anyone,
    /// Whoever has a valid token.
    User,
    /// Whose token has the role admin.
    Admin,
}

pub(super) const ADMIN: &[&str] = &["admin"];
pub(super) const ADMIN_OR_SERVICE: &[&str] = &["admin", "service"];

/// Where a route is when the admin listener is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    Api,
    Admin,
    Both,
}

/// A query or path parameter: its name, its JSON Schema type or its allowed values, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Uuid,
    Integer {
        min: u64,
        max: u64,
    },
    OneOf(&'static [&'static str]),
    Flag,
    /// Of a body: a list of texts, of numbers, of objects.
    Texts,
    Integers,
    Objects,
}

const fn parameter(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
    Parameter { name, kind, help }
}

/// One method of one path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub route: Route,
    pub summary: &'static str,
    pub access: Access,
    pub class: Option<Class>,
    pub plane: Plane,
    pub path_kind: Kind,
    pub query: Vec<Parameter>,
    /// Members of the JSON body; empty where none is read.
    pub body: Vec<Parameter>,
    /// Members of the JSON answer, as far as there is one.
    pub members: &'static [&'static str],
    /// Besides those that follow from the rest: see [`Operation::all_statuses`].
    pub statuses: &'static [u16],
}

impl Operation {
    fn new(method: Method, path: &'static str, route: Route, summary: &'static str) -> Operation {
        Operation {
            method,
            path,
            route,
            summary,
            access: Access::Anyone,
            class: None,
            plane: Plane::Api,
            path_kind: Kind::Uuid,
            query: Vec::new(),
            body: Vec::new(),
            members: &[],
            statuses: &[200],
        }
    }

    fn user(self, class: Class) -> Operation {
        Operation { access: Access::User, class: Some(class), ..self }
    }

    fn class(self, class: Class) -> Operation {
        Operation { class: Some(class), ..self }
    }

    fn admin(self) -> Operation {
        Operation { access: Access::Admin, class: Some(Class::Admin), plane: Plane::Admin, ..self }
    }

    fn on(self, plane: Plane) -> Operation {
        Operation { plane, ..self }
    }

    fn path_kind(self, path_kind: Kind) -> Operation {
        Operation { path_kind, ..self }
    }

    fn query<const N: usize>(self, query: [Parameter; N]) -> Operation {
        Operation { query: query.to_vec(), ..self }
    }

    fn body<const N: usize>(self, body: [Parameter; N]) -> Operation {
        Operation { body: body.to_vec(), ..self }
    }

    fn answers(self, statuses: &'static [u16], members: &'static [&'static str]) -> Operation {
        Operation { statuses, members, ..self }
    }

    /// Every status that the operation may answer.
    pub fn all_statuses(&self) -> Vec<u16> {
        let mut all = self.statuses.to_vec();
        match self.access {
            Access::Anyone => {}
            Access::User => all.push(401),
            Access::Admin => all.extend([401, 403]),
        }
        if !self.body.is_empty() {
            all.extend([400, 408, 413, 415]);
        }
        if self.class.is_some() {
            all.extend([429, 503]);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

const LIMIT_HELP: &str = "How many.";
const REVOKED: [Parameter; 3] = [
    parameter("jti", Kind::Text, "The id of a token."),
    parameter("user_id", Kind::Uuid, "All tokens of a user issued before a time."),
    parameter("key_id", Kind::Text, "All tokens of a key."),
];

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
            ])
            .answers(&[200, 400], &["posts", "cursor", "has_more", "total_count", "algorithm", "snapshot", "as_of"]),
        O::new(post.clone(), "/api/v1/feed/invalidate", Route::Invalidate, "Forgets snapshots of feeds")
            .user(Class::Feed)
            .body([
                parameter("user_ids", Kind::Texts, "Whose; needs the role admin or service. Left out: one's own."),
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
        O::new(
            get.clone(),
            "/api/v1/feed/trending/stream",
            Route::TrendingStream,
            "What trends, as server-sent events",
        )
        .class(Class::Trending)
        .query([
            parameter("window", Kind::OneOf(&["1h", "6h", "24h", "7d"]), "How far back."),
            parameter("limit", Kind::Integer { min: 1, max: 200 }, LIMIT_HELP),
        ])
        .answers(&[200, 400, 405], &[]),
        O::new(get.clone(), "/api/v1/feed/metrics", Route::FeedMetrics, "How a day went")
            .class(Class::Trending)
            .query([parameter("date", Kind::Text, "YYYY-MM-DD, UTC; today where it is left out.")])
            .answers(&[200, 400], &["date", "impressions", "clicks", "ctr", "dwell_p50_ms", "hit_rate"]),
        O::new(get.clone(), "/api/v1/discover/suggested-users", Route::Suggestions, "Whom to follow")
            .user(Class::Suggestions)
            .query([parameter("limit", Kind::Integer { min: 1, max: 100 }, LIMIT_HELP)])
            .answers(&[200, 400], &["users", "total_suggestions", "generated_at"]),
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
            .body([parameter("events", Kind::Objects, "1 to 100 events.")])
            .answers(&[202, 403, 409, 422], &["success", "received", "accepted", "deduped", "rejected", "results"]),
        O::new(get.clone(), "/metrics", Route::Metrics, "Prometheus text").on(Plane::Admin),
        O::new(get.clone(), "/.well-known/jwks.json", Route::Jwks, "Public keys of tokens").answers(&[200], &["keys"]),
        O::new(get.clone(), "/openapi.json", Route::OpenApi, "This document")
            .on(Plane::Both)
            .answers(&[200], &["openapi", "info", "paths"]),
    ];
    for path in ["/health", "/health/ready", "/api/v1/health", "/api/v1/health/ready"] {
        let ready = O::new(get.clone(), path, Route::Ready, "Whether requests are served, and if not, why");
        all.push(ready.on(Plane::Both).answers(&[200, 503], &["status", "reasons"]));
    }
    for path in ["/health/live", "/api/v1/health/live"] {
        let live = O::new(get.clone(), path, Route::Live, "Whether the process runs");
        all.push(live.on(Plane::Both).answers(&[200], &["status"]));
    }
    all.extend(admin(&get, &post, &delete));
    all
}

fn admin(get: &Method, post: &Method, delete: &Method) -> Vec<Operation> {
    use Operation as O;
    const TABLE: Kind = Kind::OneOf(&["users", "posts", "follows", "comments", "likes"]);
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
                parameter("force", Kind::Flag, "Also events from before the dedup horizon."),
            ])
            .answers(&[200], &["results"]),
        O::new(post.clone(), "/api/v1/admin/dlq/discard", Route::DlqDiscard, "Removes a dead letter for ever")
            .admin()
            .body([
                parameter("id", Kind::Integer { min: 0, max: u64::MAX }, "Which."),
                parameter("reason", Kind::Text, "Why; kept."),
            ])
            .answers(&[200, 404], &["success"]),
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
        O::new(
            post.clone(),
            "/api/v1/admin/cache/invalidate",
            Route::CacheInvalidate,
            "Forgets what is cached of users",
        )
        .admin()
        .body([
            parameter("user_ids", Kind::Texts, "1 to 10000 users."),
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
        .answers(&[200, 400], &["posts", "items"]),
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
        O::new(delete.clone(), "/api/v1/admin/trending/overrides/{post}", Route::Unoverride, "Takes an override back")
            .admin()
            .answers(&[204, 400], &[]),
        O::new(get.clone(), "/api/v1/admin/limits", Route::Limits, "Quotas, decisions, and nova's health")
            .admin()
            .answers(&[200], &["enabled", "health", "callers", "classes"]),
    ]
}

/// One path and its operations.
struct Path {
    operations: Vec<Operation>,
    /// For `Allow`.
    methods: &'static str,
}

/// The table, made ready for look-ups.
pub(super) struct Routes {
    router: Router<usize>,
    paths: Vec<Path>,
}

/// What a request's path leads to.
pub(super) enum Found<'r, 'p> {
    /// The operation, and the part of the path that it names.
    Operation(&'r Operation, Option<&'p str>),
    /// There are other methods only.
    Methods(&'static str),
    Nothing,
}

impl Routes {
    /// The operations of a listener: all, or those of the API or the admin listener.
    pub fn new(plane: Option<Plane>) -> Result<Routes, matchit::InsertError> {
        let (mut router, mut paths) = (Router::new(), Vec::<Path>::new());
        let here = |operation: &Operation| plane.is_none_or(|plane| [plane, Plane::Both].contains(&operation.plane));
        for operation in operations().into_iter().filter(here) {
            match paths.iter_mut().find(|path| path.operations[0].path == operation.path) {
                Some(path) => path.operations.push(operation),
                None => {
                    router.insert(operation.path, paths.len())?;
                    paths.push(Path { operations: vec![operation], methods: "" });
                }
            }
        }
        for path in &mut paths {
            path.methods = methods(&path.operations);
        }
        Ok(Routes { router, paths })
    }

    pub fn find<'p>(&self, method: &Method, path: &'p str) -> Found<'_, 'p> {
        let Ok(matched) = self.router.at(path) else { return Found::Nothing };
        let path = &self.paths[*matched.value];
        // HEAD is GET without the body.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match path.operations.iter().find(|operation| operation.method == *method) {
            Some(operation) => Found::Operation(operation, matched.params.iter().next().map(|(_, value)| value)),
            None => Found::Methods(path.methods),
        }
    }

    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.paths.iter().flat_map(|path| &path.operations)
    }
}

fn methods(operations: &[Operation]) -> &'static str {
    let has = |method: Method| operations.iter().any(|operation| operation.method == method);
    if has(Method::PUT) {
        return "PUT, DELETE";
    }
    match (has(Method::GET), has(Method::POST), has(Method::DELETE)) {
        (true, true, true) => "GET, HEAD, POST, DELETE",
        (true, true, false) => "GET, HEAD, POST",
        (true, false, true) => "GET, HEAD, DELETE",
        (true, false, false) => "GET, HEAD",
        (false, true, true) => "POST, DELETE",
        (false, true, false) => "POST",
        _ => "DELETE",
    }
}
