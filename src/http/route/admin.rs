//! The routes for people with the role admin.

use http::Method;

use crate::http::shapes::{
    AuditPage, BackedUp, Comparison, ConfigShown, DeadGroups, DeadLetters, Done, EpochRaised, FeedPage, Forgotten,
    Found, LimitsState, NodeStatus, PostCards, PostDetails, PostExplained, ReadAgain, Replays, Revocation,
    RevocationPage, Sought, SourceState, StoreChecked, Suggestions, TappedRecord, TrendingOverride, TrendingOverrides,
    TrendingPage, UserCard,
};
use crate::http::{admin, overrides, status, tap};
use crate::pipeline::dead::Whole;

use super::operation::{Content, Handler, Kind, Operation as O, Parameter, Tag, form, parameter};
use super::parameters::{ALGORITHM, WINDOW};

/// The parameter `limit` of a listing.
const LIMIT: Parameter =
    parameter("limit", Kind::Integer { min: 1, max: 1_000 }, "How many; 100 where it is left out.");
const AFTER: Parameter = parameter("after", Kind::Integer { min: 0, max: u64::MAX }, "Only later ids.");
const TABLE: Kind = Kind::OneOf(&["users", "posts", "follows", "comments", "likes"]);

pub(super) fn operations() -> Vec<O> {
    let mut all = revocations();
    all.extend(dead_letters());
    all.extend(source());
    all.extend(users());
    all.extend(store());
    all.extend(lists());
    all.extend(overrides());
    all.extend(found());
    all
}

/// The operations for the searches of the console.
fn found() -> Vec<O> {
    let search = Handler::Admin(|call| Box::pin(admin::search(call.edge(), call)));
    let user = Handler::Admin(|call| Box::pin(admin::user_card(&call.edge().serving, call)));
    let cards = Handler::Admin(|call| Box::pin(admin::post_cards(call.edge(), call)));
    let post = Handler::Admin(|call| Box::pin(admin::post_details(call.edge(), call)));
    let config = Handler::Admin(|call| Box::pin(async move { admin::config(&call.edge().control) }));
    let get = |path| (Method::GET, path);
    vec![
        O::new("search", get("/api/v1/admin/search"), Tag::Node, "Users by name or id, posts by id", search)
            .query([parameter("q", Kind::Text { min: 1, max: 64 }, "A part of a name, or an id; needed.")])
            .answers::<Found>(&[200]),
        O::new("getUser", get("/api/v1/admin/users/{user_id}"), Tag::Feed, "A user, as nova knows them", user)
            .answers::<UserCard>(&[200])
            .also(&[404]),
        O::new("listPosts", get("/api/v1/admin/posts"), Tag::Feed, "Posts with what people see of them", cards)
            .query([parameter("ids", Kind::Text { min: 36, max: 4_000 }, "Up to 100 ids, commas between; needed.")])
            .answers::<PostCards>(&[200]),
        O::new("getPost", get("/api/v1/admin/posts/{post}"), Tag::Feed, "What a post counted, and where it is", post)
            .answers::<PostDetails>(&[200])
            .also(&[404]),
        O::new("getConfig", get("/api/v1/admin/config"), Tag::Node, "What is configured, secrets left out", config)
            .answers::<ConfigShown>(&[200]),
    ]
}

fn revocations() -> Vec<O> {
    const PATH: &str = "/api/v1/admin/revocations";
    const NAME: Kind = Kind::Text { min: 1, max: 256 };
    let list = Handler::Admin(|call| Box::pin(async move { admin::list(&call.edge().control, call.call.query) }));
    let revoke = Handler::Admin(|call| Box::pin(admin::revoke(&call.edge().control, call)));
    let unrevoke = Handler::Admin(|call| Box::pin(admin::unrevoke(&call.edge().control, call)));
    vec![
        O::new("listRevocations", (Method::GET, PATH), Tag::Tokens, "Rules that end tokens early", list)
            .query([
                LIMIT,
                parameter("offset", Kind::Integer { min: 0, max: u64::MAX }, "How many are left out before."),
            ])
            .answers::<RevocationPage>(&[200]),
        O::new("revokeTokens", (Method::POST, PATH), Tag::Tokens, "Revokes a token, a user's tokens, or a key", revoke)
            .needs::<admin::Revoke>()
            .answers::<Revocation>(&[201]),
        O::new("removeRevocation", (Method::DELETE, PATH), Tag::Tokens, "Takes a rule back", unrevoke)
            .query([
                parameter("jti", NAME, "The id of a token."),
                parameter("user_id", Kind::Uuid, "All tokens of a user issued before a time."),
                parameter("key_id", NAME, "All tokens of a key."),
            ])
            .content(&[204], Content::Nothing)
            .also(&[404]),
    ]
}

