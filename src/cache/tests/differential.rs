//! The differential test: random commands run on every cache and on the naive model, and the answers must agree.

use bytes::Bytes;

use super::model::Model;
use super::{Random, Subject, embedded, redis};
use crate::cache::{CacheError, Command, Expiry, Key, Reply, SetOptions, When};

/// Time passes on a Redis server while the clock of the model stands still, so the server's time to live may be this
/// much shorter than the model's.
const REAL_TIME_SLACK_MS: i64 = 1_800_000;
const LONG_TTL_MS: i64 = 1_000_000_000;

#[expect(clippy::disallowed_methods, reason = "the environment says how long a test runs, and with which server")]
fn steps() -> usize {
    if std::env::var("NOVA_TEST_LONG").is_ok_and(|value| value == "1") { 1_000_000 } else { 50_000 }
}

struct Names {
    namespaces: [String; 3],
    plain: Vec<String>,
    spaced: Vec<String>,
}

impl Names {
    fn new(unique: &str) -> Names {
        Names {
            namespaces: [String::new(), format!("{unique}-a"), format!("{unique}-b")],
            plain: (0..6).map(|number| format!("{unique}:{number}")).collect(),
            spaced: (0..6).map(|number| number.to_string()).collect(),
        }
    }

    fn key(&self, random: &mut Random) -> Key<'_> {
        let at = random.below(6) as usize;
        match random.below(3) as usize {
            0 => Key::plain(&self.plain[at]),
            space => Key::of(&self.namespaces[space], &self.spaced[at]),
        }
    }
}

fn value(random: &mut Random) -> Bytes {
    let odd = ["", "x", "007", "-0", "+1", " 1", "1.5", "9223372036854775807", "-9223372036854775808", "\u{fffd}\0"];
    match random.below(3) {
        0 => random.pick(&odd).into(),
        1 => random.below(20).to_string().into(),
        _ => vec![b'v'; random.below(80) as usize].into(),
    }
}

fn member(random: &mut Random) -> Bytes {
    random.pick(&["a", "b", "c", "d", "", "ä", "aa"]).into()
}

fn some<T>(random: &mut Random, make: impl Fn(&mut Random) -> T) -> Vec<T> {
    (0..random.below(4)).map(|_| make(random)).collect()
}

fn score(random: &mut Random) -> f64 {
    random.pick(&[0.0, -0.0, 1.0, 0.1, -2.5, 1e300, -1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN])
}

fn ttl_ms(random: &mut Random, short: bool) -> i64 {
    match random.below(8) {
        0 => random.pick(&[0, -1, i64::MIN, i64::MAX]),
        _ if short => random.below(300) as i64 + 1,
        _ => LONG_TTL_MS + random.below(1_000) as i64,
    }
}

fn command<'n>(random: &mut Random, names: &'n Names, short: bool) -> Command<'n> {
    let key = names.key(random);
    match random.below(26) {
        0 | 1 => Command::Get(key),
        2 => Command::MGet(some(random, |random| names.key(random))),
        3..=6 => {
            let when = random.pick(&[When::Always, When::Always, When::IfAbsent, When::IfPresent]);
            let ttl_ms = ttl_ms(random, short);
            let expiry =
                random.pick(&[Expiry::Never, Expiry::Keep, Expiry::Millis(ttl_ms), Expiry::Seconds(ttl_ms / 100)]);
            Command::Set(key, value(random), SetOptions { when, expiry, get: random.below(3) == 0 })
        }
        7 => Command::Del(some(random, |random| names.key(random))),
        8 => Command::Exists(some(random, |random| names.key(random))),
        9 => Command::PExpire(key, ttl_ms(random, short)),
        10 => Command::Pttl(key),
        11 => Command::Persist(key),
        12 | 13 => {
            let by = random.pick(&[1, -1, 7, i64::MAX, i64::MIN]);
            Command::IncrBy(key, by)
        }
        14 => Command::HSet(key, some(random, |random| (member(random), value(random)))),
        15 => Command::HGet(key, member(random)),
        16 => Command::HDel(key, some(random, member)),
        17 => Command::HGetAll(key),
        18 => Command::SAdd(key, some(random, member)),
        19 => Command::SRem(key, some(random, member)),
        20 if random.below(2) == 0 => Command::SMembers(key),
        20 => Command::SIsMember(key, member(random)),
        21 => Command::ZAdd(key, some(random, |random| (score(random), member(random)))),
        22 => Command::ZIncrBy(key, score(random), member(random)),
        23 => {
            let (start, stop) = (random.below(12) as i64 - 6, random.below(12) as i64 - 6);
            Command::ZRange { key, start, stop, reverse: random.below(2) == 0 }
        }
        24 => Command::ZRem(key, some(random, member)),
        _ if random.below(2) == 0 => Command::ZCard(key),
        _ => Command::ZScore(key, member(random)),
    }
}

fn agree(
    command: &Command<'_>,
    model: &Result<Reply, CacheError>,
    cache: &Result<Reply, CacheError>,
    exact: bool,
) -> bool {
    match (command, model, cache) {
        // A command without fields or members gets its answer before the cache looks at the key.
        (Command::HSet(_, fields), ..) if fields.is_empty() => *cache == Ok(Reply::Int(0)),
        (Command::ZAdd(_, members), ..) if members.is_empty() => *cache == Ok(Reply::Int(0)),
        (Command::HDel(_, names) | Command::SAdd(_, names) | Command::SRem(_, names) | Command::ZRem(_, names), ..)
            if names.is_empty() =>
        {
            *cache == Ok(Reply::Int(0))
        }
        (Command::Pttl(_), Ok(Reply::Int(model)), Ok(Reply::Int(left))) if !exact && *model > 0 => {
            (model - REAL_TIME_SLACK_MS..=*model + REAL_TIME_SLACK_MS).contains(left)
        }
        _ => model == cache,
    }
}

fn run(subject: &Subject, seed: u64, steps: usize) {
    let (mut random, names) = (Random(seed), Names::new(&subject.unique));
    let mut model = Model::new(super::NOW_MS);
    let mut done = 0;
    while done < steps {
        if let (Some(clock), 0) = (&subject.clock, random.below(4)) {
            model.now_ms += random.below(60) as i64;
            clock.set(model.now_ms);
        }
        let batch: Vec<Command<'_>> =
            (0..=random.below(40)).map(|_| command(&mut random, &names, subject.clock.is_some())).collect();
        for (command, reply) in batch.iter().zip(subject.cache.run(&batch)) {
            let expected = model.answer(command);
            assert!(
                agree(command, &expected, &reply, subject.clock.is_some()),
                "seed {seed}, after {done}: {command:?}\nmodel: {expected:?}\ncache: {reply:?}"
            );
            done += 1;
        }
        let space = &names.namespaces[random.below(3) as usize];
        if random.below(20) == 0 {
            let pattern = if space.is_empty() { format!("{}:*", subject.unique) } else { "*".to_owned() };
            let mut found = super::scan_all(&*subject.cache, space, &pattern);
            found.sort();
            found.dedup();
            assert_eq!(found, model.names(space), "seed {seed}, after {done}");
        }
        if random.below(50) == 0 && !space.is_empty() {
            let other = subject.other.as_ref().filter(|_| random.below(2) == 0);
            other.unwrap_or(&subject.cache).invalidate(space).unwrap();
            model.invalidate(space);
        }
    }
}

#[test]
fn random_commands_agree_with_the_naive_model() {
    run(&embedded(), 1, steps());
}

#[test]
fn random_commands_agree_with_redis() {
    if let Some(subject) = redis() {
        run(&subject, 2, steps());
    }
}
