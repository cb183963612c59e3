//! The files and cookies of the console. A user without the role admin can change nothing, and a cookie without the
//! console's header is worthless.

use std::collections::BTreeSet;

use nova::event::Id;
use nova::http::{ConsoleMode, EdgeSettings};
use serde_json::{Value, json};

use crate::api::client::{Client, Live};
use crate::api::{edge, trending};

const OWN: &str = "X-Nova-Console: 1\r\n";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

fn live(console: ConsoleMode) -> Live {
    let mut settings = EdgeSettings { console, ..EdgeSettings::default() };
    settings.limits.enabled = false;
    Live::with(settings)
}

/// Returns the headers that the console sends for a user with the given role.
fn signed_in(live: &Live, role: Option<&str>) -> String {
    let token = live.headers_of(Id::from_u128(7), role);
    let answer = live.client().ask("POST", "/console/session", &format!("{OWN}{token}"), b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let set = answer.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    format!("{OWN}Content-Type: application/json\r\nCookie: other=1; {}\r\n", set.split(';').next().unwrap())
}

#[test]
fn the_page_leads_to_files_that_may_be_kept_for_ever() {
    let live = live(ConsoleMode::Full);
    let mut client = live.client();
    for path in ["/", "/console"] {
        let answer = client.get(path, "");
        assert_eq!((answer.status, answer.header("location")), (302, Some("/console/")));
    }
    let page = client.get("/console/", "");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("content-security-policy"), Some(POLICY));
    let text = String::from_utf8(page.body.clone()).unwrap();
    let files: Vec<_> = text.split('"').filter(|part| part.starts_with("/console/assets/")).collect();
    assert!(files.len() >= 5, "{text}");
    for file in files {
        let plain = client.get(file, "");
        assert_eq!(plain.status, 200, "{file}");
        assert!(plain.header("cache-control").unwrap().contains("immutable"));
        assert_eq!(plain.header("content-security-policy"), Some(POLICY));
        let gzip = client.get(file, "Accept-Encoding: gzip\r\n");
        assert_eq!(gzip.header("content-encoding").is_some(), plain.body.len() >= 1_024, "{file}");
        let tag = format!("If-None-Match: {}\r\n", plain.header("etag").unwrap());
        assert_eq!(client.get(file, &tag).status, 304);
        assert_eq!(client.get(&file.replace("assets/", "assets/0"), "").status, 404);
    }
    let tag = format!("If-None-Match: {}\r\n", page.header("etag").unwrap());
    assert_eq!(client.get("/console/user/7", &tag).status, 304, "every address is the same page");
    for path in ["/console/nothing", "/console/assets/", "/console/assets/x/app.js", "/console/../app.js"] {
        assert_eq!(client.get(path, "").status, 404, "{path}");
    }
    assert_eq!(client.ask("POST", "/console/", "", b"").status, 405);
}

#[test]
fn the_console_is_with_the_admin_routes_or_nowhere() {
    let mut settings = EdgeSettings { admin_listen: "127.0.0.1:0".parse().ok(), ..EdgeSettings::default() };
    settings.limits.enabled = false;
    let split = Live::with(settings);
    let mut admin = Client::connect(split.admin.unwrap());
    for path in ["/console/", "/console/session", "/api/v1/feed/trending"] {
        assert_eq!(admin.get(path, "").status, 200, "{path}");
    }
    for path in ["/", "/console/", "/console/session", "/api/v1/overview"] {
        assert_eq!(split.client().get(path, "").status, 404, "{path}");
    }
    let off = live(ConsoleMode::Off);
    for path in ["/", "/console/", "/console/session", "/api/v1/overview", "/api/v1/overview/stream"] {
        assert_eq!(off.client().get(path, "").status, 404, "{path}");
    }
}