fn dead_letters() -> Vec<O> {
    let audit = Handler::Admin(|call| Box::pin(admin::audit(&call.edge().control, call)));
    let list = Handler::Admin(|call| Box::pin(admin::dead_letters(&call.edge().control, call)));
    let one = Handler::Admin(|call| Box::pin(admin::dead_letter(&call.edge().control, call)));
    let replay = Handler::Admin(|call| Box::pin(admin::replay(&call.edge().control, call)));
    let discard = Handler::Admin(|call| Box::pin(admin::discard(&call.edge().control, call)));
    let groups = Handler::Admin(|call| Box::pin(admin::dead_groups(&call.edge().control)));
    let grouped = (Method::GET, "/api/v1/admin/dlq/groups");
    let (letter, replays) = ("/api/v1/admin/dlq/{id}", "/api/v1/admin/dlq/replay");
    let discards = "/api/v1/admin/dlq/discard";
    vec![
        O::new("listAudit", (Method::GET, "/api/v1/admin/audit"), Tag::Store, "Who did what, oldest first", audit)
            .query([LIMIT, AFTER, parameter("newest", Kind::Flag, "The last ones, where after is left out.")])
            .answers::<AuditPage>(&[200]),
        O::new(
            "listDeadLetters",
            (Method::GET, "/api/v1/admin/dlq"),
            Tag::DeadLetters,
            "Dead letters, oldest first",
            list,
        )
        .query([LIMIT, AFTER])
        .answers::<DeadLetters>(&[200]),
        O::new("groupDeadLetters", grouped, Tag::DeadLetters, "Dead letters by topic, stage and reason", groups)
            .answers::<DeadGroups>(&[200]),
        O::new("getDeadLetter", (Method::GET, letter), Tag::DeadLetters, "One dead letter with its bytes", one)
            .path_kind(Kind::Integer { min: 0, max: u64::MAX })
            .answers::<Whole>(&[200])
            .also(&[404]),
        O::new("replayDeadLetters", (Method::POST, replays), Tag::DeadLetters, "Applies dead letters again", replay)
            .needs::<admin::Replaying>()
            .answers::<Replays>(&[200])
            .also(&[409]),
        O::new("discardDeadLetter", (Method::POST, discards), Tag::DeadLetters, "Removes one for ever", discard)
            .needs::<admin::Discarding>()
            .answers::<Done>(&[200])
            .also(&[404, 409]),
    ]
}

fn source() -> Vec<O> {
    let state = Handler::Admin(|call| Box::pin(admin::cdc(&call.edge().control, call)));
    let pause = Handler::Admin(|call| Box::pin(admin::pause(&call.edge().control, call)));
    let resume = Handler::Admin(|call| Box::pin(admin::resume(&call.edge().control, call)));
    let epoch = Handler::Admin(|call| Box::pin(admin::bump_epoch(&call.edge().control, call)));
    let seek = Handler::Admin(|call| Box::pin(admin::seek(&call.edge().control, call)));
    let again = Handler::Admin(|call| Box::pin(admin::resnapshot(&call.edge().control, call)));
    let post = |path| (Method::POST, path);
    let (pauses, resumes) = (post("/api/v1/admin/cdc/{table}/pause"), post("/api/v1/admin/cdc/{table}/resume"));
    let (epochs, seeks) = (post("/api/v1/admin/cdc/{table}/epoch"), post("/api/v1/admin/cdc/seek"));
    let snapshots = post("/api/v1/admin/cdc/resnapshot");
    vec![
        O::new("getSourceState", (Method::GET, "/api/v1/admin/cdc"), Tag::Source, "Tables and partitions", state)
            .answers::<SourceState>(&[200]),
        O::new("pauseTable", pauses, Tag::Source, "Halts a table", pause)
            .path_kind(TABLE)
            .answers::<Done>(&[200])
            .also(&[404]),
        O::new("resumeTable", resumes, Tag::Source, "Goes on with a halted table", resume)
            .path_kind(TABLE)
            .reads::<admin::Resuming>()
            .answers::<Done>(&[200])
            .also(&[404, 409]),
        O::new("raiseEpoch", epochs, Tag::Source, "Takes later changes as newer", epoch)
            .path_kind(TABLE)
            .answers::<EpochRaised>(&[200])
            .also(&[404]),
        O::new("seekPartition", seeks, Tag::Source, "Goes on with a partition at another offset", seek)
            .needs::<admin::Seeking>()
            .answers::<Sought>(&[200]),
        O::new("resnapshotTables", snapshots, Tag::Source, "Reads tables again from PostgreSQL itself", again)
            .reads::<admin::Resnapshotting>()
            .answers::<ReadAgain>(&[200])
            .also(&[409]),
    ]
}

