//! The commands for keys of any type: existence, time to live, and scans.

use crate::cache::{Cache as _, CacheError, Command, ExpireWhen, Key, glob};
use crate::jobs::copies::TTL_MS;
use crate::redis_port::computed::{self, Own, USERS_CURSOR, everybodys};
use crate::redis_port::fault::{Done, Fault, NOT_AN_INTEGER, SYNTAX, shown};
use crate::redis_port::group::Group;
use crate::redis_port::protocol;

use super::row::{Call, Does, Keys, Spec, spec};

/// The maximum number of keys in the answer to `KEYS`.
const KEYS_MAX: usize = 10_000;
/// The number of keys that `SCAN` looks at if it has no COUNT; `SCAN_MAX` is the highest COUNT.
const SCAN_DEFAULT: usize = 10;
const SCAN_MAX: usize = 10_000;

const READ_ONE: (Group, Does, Keys) = (Group::Keys, Does::Read, Keys::First);
const WRITE_ONE: (Group, Does, Keys) = (Group::Keys, Does::Write, Keys::First);

pub(super) const SPECS: &[Spec] = &[
    spec("del", -2, (Group::Keys, Does::Write, Keys::All), delete),
    spec("unlink", -2, (Group::Keys, Does::Write, Keys::All), delete),
    spec("exists", -2, (Group::Keys, Does::Read, Keys::All), exists).own(),
    spec("touch", -2, (Group::Keys, Does::Read, Keys::All), exists).own(),
    spec("type", 2, READ_ONE, kind).own(),
    spec("ttl", 2, READ_ONE, |call| left(call, 1_000)).own(),
    spec("pttl", 2, READ_ONE, |call| left(call, 1)).own(),
    spec("expiretime", 2, READ_ONE, |call| end(call, 1_000)).own(),
    spec("pexpiretime", 2, READ_ONE, |call| end(call, 1)).own(),
    spec("persist", 2, WRITE_ONE, |call| {
        let key = call.key();
        call.answer_int(&Command::Persist(key))
    }),
    spec("expire", -3, WRITE_ONE, |call| expire(call, 1_000, true)),
    spec("pexpire", -3, WRITE_ONE, |call| expire(call, 1, true)),
    spec("expireat", -3, WRITE_ONE, |call| expire(call, 1_000, false)),
    spec("pexpireat", -3, WRITE_ONE, |call| expire(call, 1, false)),
    spec("scan", -2, (Group::Keys, Does::Other, Keys::None), scan),
    spec("keys", 2, (Group::Keys, Does::Other, Keys::None), keys),
];

fn delete(call: &mut Call<'_>) -> Done {
    let keys = call.args.from(1).map(Key::bytes).collect();
    call.answer_int(&Command::Del(keys))
}

fn exists(call: &mut Call<'_>) -> Done {
    let mut count = 0;
    for name in call.args.from(1) {
        count += match Own::of(name) {
            Some(own) => i64::from(own.exists(&call.port.edge.serving)),
            None => call.do_in_cache(&Command::Exists(vec![Key::bytes(name)]))?.int()?,
        };
    }
    call.out.int(count);
    Ok(())
}

fn kind(call: &mut Call<'_>) -> Done {
    let name = match Own::of(call.args.at(1)) {
        Some(own) if own.exists(&call.port.edge.serving) => "string".into(),
        Some(_) => "none".into(),
        None => call.do_in_cache(&Command::Type(call.key()))?.bytes()?.unwrap_or_default(),
    };
    call.out.simple(std::str::from_utf8(&name).unwrap_or_default());
    Ok(())
}

/// Returns the remaining time to live of a key in milliseconds. The remaining time of one of nova's own keys is always
/// the full time to live of a copy, because nova makes the value at each read.
fn left_ms(call: &Call<'_>) -> Result<i64, Fault> {
    match Own::of(call.args.at(1)) {
        Some(own) => Ok(if own.exists(&call.port.edge.serving) { TTL_MS } else { -2 }),
        None => Ok(call.do_in_cache(&Command::Pttl(call.key()))?.int()?),
    }
}

fn left(call: &mut Call<'_>, unit_ms: i64) -> Done {
    let left_ms = left_ms(call)?;
    // The answer to TTL is rounded to the nearest second, as in Redis.
    call.out.int(if left_ms < 0 { left_ms } else { (left_ms + unit_ms / 2) / unit_ms });
    Ok(())
}

fn end(call: &mut Call<'_>, unit_ms: i64) -> Done {
    let left_ms = left_ms(call)?;
    let at_ms = call.port.edge.clock.now_ms().saturating_add(left_ms);
    call.out.int(if left_ms < 0 { left_ms } else { (at_ms + unit_ms / 2) / unit_ms });
    Ok(())
}