#[test]
fn a_cookie_counts_with_the_consoles_header_from_its_own_site_only() {
    let live = live(ConsoleMode::Full);
    let headers = signed_in(&live, Some("admin"));
    let path = "/api/v1/admin/revocations";
    assert_eq!(live.client().get(path, &headers).status, 200);
    // The test client sends requests to the host `x`. Over plain HTTP, a browser sends only the `Origin` header.
    for own in ["Origin: http://x", "Origin: http://X:80", "Sec-Fetch-Site: same-origin\r\nOrigin: https://a"] {
        assert_eq!(live.client().get(path, &format!("{headers}{own}\r\n")).status, 200, "{own}");
    }
    for wrong in [
        headers.replace(OWN, ""),
        format!("{headers}Sec-Fetch-Site: cross-site\r\n"),
        format!("{headers}Sec-Fetch-Site: cross-site\r\nOrigin: http://x\r\n"),
        format!("{headers}Origin: http://evil\r\n"),
        format!("{headers}Origin: http://x:8080\r\n"),
        format!("{headers}Origin: null\r\n"),
    ] {
        assert_eq!(live.client().get(path, &wrong).status, 401, "{wrong}");
        assert_eq!(live.client().get("/console/session", &wrong).json()["signed_in"], false);
    }
    let who = live.client().get("/console/session", &headers).json();
    assert_eq!((&who["signed_in"], &who["admin"], &who["console"]), (&true.into(), &true.into(), &"full".into()));
    let out = live.client().ask("DELETE", "/console/session", &headers, b"");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");
    assert_eq!(live.client().ask("POST", "/console/session", OWN, b"").status, 401, "without a token");
}

/// Returns every operation that changes something, with values for its path parameters.
fn changes(live: &Live) -> BTreeSet<(String, String)> {
    let document = live.client().get("/openapi.json", "").json();
    let mut all = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().keys();
        let of_admins = methods.filter(|method| *method != "get" && path.starts_with("/api/v1/admin/"));
        let id = Id::from_u128(6).to_string();
        let concrete = path.replace("{table}", "posts").replace("{post}", &id).replace("{id}", "3");
        all.extend(of_admins.map(|method| (method.to_uppercase(), concrete.clone())));
    }
    assert!(all.len() >= 12, "{all:?}");
    all
}

#[test]
fn without_the_role_nothing_can_be_changed_and_a_console_that_reads_changes_nothing() {
    let full = live(ConsoleMode::Full);
    let (nobody, user) = (format!("{OWN}Content-Type: application/json\r\n"), signed_in(&full, None));
    for (method, path) in changes(&full) {
        assert_eq!(full.client().ask(&method, &path, &nobody, b"{}").status, 401, "{method} {path}");
        assert_eq!(full.client().ask(&method, &path, &user, b"{}").status, 403, "{method} {path}");
    }
    let read = live(ConsoleMode::Read);
    let admin = signed_in(&read, Some("admin"));
    for (method, path) in changes(&read) {
        let answer = read.client().ask(&method, &path, &admin, b"{}");
        assert_eq!(answer.status, 403, "{method} {path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("http.console"), "{answer:?}");
    }
    assert_eq!(read.client().get("/api/v1/admin/limits", &admin).status, 200);
}

#[test]
fn what_is_looked_up_is_found_by_name_and_id() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    edge::world(&live);
    trending::world(&live);
    trending::until_shown(&mut live.client(), trending::post(29));
    let admin = live.role(Id::from_u128(2), "admin");
    let mut client = live.client();
    let id = trending::post(29).to_string();
    let cards = client.get(&format!("/api/v1/admin/posts?ids={id},{}", Id::from_u128(999)), &admin).json();
    let card = &cards["posts"][0];
    assert_eq!((cards["posts"].as_array().unwrap().len(), card["post_id"].as_str()), (1, Some(&*id)), "{cards}");
    assert!(card["activity"].as_array().unwrap().iter().any(|count| count.as_i64() > Some(0)), "{card}");
    let post = client.get(&format!("/api/v1/admin/posts/{id}"), &admin).json();
    assert!(post["windows"].as_array().unwrap().iter().any(|one| one["rank"].as_u64() == Some(1)), "{post}");
    let author = card["author_id"].as_str().unwrap().to_owned();
    let user = client.get(&format!("/api/v1/admin/users/{author}"), &admin).json();
    assert_eq!(user["user_id"].as_str(), Some(&*author), "{user}");
    let by_id = client.get(&format!("/api/v1/admin/search?q={id}"), &admin).json();
    assert_eq!(by_id["posts"][0]["post_id"].as_str(), Some(&*id), "{by_id}");
    if let Some(name) = user["username"].as_str() {
        let found = client.get(&format!("/api/v1/admin/search?q={}", &name[1..].to_uppercase()), &admin).json();
        let users = found["users"].as_array().unwrap();
        assert!(users.iter().any(|one| one["user_id"].as_str() == Some(&*author)), "{name}: {found}");
    }
    for path in ["posts?ids=", "posts?ids=x", "search?q=", "search", "posts/x"] {
        assert_eq!(client.get(&format!("/api/v1/admin/{path}"), &admin).status, 400, "{path}");
    }
    assert_eq!(client.get(&format!("/api/v1/admin/posts/{}", Id::from_u128(999)), &admin).status, 404);
}