fn users() -> Vec<O> {
    let forget = Handler::Admin(|call| Box::pin(admin::invalidate_cache(&call.edge().serving, call)));
    let explain = Handler::Admin(|call| Box::pin(admin::explain(&call.edge().serving, call)));
    let limits = Handler::Admin(|call| Box::pin(async move { Ok(admin::limits(&call.edge().gate.limiter)) }));
    let explain_post = Handler::Admin(|call| Box::pin(admin::explain_post(call.edge(), call)));
    let status = Handler::Admin(|call| Box::pin(status::status(call.edge(), call)));
    let tapped = Handler::AdminStream(|call| Box::pin(tap::open(call.edge(), call)));
    let explained_post = (Method::GET, "/api/v1/admin/explain");
    let caches = (Method::POST, "/api/v1/admin/cache/invalidate");
    let explained = (Method::GET, "/api/v1/admin/users/{user_id}/explain-feed");
    vec![
        O::new("invalidateCache", caches, Tag::Feed, "Forgets what is cached of users", forget)
            .needs::<admin::ForgetUsers>()
            .answers::<Forgotten>(&[200]),
        O::new("explainFeed", explained, Tag::Feed, "A user's feed with reasons", explain)
            .query([
                ALGORITHM,
                parameter("limit", Kind::Integer { min: 1, max: 100 }, "How many; 20 where it is left out."),
            ])
            .answers::<FeedPage>(&[200]),
        O::new("explainPost", explained_post, Tag::Feed, "Why a feed shows a post, or does not", explain_post)
            .query([
                parameter("user_id", Kind::Uuid, "Whose feed; needed."),
                parameter("post_id", Kind::Uuid, "Which post; needed."),
            ])
            .answers::<PostExplained>(&[200]),
        O::new("getStatus", (Method::GET, "/api/v1/admin/status"), Tag::Node, "How the node is, at a glance", status)
            .query([parameter("letters", Kind::Flag, "Count dead letters by reason; 1 where it is left out.")])
            .answers::<NodeStatus>(&[200]),
        O::new("tapRecords", (Method::GET, "/api/v1/admin/tap"), Tag::Node, "Records as they are committed", tapped)
            .query([
                parameter("topic", Kind::Text { min: 1, max: 256 }, "Of this topic, or last part of one."),
                parameter("outcome", Kind::OneOf(&tap::OUTCOMES), "With this outcome."),
                parameter("user_id", Kind::Uuid, "About this user."),
                parameter("post_id", Kind::Uuid, "About this post."),
                parameter("raw", Kind::Flag, "With the records' bytes, private values masked."),
            ])
            .content(&[200], Content::Events(&[("record", form::<TappedRecord>)]))
            .also(&[429]),
        O::new("getLimits", (Method::GET, "/api/v1/admin/limits"), Tag::Node, "Quotas, decisions, and health", limits)
            .answers::<LimitsState>(&[200]),
    ]
}