/// Runs EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT, with the options NX, XX, GT and LT.
fn expire(call: &mut Call<'_>, unit_ms: i64, from_now: bool) -> Done {
    let mut when = ExpireWhen::default();
    for place in 3..call.args.len() {
        match () {
            () if call.is(place, "NX") => when.only_without = true,
            () if call.is(place, "XX") => when.only_with = true,
            () if call.is(place, "GT") => when.only_later = true,
            () if call.is(place, "LT") => when.only_sooner = true,
            () => {
                return Err(Fault::Text(format!("ERR Unsupported option {}", shown(call.args.at(place)))));
            }
        }
    }
    if when.only_without && (when.only_with || when.only_later || when.only_sooner) {
        return Err(Fault::Told("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if when.only_later && when.only_sooner {
        return Err(Fault::Told("ERR GT and LT options at the same time are not compatible"));
    }
    let time = call.int(2)?;
    let begin_ms = if from_now { call.port.edge.clock.now_ms() } else { 0 };
    let at_ms = time.checked_mul(unit_ms).and_then(|time_ms| begin_ms.checked_add(time_ms));
    let at_ms = at_ms.filter(|at_ms| *at_ms < i64::MAX).ok_or(CacheError::InvalidExpiry)?;
    let key = call.key();
    call.answer_int(&Command::PExpireAt(key, at_ms, when))
}

/// The options that limit a scan: a pattern, a count and a type.
struct Narrowed<'a> {
    pattern: &'a [u8],
    count: usize,
    kind: Option<&'a [u8]>,
}

fn narrowed<'a>(call: &Call<'a>) -> Result<Narrowed<'a>, Fault> {
    let mut narrowed = Narrowed { pattern: b"*", count: SCAN_DEFAULT, kind: None };
    for place in (2..call.args.len()).step_by(2) {
        if place + 1 >= call.args.len() {
            return Err(SYNTAX);
        }
        let value = call.args.at(place + 1);
        match () {
            () if call.is(place, "MATCH") => narrowed.pattern = value,
            () if call.is(place, "TYPE") => narrowed.kind = Some(value),
            () if call.is(place, "COUNT") => {
                let count = protocol::number(value).ok_or(NOT_AN_INTEGER)?;
                narrowed.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(SYNTAX)?.min(SCAN_MAX);
            }
            () => return Err(SYNTAX),
        }
    }
    Ok(narrowed)
}

/// Returns one page of key names: names of windows first, then names of the cache, then names of users.
fn page(call: &Call<'_>, cursor: u64, narrowed: &Narrowed<'_>) -> Result<(u64, Vec<Vec<u8>>), Fault> {
    let Some(subject) = call.client.subject else { return Ok((0, Vec::new())) };
    let serving = &call.port.edge.serving;
    let matches = |name: &[u8]| glob::matches(narrowed.pattern, name);
    let text = narrowed.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(b"string"));
    let mut names = Vec::new();
    let mut add = |own: Vec<String>| {
        let own = own.into_iter().filter(|name| text && matches(name.as_bytes()));
        names.extend(own.map(String::into_bytes));
    };
    if cursor == 0 {
        add(computed::names(serving, &subject, 0, narrowed.count).0);
    }
    if !everybodys(&subject) {
        return Ok((0, names));
    }
    if cursor >= USERS_CURSOR {
        let (own, more) = computed::names(serving, &subject, cursor, narrowed.count);
        add(own);
        return Ok((more.unwrap_or(0), names));
    }
    let found = call.cache().scan("", cursor, narrowed.pattern, narrowed.count)?;
    for name in found.names {
        if let Some(kind) = narrowed.kind {
            let own = call.do_in_cache(&Command::Type(Key::bytes(&name)))?.bytes()?.unwrap_or_default();
            if !own.eq_ignore_ascii_case(kind) {
                continue;
            }
        }
        names.push(name.to_vec());
    }
    Ok((if found.cursor == 0 { USERS_CURSOR } else { found.cursor }, names))
}

fn scan(call: &mut Call<'_>) -> Done {
    let cursor = std::str::from_utf8(call.args.at(1)).ok().and_then(|text| text.parse().ok());
    let cursor: u64 = cursor.ok_or(Fault::Told("ERR invalid cursor"))?;
    let narrowed = narrowed(call)?;
    let (next, names) = page(call, cursor, &narrowed)?;
    call.out.array(2);
    call.out.bulk(itoa::Buffer::new().format(next).as_bytes());
    call.out.array(names.len());
    names.iter().for_each(|name| call.out.bulk(name));
    Ok(())
}

fn keys(call: &mut Call<'_>) -> Done {
    let narrowed = Narrowed { pattern: call.args.at(1), count: SCAN_MAX, kind: None };
    let (mut all, mut cursor) = (Vec::new(), 0);
    loop {
        let (next, names) = page(call, cursor, &narrowed)?;
        all.extend(names);
        if all.len() > KEYS_MAX {
            return Err(Fault::Text(format!("ERR more than {KEYS_MAX} keys match; go through them with SCAN")));
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    call.out.array(all.len());
    all.iter().for_each(|name| call.out.bulk(name));
    Ok(())
}