/// Reads the name and the data of the next event from a stream of events.
fn event(client: &mut Client) -> (String, Value) {
    use std::io::Read as _;
    let mut text = Vec::new();
    let mut byte = [0];
    // Between two events the stream has pings, and the sizes of chunks.
    while !text.ends_with(b"\n\n") || !text.windows(6).any(|part| part == b"event:") {
        client.0.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let text = String::from_utf8(text).unwrap();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    (field("event: "), serde_json::from_str(&field("data: ")).unwrap())
}

#[test]
fn the_stream_begins_with_everything_and_goes_on_with_what_differs() {
    let live = live(ConsoleMode::Full);
    let mut client = live.client();
    let answer = client.get("/api/v1/overview/stream", "");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!((answer.header("x-accel-buffering"), answer.header("cache-control")), (Some("no"), Some("no-store")));
    let (name, whole) = event(&mut client);
    assert_eq!((&*name, &whole["status"]), ("snapshot", &"ready".into()));
    assert!(whole["stages"].as_array().unwrap().len() == 6 && whole["gauges"].is_object(), "{whole}");
    // The request raises a counter, so the next frame of the stream has a new number.
    live.client().get("/api/v1/feed/trending", "");
    let (name, patch) = event(&mut client);
    assert!(name == "patch" && patch.get("version").is_none(), "{name} {patch}");
    let history = live.client().get("/api/v1/overview/history", "").json();
    let points = history["gauges"]["lag_s"].as_array().unwrap();
    assert!(points.len() == 600 && points[599].is_number(), "{history}");
}

#[test]
fn a_watched_record_has_its_version_and_its_bytes_where_they_are_asked_for() {
    let live = live(ConsoleMode::Full);
    let admin = live.role(Id::from_u128(2), "admin");
    let (user, post) = (Id::from_u128(0xa1).to_string(), Id::from_u128(0xb1).to_string());
    let (mut whole, mut bare, mut of_post) = (live.client(), live.client(), live.client());
    assert_eq!(whole.get("/api/v1/admin/tap?raw=2", &admin).status, 400);
    for (client, query) in [
        (&mut whole, format!("raw=1&topic=users&user_id={user}")),
        (&mut bare, "topic=users".to_owned()),
        (&mut of_post, format!("raw=1&post_id={post}")),
    ] {
        assert_eq!(client.get(&format!("/api/v1/admin/tap?{query}"), &admin).status, 200, "{query}");
    }
    const NAME: &str = "<b>ada</b> \u{202e}\u{1}";
    let caption = "long ".repeat(40_000);
    let rows = json!({ "users": [{ "id": user, "username": NAME }],
        "posts": [{ "id": post, "user_id": user, "caption": caption }] });
    let answer = live.client().ask("POST", "/api/v1/rows", &admin, rows.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let (name, record) = event(&mut whole);
    assert_eq!((&*name, &record["key"], &record["outcome"]), ("record", &json!(user), &json!("applied")));
    let value = &record["raw"]["value"];
    let sent: Value = serde_json::from_str(value["text"].as_str().unwrap()).unwrap();
    assert_eq!((&sent["username"], &value["cut"], &value["base64"]), (&json!(NAME), &json!(false), &Value::Null));
    assert!(record["raw"]["key"]["text"].as_str().unwrap().contains(&user), "{record}");
    let (_, untold) = event(&mut bare);
    assert_eq!((&untold["raw"], &untold["version"]), (&Value::Null, &record["version"]));
    assert_eq!(
        (&record["version"]["epoch"], &record["version"]["lsn"], &record["version"]["offset"]),
        (&json!(0), &Value::Null, &record["offset"])
    );
    let (_, long) = event(&mut of_post);
    let value = &long["raw"]["value"];
    assert_eq!((&long["table"], &value["cut"]), (&json!("posts"), &json!(true)));
    assert!(value["bytes"].as_u64() > Some(200_000), "{}", value["bytes"]);
    assert!(value["text"].as_str().unwrap().len() <= 16 << 10);
    let audit = live.client().get("/api/v1/admin/audit?newest=1&limit=10", &admin).json();
    let looks = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "tap-raw");
    assert_eq!(looks.count(), 2, "{audit}");
}

#[test]
fn a_dry_run_says_what_would_become_of_each_letter_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let data = super::world::stored(dir.path(), "canary-7f3a");
    let node = crate::support::program::Serving::start(&data, &[("NOVA_LIMITS_ENABLED", "false")]);
    let admin = crate::api::client::bearer(&super::world::admin(&data));
    let mut client = Client::connect(node.addr);
    let letters = client.get("/api/v1/admin/dlq", &admin).json();
    let ids: Vec<_> = letters["letters"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert!(ids.len() >= 3, "{letters}");
    let asked = json!({ "ids": ids, "dry_run": true }).to_string();
    let told = client.ask("POST", "/api/v1/admin/dlq/replay", &admin, asked.as_bytes()).json();
    let results = told["results"].as_array().unwrap();
    assert_eq!(results.len(), ids.len());
    let outcomes: Vec<_> = results.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["duplicate", "duplicate", "kept", "kept", "kept"], "{told}");
    assert!(results.iter().all(|one| !one["detail"].as_str().unwrap().is_empty()), "{told}");
    assert!(!told.to_string().contains("canary"), "{told}");
    let after = client.get("/api/v1/admin/dlq", &admin).json();
    assert_eq!(after, letters, "not even the attempts are counted");
    node.end();
}