fn store() -> Vec<O> {
    const WAIT: Parameter = parameter(
        "wait_s",
        Kind::Integer { min: 0, max: admin::CHECK_WAIT_MAX_S },
        "How long the answer waits for the end of the check; 0 where it is left out.",
    );
    let backup = Handler::Admin(|call| Box::pin(admin::backup(&call.edge().control, call)));
    let verify = Handler::Admin(|call| Box::pin(admin::verify(&call.edge().control, call)));
    let checked = Handler::Admin(|call| Box::pin(admin::checked(&call.edge().control, call)));
    let rows = Handler::AdminStream(|call| Box::pin(admin::rows(call.edge(), call)));
    let hand_over = Handler::AdminStream(|call| Box::pin(admin::hand_over(call.edge(), call)));
    let compare = Handler::AdminStream(|call| Box::pin(admin::compare(call.edge(), call)));
    let backups = (Method::POST, "/api/v1/admin/backup");
    let (handed, compared) = ((Method::POST, "/api/v1/admin/backup/file"), (Method::POST, "/api/v1/admin/compare"));
    let table = (Method::GET, "/api/v1/admin/rows/{table}");
    let path = "/api/v1/admin/store/verify";
    vec![
        O::new("createBackup", backups, Tag::Store, "Copies the store into a file beside it", backup)
            .needs::<admin::BackingUp>()
            .answers::<BackedUp>(&[200])
            .also(&[409]),
        O::new("downloadBackup", handed, Tag::Store, "Copies the store into the answer", hand_over)
            .content(&[200], Content::Text(&[admin::BYTES]))
            .also(&[409]),
        O::new("compareRows", compared, Tag::Store, "Compares stored rows with ClickHouse's", compare)
            .answers::<Comparison>(&[200])
            .also(&[409]),
        O::new("listRows", table, Tag::Store, "The live rows of a table, in the order of their ids", rows)
            .path_kind(TABLE)
            .query([parameter("limit", Kind::Integer { min: 1, max: u64::MAX }, "How many; all where it is left out.")])
            .content(&[200], Content::Text(&[admin::LINES]))
            .also(&[404]),
        O::new("verifyStore", (Method::POST, path), Tag::Store, "Checks every page of the store", verify)
            .query([WAIT])
            .answers::<StoreChecked>(&[200])
            .also(&[409]),
        O::new("getStoreCheck", (Method::GET, path), Tag::Store, "How far the check of the store is", checked)
            .query([WAIT])
            .answers::<StoreChecked>(&[200])
            .also(&[409]),
    ]
}

/// The operations that answer with lists for any time. The operations for users always answer with the lists for the
/// present.
fn lists() -> Vec<O> {
    const NOW: Parameter =
        parameter("now", Kind::Text { min: 1, max: admin::NOW_MAX_BYTES }, "For when, RFC 3339 or epoch milliseconds.");
    const MANY: Parameter =
        parameter("limit", Kind::Integer { min: 1, max: 200 }, "How many; 20 where it is left out.");
    let trending = Handler::Admin(|call| Box::pin(admin::trending_list(&call.edge().serving, call)));
    let feed = Handler::Admin(|call| Box::pin(admin::feed_list(&call.edge().serving, call)));
    let suggestions = Handler::Admin(|call| Box::pin(admin::suggestion_list(&call.edge().serving, call)));
    let get = |path| (Method::GET, path);
    let (trends, feeds) = (get("/api/v1/admin/lists/trending"), get("/api/v1/admin/lists/feed/{user_id}"));
    let suggests = get("/api/v1/admin/lists/suggestions/{user_id}");
    vec![
        O::new("listTrendingAt", trends, Tag::Trending, "Trending posts for any time", trending)
            .query([WINDOW, NOW, MANY])
            .answers::<TrendingPage>(&[200]),
        O::new("listFeedAt", feeds, Tag::Feed, "A user's feed for any time, with reasons", feed)
            .query([NOW, MANY])
            .answers::<FeedPage>(&[200]),
        O::new("listSuggestionsAt", suggests, Tag::Discover, "A user's suggestions for any time", suggestions)
            .query([NOW, MANY])
            .answers::<Suggestions>(&[200]),
    ]
}

fn overrides() -> Vec<O> {
    const ALL: &str = "/api/v1/admin/trending/overrides";
    const ONE: &str = "/api/v1/admin/trending/overrides/{post}";
    let list = Handler::Admin(|call| Box::pin(async move { Ok(overrides::list(&call.edge().serving)) }));
    let put = Handler::Admin(|call| Box::pin(overrides::put(&call.edge().serving, call)));
    let remove = Handler::Admin(|call| Box::pin(overrides::remove(&call.edge().serving, call)));
    vec![
        O::new("listOverrides", (Method::GET, ALL), Tag::Trending, "What operators say about posts", list)
            .answers::<TrendingOverrides>(&[200]),
        O::new("putOverride", (Method::PUT, ONE), Tag::Trending, "Pins or blocks a post", put)
            .needs::<overrides::Overriding>()
            .answers::<TrendingOverride>(&[200]),
        O::new("removeOverride", (Method::DELETE, ONE), Tag::Trending, "Takes an override back", remove)
            .content(&[204], Content::Nothing),
    ]
}
