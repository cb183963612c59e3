//! The routes for users and their applications, and the public routes about the node.

use http::Method;

use crate::http::console::{self, Session};
use crate::http::limit::Class;
use crate::http::shapes::{
    ApiDescription, ClientEvents, DayFigures, EventsTaken, FeedPage, Forgotten, KeySet, Liveness, Overview,
    OverviewHistory, OverviewPatch, Readiness, RowsTaken, Suggestions, TrendingDiff, TrendingPage,
};
use crate::http::{admin, dismiss, events, feed_metrics, metrics, read, ready, rows, stream};

use super::operation::{Content, Handler, Kind, Operation as O, Parameter, Plane, Tag, form, parameter};
use super::parameters::{ALGORITHM, WINDOW};

/// The path of the operation that streams trending.
pub(in crate::http) const STREAM: &str = "/api/v1/feed/trending/stream";
/// The path of the operation that streams the overview.
pub(in crate::http) const OVERVIEW_STREAM: &str = "/api/v1/overview/stream";
/// The path of the operation whose answer depends on `Accept`.
pub(in crate::http) const METRICS: &str = "/metrics";

/// The most characters of a cursor.
const CURSOR_MAX: usize = 2_000;
const CURSOR: Parameter =
    parameter("cursor", Kind::Cursor(CURSOR_MAX), "The place where the page begins, from the page before.");
const FOR_USER: Parameter =
    parameter("user_id", Kind::Uuid, "Whose; another user's needs the role service or admin. Left out: one's own.");

const fn limit(max: u64) -> Parameter {
    parameter("limit", Kind::Integer { min: 1, max }, "How many; 20 where it is left out.")
}

/// The operations for users and the public operations, in the order of the documentation.
pub(super) fn operations() -> Vec<O> {
    let mut all = vec![feed(), invalidate()];
    all.extend(trending());
    all.extend(discover());
    all.push(events());
    all.push(rows());
    all.extend(known());
    all.extend(health());
    all.extend(overview());
    all.extend(session());
    all
}

fn feed() -> O {
    let answer = Handler::Whose {
        looked: "feed-read",
        answer: |call, whose| read::feed(&call.edge().serving, call.query, whose, call.started),
    };
    O::new("getFeed", (Method::GET, "/api/v1/feed"), Tag::Feed, "A page of one's own feed", answer)
        .class(Class::Feed)
        .query([
            ALGORITHM,
            limit(100),
            CURSOR,
            parameter("hydrate", Kind::Flag, "With authors and ages."),
            parameter("explain", Kind::Flag, "With the reasons."),
            FOR_USER,
        ])
        .answers::<FeedPage>(&[200])
        .also(&[403])
}

fn invalidate() -> O {
    let handler = Handler::User(|call| Box::pin(admin::invalidate(&call.edge().serving, call)));
    let place = (Method::POST, "/api/v1/feed/invalidate");
    O::new("invalidateFeed", place, Tag::Feed, "Forgets snapshots of feeds", handler)
        .class(Class::Feed)
        .reads::<admin::Forget>()
        .answers::<Forgotten>(&[200])
        .also(&[403])
}

fn trending() -> [O; 3] {
    let list = Handler::Anyone(|call| read::trending(&call.edge().serving, call.query));
    let events = Handler::Stream(|call, address| stream::open(&call.edge().serving, address, call.query));
    let day = Handler::Anyone(|call| feed_metrics::answer(&call.edge().serving, call.query));
    [
        O::new("getTrending", (Method::GET, "/api/v1/feed/trending"), Tag::Trending, "What trends", list)
            .class(Class::Trending)
            .query([WINDOW, limit(200), CURSOR])
            .on(Plane::Both)
            .answers::<TrendingPage>(&[200])
            .etag(),
        O::new("streamTrending", (Method::GET, STREAM), Tag::Trending, "What trends, as server-sent events", events)
            .class(Class::Trending)
            .query([WINDOW, limit(200)])
            .content(&[200], Content::Events(&[("snapshot", form::<TrendingPage>), ("diff", form::<TrendingDiff>)])),
        O::new("getFeedMetrics", (Method::GET, "/api/v1/feed/metrics"), Tag::Feed, "How a day went", day)
            .class(Class::Trending)
            .query([parameter("date", Kind::Date, "In UTC; today where it is left out.")])
            .answers::<DayFigures>(&[200]),
    ]
}

fn discover() -> [O; 2] {
    let list = Handler::Whose {
        looked: "suggestions-read",
        answer: |call, whose| read::suggestions(&call.edge().serving, call.query, whose),
    };
    let dismiss = Handler::User(|call| Box::pin(dismiss::dismiss(&call.edge().serving, call)));
    let path = "/api/v1/discover/suggested-users";
    let dismissed = (Method::DELETE, "/api/v1/discover/suggested-users/{user_id}");
    [
        O::new("getSuggestedUsers", (Method::GET, path), Tag::Discover, "Whom to follow", list)
            .class(Class::Suggestions)
            .query([limit(100), FOR_USER])
            .answers::<Suggestions>(&[200])
            .also(&[403]),
        O::new("dismissSuggestedUser", dismissed, Tag::Discover, "Never suggests a person again", dismiss)
            .class(Class::Suggestions)
            .content(&[204], Content::Nothing)
            .also(&[413]),
    ]
}

