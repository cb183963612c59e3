//! Tests of the Redis port over a socket.

mod beside_redis;
mod client;
mod foreign;

use std::io::Write as _;
use std::sync::Arc;

use nova::app::{PortSetup, Setup};
use nova::clock::Clock;
use nova::decode::{NoSchemas, Topics};
use nova::event::{Effect, Facts, Id};
use serde_json::{Value, json};

use self::client::{Redis, Told, encoded};
use super::api::client::{Live, NOW_MS};

fn fresh() -> Id {
    Id(uuid::Uuid::new_v4().into_bytes())
}

fn live_with(change: impl FnOnce(&mut Setup)) -> Live {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas));
    setup.clock = Clock::manual(NOW_MS);
    setup.edge.limits.enabled = false;
    setup.port = Some(PortSetup { listen: "127.0.0.1:0".parse().unwrap(), cache_bytes: 16 << 20 });
    change(&mut setup);
    Live::of(dir, &setup)
}

fn live() -> Live {
    live_with(|_| {})
}

fn token(live: &Live, user: Id, role: Option<&str>) -> String {
    live.auth.mint(user, role, NOW_MS, 60).unwrap()
}

fn connect(live: &Live) -> Redis {
    Redis::connect(live.redis.unwrap())
}

fn as_role(live: &Live, user: Id, role: Option<&str>) -> Redis {
    let mut redis = connect(live);
    assert_eq!(redis.ask(&format!("AUTH {}", token(live, user, role))), Told::Simple("OK".to_owned()));
    redis
}

fn apply(live: &Live, key: Id, old: Option<Facts>, new: Option<Facts>) {
    live.state.write().apply(&Effect::Row { key, old, new });
}

/// The ids of a world in which `user` follows `friend`, who has written a post and who follows `other`.
struct World {
    user: Id,
    friend: Id,
    other: Id,
    post: Id,
    follow: Id,
}

const FOLLOWED_US: i64 = 1;

impl World {
    fn of(live: &Live) -> World {
        let world = World { user: fresh(), friend: fresh(), other: fresh(), post: fresh(), follow: fresh() };
        for person in [world.user, world.friend, world.other] {
            let row = Facts::User { username: person.to_string().into(), active: true, created_at_us: 0 };
            apply(live, person, None, Some(row));
        }
        apply(live, world.follow, None, Some(world.followed()));
        let other = Facts::Follow { follower: world.friend, followee: world.other, created_at_us: FOLLOWED_US };
        apply(live, fresh(), None, Some(other));
        apply(live, world.post, None, Some(world.posted()));
        world
    }

    fn followed(&self) -> Facts {
        Facts::Follow { follower: self.user, followee: self.friend, created_at_us: FOLLOWED_US }
    }

    fn posted(&self) -> Facts {
        Facts::Post { author: self.friend, created_at_us: (NOW_MS - 60_000) * 1_000, published: true }
    }

    fn feed(&self) -> String {
        format!("feed:v1:{}", self.user)
    }

    fn suggestions(&self) -> String {
        format!("nova:cache:suggested_users:{}", self.user)
    }
}

fn parsed(told: &Told) -> Value {
    serde_json::from_str(&told.text()).unwrap()
}

fn error(told: Told, begins: &str) {
    let Told::Error(text) = told else { panic!("{told:?} is no error") };
    assert!(text.starts_with(begins), "{text}");
}