#[test]
fn the_overview_names_the_generation_of_each_trending_list() {
    let live = live(ConsoleMode::Full);
    let mut client = live.client();
    let generations = super::browser::until("a first frame", || {
        let overview = client.get("/api/v1/overview", "");
        (overview.status == 200).then(|| overview.json()["trending"].clone())
    });
    let list = client.get("/api/v1/feed/trending?window=24h", "").json();
    assert_eq!(generations["24h"], list["generation"], "{generations}");
}

#[test]
fn nothing_private_is_in_what_the_console_is_told() {
    const CANARY: &str = "canary-7f3a";
    let dir = tempfile::tempdir().unwrap();
    let data = super::world::stored(dir.path(), CANARY);
    let node = crate::support::program::Serving::start(&data, &[("NOVA_LIMITS_ENABLED", "false")]);
    let admin = super::world::admin(&data);
    let mut client = Client::connect(node.addr);
    let document = client.get("/openapi.json", "").json();
    let (user, post) = (super::world::user(1).to_string(), super::world::post(1).to_string());
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_none() || path.ends_with("/tap") || path.ends_with("/stream") {
            continue;
        }
        let path = path.replace("{user_id}", &user).replace("{post}", &post).replace("{table}", "users");
        for id in ["0", "1", "2"] {
            let query = format!("?user_id={user}&post_id={post}&ids={post}&q={user}");
            let path = format!("{}{}", path.replace("{id}", id), if path.contains("lists") { "" } else { &query });
            let answer = client.get(&path, &format!("Authorization: Bearer {admin}\r\n"));
            let text = String::from_utf8_lossy(&answer.body);
            assert!(!text.contains(CANARY), "{path}: {text}");
            seen += usize::from(answer.status == 200);
        }
    }
    assert!(seen > 40, "{seen} answers");
}