fn events() -> O {
    let handler = Handler::User(|call| Box::pin(events::take(&call.edge().intake, call)));
    let place = (Method::POST, "/api/v1/events");
    O::new("postEvents", place, Tag::Events, "Client events, durable before the answer", handler)
        .class(Class::Events)
        .header(
            "Idempotency-Key",
            Kind::Text { min: 1, max: 128 },
            "The same key and content get the same answer for 24 hours.",
        )
        .needs::<ClientEvents>()
        .answers::<EventsTaken>(&[202])
        .also(&[403, 409, 422])
}

fn rows() -> O {
    let handler = Handler::User(|call| Box::pin(rows::take(call)));
    let place = (Method::POST, "/api/v1/rows");
    O::new("putRows", place, Tag::Source, "Rows of the tables, where no other source has them", handler)
        .class(Class::Events)
        .needs::<rows::Rows>()
        .answers::<RowsTaken>(&[200])
        .also(&[403, 409])
}

/// The public operations about the node.
fn known() -> [O; 3] {
    let text = Handler::Anyone(|call| call.documents.metrics(call.edge(), call.headers));
    let keys = Handler::Anyone(|call| call.documents.key_set(&call.edge().auth));
    let document = Handler::Anyone(|call| Ok(call.documents.openapi()));
    [
        O::new("getMetrics", (Method::GET, METRICS), Tag::Node, "Prometheus text, or OpenMetrics by Accept", text)
            .class(Class::Public)
            .on(Plane::Admin)
            .content(&[200], Content::Text(&[metrics::CLASSIC, metrics::OPENMETRICS])),
        O::new("getKeySet", (Method::GET, "/.well-known/jwks.json"), Tag::Tokens, "Public keys of tokens", keys)
            .class(Class::Public)
            .answers::<KeySet>(&[200])
            .etag(),
        O::new("getOpenApi", (Method::GET, "/openapi.json"), Tag::Node, "This document", document)
            .class(Class::Public)
            .on(Plane::Both)
            .answers::<ApiDescription>(&[200])
            .etag(),
    ]
}

fn health() -> Vec<O> {
    let is_ready = Handler::Anyone(|call| ready::answer(call.edge()));
    let is_live = Handler::Anyone(|_| ready::live());
    let ready = [
        ("getHealth", "/health"),
        ("getReadiness", "/health/ready"),
        ("getApiHealth", "/api/v1/health"),
        ("getApiReadiness", "/api/v1/health/ready"),
    ];
    let ready = ready.map(|(id, path)| {
        O::new(id, (Method::GET, path), Tag::Node, "Whether requests are served, and if not, why", is_ready)
            .answers::<Readiness>(&[200, 503])
    });
    let live = [("getLiveness", "/health/live"), ("getApiLiveness", "/api/v1/health/live")].map(|(id, path)| {
        O::new(id, (Method::GET, path), Tag::Node, "Whether the process runs", is_live).answers::<Liveness>(&[200])
    });
    ready.into_iter().chain(live).map(|one| one.class(Class::Probes).on(Plane::Both)).collect()
}

/// The operations of the console's first page, for everybody who may read the metrics.
fn overview() -> [O; 3] {
    let now = Handler::Anyone(console::now);
    let history = Handler::Anyone(console::history);
    let events = Handler::Stream(|call, address| console::open(call.edge(), address));
    let (all, past) = ((Method::GET, "/api/v1/overview"), (Method::GET, "/api/v1/overview/history"));
    [
        O::new("getOverview", all, Tag::Node, "How the node is, stage by stage", now)
            .class(Class::Public)
            .on(Plane::Admin)
            .answers::<Overview>(&[200])
            .also(&[404]),
        O::new("getOverviewHistory", past, Tag::Node, "Ten minutes of what is plotted", history)
            .class(Class::Public)
            .on(Plane::Admin)
            .answers::<OverviewHistory>(&[200])
            .also(&[404]),
        O::new("streamOverview", (Method::GET, OVERVIEW_STREAM), Tag::Node, "The same, as server-sent events", events)
            .class(Class::Public)
            .on(Plane::Admin)
            .content(&[200], Content::Events(&[("snapshot", form::<Overview>), ("patch", form::<OverviewPatch>)]))
            .also(&[404]),
    ]
}

/// The operations about the console's session.
fn session() -> [O; 3] {
    const PATH: &str = "/console/session";
    let whoami = Handler::Anyone(console::whoami);
    let sign_in = Handler::User(|call| Box::pin(console::sign_in(call)));
    let sign_out = Handler::Anyone(console::sign_out);
    [
        O::new("getConsoleSession", (Method::GET, PATH), Tag::Tokens, "Who is signed in at the console", whoami)
            .class(Class::Public)
            .on(Plane::Admin)
            .answers::<Session>(&[200])
            .also(&[404]),
        O::new("openConsoleSession", (Method::POST, PATH), Tag::Tokens, "A token for the console's cookie", sign_in)
            .class(Class::Public)
            .on(Plane::Admin)
            .answers::<Session>(&[200])
            .also(&[404]),
        O::new("closeConsoleSession", (Method::DELETE, PATH), Tag::Tokens, "Ends the console's cookie", sign_out)
            .class(Class::Public)
            .on(Plane::Admin)
            .answers::<Session>(&[200])
            .also(&[404]),
    ]
}