#[test]
fn keys_of_novas_own_hold_what_http_answers() {
    let live = live();
    let world = World::of(&live);
    let mut redis = as_role(&live, fresh(), Some("service"));
    let (mut client, headers) = (live.client(), live.headers(world.user));
    let page = client.get("/api/v1/feed?limit=100", &headers).json();
    let feed = parsed(&redis.ask(&format!("GET {}", world.feed())));
    for member in ["posts", "cursor", "has_more", "total_count", "algorithm", "snapshot", "as_of", "degraded"] {
        assert_eq!(feed[member], page[member], "{member}");
    }
    assert_eq!(feed["posts"], json!([world.post.to_string()]));
    let list = client.get("/api/v1/discover/suggested-users?limit=100", &headers).json();
    let suggested = parsed(&redis.ask(&format!("GET {}", world.suggestions())));
    assert_eq!(suggested["users"], list["users"]);
    assert_eq!(suggested["users"][0]["user_id"], world.other.to_string());
    let trending = client.get("/api/v1/feed/trending?window=6h&limit=200", "").body;
    assert_eq!(redis.ask("GET nova:cache:trending:6h"), Told::Bulk(trending));

    let nobody = format!("feed:v1:{}", fresh());
    let keys = format!("{} {nobody} nova:cache:trending:1h x feed:v1:me", world.feed());
    let several = redis.ask(&format!("MGET {keys}")).list();
    assert_eq!(parsed(&several[0])["posts"], feed["posts"]);
    assert_eq!(several[1..].iter().map(|told| *told == Told::Null).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(redis.ask(&format!("EXISTS {keys}")), Told::Int(2));
    for (key, kind, ttl) in [(world.feed(), "string", 60), (nobody, "none", -2)] {
        assert_eq!(redis.ask(&format!("TYPE {key}")), Told::Simple(kind.to_owned()));
        assert_eq!(redis.ask(&format!("TTL {key}")), Told::Int(ttl));
        assert_eq!(redis.ask(&format!("PTTL {key}")), Told::Int(if ttl > 0 { ttl * 1_000 } else { ttl }));
    }
    let length = redis.ask(&format!("GET {}", world.feed())).text().len();
    assert_eq!(redis.ask(&format!("STRLEN {}", world.feed())), Told::Int(length as i64));
    for write in ["SET K v", "DEL K", "EXPIRE K 1", "APPEND K v", "MSET a b K v", "HSET K f v", "GETDEL K"] {
        error(redis.ask(&write.replace('K', &world.feed())), "ERR 'feed:v1:");
    }
    error(redis.ask(&format!("HGETALL {}", world.feed())), "WRONGTYPE");
}

#[test]
fn a_scan_finds_keys_of_novas_own_and_of_the_cache() {
    let live = live();
    let worlds: Vec<_> = (0..20).map(|_| World::of(&live)).collect();
    let mut redis = as_role(&live, fresh(), Some("service"));
    for number in 0..50 {
        redis.ask(&format!("SET k{number} v"));
    }
    redis.ask("SADD set a");
    let mut scan = |more: &str| {
        let (mut all, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let mut page = redis.ask(&format!("SCAN {cursor}{more}")).list();
            all.extend(page.pop().unwrap().list().iter().map(Told::text));
            cursor = page.pop().unwrap().text();
            if cursor == "0" {
                all.sort();
                return all;
            }
        }
    };
    let all = scan("");
    assert_eq!(all.len(), 4 + 51 + 2 * 3 * worlds.len());
    assert_eq!(scan(" COUNT 1000"), all);
    assert!(worlds.iter().all(|world| all.contains(&world.feed()) && all.contains(&world.suggestions())));
    assert_eq!(scan(" MATCH feed:v1:* COUNT 7").len(), 3 * worlds.len());
    assert_eq!(scan(" TYPE set"), ["set"]);
    assert_eq!(scan(" MATCH nova:cache:trending:?h"), ["nova:cache:trending:1h", "nova:cache:trending:6h"]);
    assert_eq!(redis.ask("DBSIZE"), Told::Int(all.len() as i64));
    assert_eq!(redis.ask("KEYS *").list().len(), all.len());
    // A user sees the user's own keys, and the keys that are for everybody.
    let mut own = as_role(&live, worlds[0].user, None);
    let mut found: Vec<_> = own.ask("SCAN 0").list().pop().unwrap().list().iter().map(Told::text).collect();
    found.sort();
    assert_eq!(found.len(), 6);
    assert_eq!((&found[0], &found[1]), (&worlds[0].feed(), &worlds[0].suggestions()));
}

#[test]
fn n11_after_an_unfollow_or_a_delete_no_read_shows_what_it_took_away() {
    let live = live();
    let world = World::of(&live);
    let mut redis = as_role(&live, fresh(), Some("service"));
    let mut read = |key: String, member: &str| parsed(&redis.ask(&format!("GET {key}")))[member].clone();
    assert_eq!(read(world.feed(), "posts"), json!([world.post.to_string()]));
    apply(&live, world.follow, Some(world.followed()), None);
    assert_eq!(read(world.feed(), "posts"), json!([]));
    assert_eq!(read(world.suggestions(), "users"), json!([]));
    apply(&live, world.follow, None, Some(world.followed()));
    assert_eq!(read(world.feed(), "posts"), json!([world.post.to_string()]));
    apply(&live, world.post, Some(world.posted()), None);
    assert_eq!(read(world.feed(), "posts"), json!([]));
}

#[test]
fn a_user_reads_what_is_theirs_and_the_cache_is_for_services() {
    let live = live();
    let world = World::of(&live);
    let mut redis = as_role(&live, world.user, None);
    assert!(matches!(redis.ask(&format!("GET {}", world.feed())), Told::Bulk(_)));
    assert!(matches!(redis.ask("GET nova:cache:trending:24h"), Told::Bulk(_)));
    for command in [
        format!("GET feed:v1:{}", world.friend),
        format!("MGET {} feed:v1:{}", world.feed(), world.friend),
        format!("TTL nova:cache:suggested_users:{}", world.friend),
        "GET x".to_owned(),
        "SET x 1".to_owned(),
        "FLUSHALL".to_owned(),
        "DBSIZE".to_owned(),
    ] {
        error(redis.ask(&command), "NOPERM ");
    }
    assert_eq!(redis.ask("PING"), Told::Simple("PONG".to_owned()));
    let mut service = as_role(&live, fresh(), Some("service"));
    assert_eq!(service.ask("SET x 1"), Told::Simple("OK".to_owned()));
    assert!(matches!(service.ask(&format!("GET feed:v1:{}", world.friend)), Told::Bulk(_)));
}

#[test]
fn an_admins_look_at_anothers_key_is_in_the_audit() {
    let live = live();
    let world = World::of(&live);
    let admin = fresh();
    let mut redis = as_role(&live, admin, Some("admin"));
    assert!(matches!(redis.ask(&format!("GET {}", world.feed())), Told::Bulk(_)));
    assert_eq!(redis.ask(&format!("MGET {} feed:v1:{}", world.feed(), world.friend)).list().len(), 2);
    let audit = live.client().get("/api/v1/admin/audit", &live.headers_of(admin, Some("admin"))).json().to_string();
    let looks = |user: Id| audit.matches(&format!("\"subject\":\"{user}\"")).count();
    assert_eq!((looks(world.user), looks(world.friend)), (2, 1), "{audit}");
    assert!(audit.contains("redis-read") && audit.contains(&admin.to_string()), "{audit}");
}

#[test]
fn n11_a_token_that_was_revoked_opens_nothing_on_a_connection_that_is_open() {
    let live = live();
    let (service, admin) = (fresh(), fresh());
    let mut redis = as_role(&live, service, Some("service"));
    assert_eq!(redis.ask("SET x 1"), Told::Simple("OK".to_owned()));
    let body = json!({ "user_id": service.to_string() }).to_string();
    let answer =
        live.client().ask("POST", "/api/v1/admin/revocations", &live.headers_of(admin, Some("admin")), body.as_bytes());
    assert!(answer.status < 300, "{answer:?}");
    error(redis.ask("GET x"), "NOAUTH the token has ended or was revoked");
    error(redis.ask(&format!("AUTH {}", token(&live, service, Some("service")))), "WRONGPASS");
}

#[test]
fn nobody_does_anything_before_a_token_is_there() {
    let live = live();
    let mut redis = connect(&live);
    for command in ["PING", "GET x", "SCAN 0", "INFO", "CLIENT ID", "COMMAND COUNT"] {
        error(redis.ask(command), "NOAUTH Authentication required.");
    }
    error(redis.ask("HELLO 3"), "NOAUTH HELLO must be called");
    error(redis.ask("AUTH wrong"), "WRONGPASS");
    error(redis.ask("AUTH default a.b.c"), "WRONGPASS");
    error(redis.ask("nosuch"), "ERR unknown command 'nosuch'");
    let hello = format!("HELLO 3 AUTH default {} SETNAME me", token(&live, fresh(), Some("service")));
    let Told::List('%', told) = redis.ask(&hello) else { panic!("no map") };
    assert!(told.contains(&Told::Bulk(b"proto".to_vec())) && told.contains(&Told::Int(3)));
    assert_eq!(redis.ask("CLIENT GETNAME").text(), "me");
    assert_eq!(redis.ask("RESET"), Told::Simple("RESET".to_owned()));
    error(redis.ask("GET x"), "NOAUTH");
    assert_eq!(redis.ask("QUIT"), Told::Simple("OK".to_owned()));
    assert_eq!(redis.told(), None);
    let mut redis = connect(&live);
    redis.stream.write_all(b"*1\r\n$99999\r\n").unwrap();
    error(redis.told().unwrap(), "ERR Protocol error: unauthenticated bulk length");
    assert_eq!(redis.told(), None);
}

#[test]
fn pages_take_from_the_quota_of_http() {
    let live = live_with(|setup| {
        setup.edge.limits.enabled = true;
        setup.edge.limits.feed_per_s = 1;
    });
    let world = World::of(&live);
    let mut redis = as_role(&live, world.user, None);
    let key = world.feed();
    let refused = (0..50).map(|_| redis.ask(&format!("GET {key}"))).filter(|told| matches!(told, Told::Error(_)));
    let refused: Vec<_> = refused.collect();
    assert!(refused.len() > 40 && refused[0].text().starts_with("ERR quota exceeded: try again in "), "{refused:?}");
    assert_eq!(live.client().get("/api/v1/feed", &live.headers(world.user)).status, 429, "it is one quota");
    assert_eq!(redis.ask(&format!("EXISTS {key}")), Told::Int(1), "that makes no page");
}

#[test]
fn commands_that_come_together_or_in_pieces_are_answered_in_order() {
    let live = live();
    let mut redis = as_role(&live, fresh(), Some("service"));
    let mut all = Vec::new();
    for number in 0..500 {
        all.extend(encoded(&[b"INCR", b"n"]));
        all.extend(format!("PING {number}\r\n").into_bytes());
    }
    let stream = redis.stream.try_clone().unwrap();
    let sends = std::thread::spawn(move || {
        let mut stream = stream;
        all.chunks(77).for_each(|piece| stream.write_all(piece).unwrap());
    });
    for number in 0..500 {
        assert_eq!(redis.told().unwrap(), Told::Int(number + 1));
        assert_eq!(redis.told().unwrap().text(), number.to_string());
    }
    sends.join().unwrap();
    // The test sets a large value, and a value that does not fit into a shard of the cache.
    let large = vec![b'x'; 3 << 20];
    redis.stream.write_all(&encoded(&[b"SET", b"large", &large])).unwrap();
    assert_eq!(redis.told().unwrap(), Told::Simple("OK".to_owned()));
    assert_eq!(redis.ask("GET large"), Told::Bulk(large));
    let larger = vec![b'x'; 5 << 20];
    redis.stream.write_all(&encoded(&[b"SET", b"larger", &larger])).unwrap();
    error(redis.told().unwrap(), "ERR the value is larger");
    redis.stream.write_all(b"*1\r\n:1\r\n").unwrap();
    error(redis.told().unwrap(), "ERR Protocol error: expected '$', got ':'");
    assert_eq!(redis.told(), None);
}

#[test]
fn commands_between_multi_and_exec_are_done_together_or_not_at_all() {
    let live = live();
    let mut redis = as_role(&live, fresh(), Some("service"));
    let queued = Told::Simple("QUEUED".to_owned());
    assert_eq!(redis.ask("MULTI").text(), "OK");
    for command in ["SET n 1", "INCR n", "HGET n f", "GET n"] {
        assert_eq!(redis.ask(command), queued);
    }
    let done = redis.ask("EXEC").list();
    assert_eq!((&done[1], &done[3]), (&Told::Int(2), &Told::Bulk(b"2".to_vec())));
    error(done[2].clone(), "WRONGTYPE");
    redis.ask("MULTI");
    assert_eq!(redis.ask("SET n 9"), queued);
    error(redis.ask("NOSUCH"), "ERR unknown command");
    error(redis.ask("EXEC"), "EXECABORT");
    redis.ask("MULTI");
    assert_eq!(redis.ask("SET n 9"), queued);
    assert_eq!(redis.ask("DISCARD").text(), "OK");
    assert_eq!(redis.ask("GET n"), Told::Bulk(b"2".to_vec()));
    error(redis.ask("EXEC"), "ERR EXEC without MULTI");
    // No client sees a state between the commands of another client's transaction.
    let addr = live.redis.unwrap();
    let token = token(&live, fresh(), Some("service"));
    let writes = std::thread::spawn(move || {
        let mut other = Redis::connect(addr);
        other.ask(&format!("AUTH {token}"));
        for _ in 0..300 {
            for command in ["MULTI", "INCR a", "INCR b", "EXEC"] {
                other.ask(command);
            }
        }
    });
    while !writes.is_finished() {
        redis.ask("MULTI");
        redis.ask("GET a");
        redis.ask("GET b");
        let both = redis.ask("EXEC").list();
        assert_eq!(both[0], both[1]);
    }
    writes.join().unwrap();
}

#[test]
fn metrics_tell_what_clients_do() {
    let live = live();
    let mut redis = as_role(&live, fresh(), Some("service"));
    redis.ask("SET x 1");
    redis.ask("GET x");
    redis.ask("NOSUCH");
    redis.ask("INFO");
    let metrics = String::from_utf8(live.client().get("/metrics", "").body).unwrap();
    for line in [
        "nova_redis_connections 1",
        "nova_redis_commands_total{group=\"strings\"} 2",
        "nova_redis_commands_total{group=\"unknown\"} 1",
        "nova_redis_errors_total 1",
        "nova_cache_entries 1",
        "nova_cache_reads_total{result=\"found\"} 1",
        "nova_mem_bytes{structure=\"cache\"} ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// Tests the port with the Redis client library that nova uses as a client. The library sends commands of its own when
/// it connects, and the port understands them in both protocols.
#[cfg(feature = "redis-cache")]
#[test]
fn redis_rs_connects_reads_writes_and_pipelines_in_both_protocols() {
    let live = live();
    let world = World::of(&live);
    let (address, token) = (live.redis.unwrap(), token(&live, fresh(), Some("service")));
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://anybody:{token}@{address}/0?protocol={protocol}");
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let mut ask = |words: &[&str]| {
            let (name, arguments) = words.split_first().unwrap();
            redis::cmd(name).arg(arguments).query::<redis::Value>(&mut connection)
        };
        assert_eq!(ask(&["SET", "k", "1", "EX", "60"]), Ok(redis::Value::Okay));
        assert_eq!(ask(&["INCRBY", "k", "4"]), Ok(redis::Value::Int(5)));
        assert!(ask(&["EVAL", "return 1", "0"]).unwrap_err().to_string().contains("unknown command"));
        let both: (Vec<(String, f64)>, i64) = redis::pipe()
            .cmd("DEL")
            .arg("z")
            .ignore()
            .cmd("ZADD")
            .arg(&["z", "1.5", "a", "2", "b"])
            .ignore()
            .cmd("ZRANGE")
            .arg(&["z", "0", "-1", "WITHSCORES"])
            .cmd("DEL")
            .arg("k")
            .query(&mut connection)
            .unwrap();
        assert_eq!(both, (vec![("a".to_owned(), 1.5), ("b".to_owned(), 2.0)], 1), "{protocol}");
        let feed: String = redis::cmd("GET").arg(world.feed()).query(&mut connection).unwrap();
        assert!(feed.contains(&world.post.to_string()), "{protocol}: {feed}");
    }
}
