//! The test sends random commands to nova's Redis port and to a real Redis, which `NOVA_TEST_REDIS` names, and compares
//! the answers. `.ci/redis_port.py` sends more random commands through redis-py.

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};

use super::client::{Redis, Told, encoded};
use super::{as_role, fresh, live};

const COMMANDS: usize = 5_000;
const BATCH_MAX: u64 = 40;

/// The kinds of arguments of each Redis command: `K` is a key, `V` a value, `M` a member, `N` a whole number, `S` a
/// score, `R` a bound.
const COMMANDS_OF: [&str; 56] = [
    "GET K",
    "SET K V",
    "SET K V NX",
    "SET K V XX GET",
    "SET K V EX 1000",
    "SETNX K V",
    "GETSET K V",
    "GETDEL K",
    "GETEX K PERSIST",
    "MGET K K K",
    "MSET K V K V",
    "APPEND K V",
    "STRLEN K",
    "GETRANGE K N N",
    "INCR K",
    "DECRBY K N",
    "DEL K K",
    "EXISTS K K K",
    "TYPE K",
    "PERSIST K",
    "EXPIRE K N",
    "EXPIRE K 500 NX",
    "PEXPIRE K 900000 GT",
    "TTL K",
    "HSET K M V M V",
    "HGET K M",
    "HMGET K M M",
    "HGETALL K",
    "HLEN K",
    "HEXISTS K M",
    "HDEL K M M",
    "HINCRBY K M N",
    "HSETNX K M V",
    "SADD K M M",
    "SREM K M",
    "SMEMBERS K",
    "SISMEMBER K M",
    "SMISMEMBER K M M",
    "SCARD K",
    "ZADD K S M S M",
    "ZADD K CH S M",
    "ZADD K XX GT S M",
    "ZINCRBY K S M",
    "ZSCORE K M",
    "ZMSCORE K M M",
    "ZCARD K",
    "ZCOUNT K R R",
    "ZRANGE K N N WITHSCORES",
    "ZREVRANGE K N N",
    "ZRANGEBYSCORE K R R LIMIT 0 2",
    "ZRANGE K R R BYSCORE REV",
    "ZRANK K M",
    "ZPOPMAX K 2",
    "ZREMRANGEBYSCORE K R R",
    "ZREMRANGEBYRANK K N N",
    "NOSUCH M",
];
const VALUES: [&[u8]; 8] = [b"", b"x", b"007", b"12", b"-3", b"1.5", b"9223372036854775807", b"\xff\r\n\0"];
const MEMBERS: [&[u8]; 6] = [b"a", b"b", b"c", b"", b"aa", b"\xff"];
const NUMBERS: [&[u8]; 8] = [b"0", b"1", b"-1", b"-2", b"5", b"x", b"-9", b"9223372036854775807"];
const SCORES: [&[u8]; 9] = [b"0", b"1", b"2", b"-2.5", b"0.1", b"inf", b"-inf", b"nan", b"1e300"];
const BOUNDS: [&[u8]; 7] = [b"-inf", b"+inf", b"(1", b"0", b"2", b"(x", b"(-2.5"];

/// Returns the address of a real Redis, if the environment names one.
fn address() -> Option<SocketAddr> {
    let Some(url) = crate::support::environment("NOVA_TEST_REDIS") else {
        eprintln!("skipped: NOVA_TEST_REDIS is not set");
        return None;
    };
    let host = url.trim_start_matches("redis://").split('/').next().unwrap();
    host.to_socket_addrs().unwrap().next()
}

fn command(random: &mut fastrand::Rng, keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut pick = |from: &[&[u8]]| from[random.usize(..from.len())].to_vec();
    let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let shape = String::from_utf8(pick(&COMMANDS_OF.map(str::as_bytes))).unwrap();
    let argument = |word: &str| match word {
        "K" => pick(&names),
        "V" => pick(&VALUES),
        "M" => pick(&MEMBERS),
        "N" => pick(&NUMBERS),
        "S" => pick(&SCORES),
        "R" => pick(&BOUNDS),
        word => word.as_bytes().to_vec(),
    };
    shape.split(' ').map(argument).collect()
}

/// Returns an answer in a form that can be compared. Members without a defined order are sorted. Scores are compared by
/// value, because Redis 7.0 writes scores with more digits than necessary.
fn plain(sent: &[Vec<u8>], told: Told) -> Told {
    let scores = sent[0].starts_with(b"Z");
    let (members, pairs) = (sent[0] == b"SMEMBERS", sent[0] == b"HGETALL");
    match told {
        Told::List(kind, mut list) if members || pairs => {
            let each = if pairs { 2 } else { 1 };
            let mut groups: Vec<_> = list.chunks_mut(each).map(|group| group.to_vec()).collect();
            groups.sort_by_key(|group| format!("{group:?}"));
            Told::List(kind, groups.concat())
        }
        Told::List(kind, list) => Told::List(kind, list.into_iter().map(|part| plain(sent, part)).collect()),
        Told::Bulk(text) if scores => match std::str::from_utf8(&text).ok().and_then(|text| text.parse::<f64>().ok()) {
            Some(score) => Told::Double(score),
            None => Told::Bulk(text),
        },
        other => other,
    }
}

#[test]
fn random_commands_are_answered_as_by_redis() {
    let Some(address) = address() else { return };
    let live = live();
    let (mut nova, mut redis) = (as_role(&live, fresh(), Some("service")), Redis::connect(address));
    let prefix = format!("nova-test-{}:", uuid::Uuid::new_v4().simple());
    let keys: Vec<Vec<u8>> =
        [&b"a"[..], b"b", b"c", b"d", b"\xff\0"].iter().map(|name| [prefix.as_bytes(), name].concat()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut sent = 0;
    while sent < COMMANDS {
        let batch: Vec<_> = (0..=random.u64(..BATCH_MAX)).map(|_| command(&mut random, &keys)).collect();
        let bytes: Vec<u8> =
            batch.iter().flat_map(|args| encoded(&args.iter().map(Vec::as_slice).collect::<Vec<_>>())).collect();
        for client in [&mut nova, &mut redis] {
            client.stream.write_all(&bytes).unwrap();
        }
        for args in &batch {
            let (ours, theirs) = (nova.told().unwrap(), redis.told().unwrap());
            let shown: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
            assert_eq!(plain(args, ours), plain(args, theirs), "after {sent}: {shown:?}");
            sent += 1;
        }
    }
    let all: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
    redis.stream.write_all(&encoded(&all)).unwrap();
    redis.told().unwrap();
}
