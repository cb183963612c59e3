//! The commands of strings and counters.

use bytes::Bytes;

use crate::cache::{CacheError, Command, Expiry, Key, Reply, SetOptions, When};
use crate::redis_port::computed::Own;
use crate::redis_port::fault::{Done, Fault, NOT_AN_INTEGER, SYNTAX, wrong_arity};
use crate::redis_port::group::Group;
use crate::redis_port::protocol;

use super::row::{Call, Does, Keys, Spec, spec};

const READ: (Group, Does, Keys) = (Group::Strings, Does::Read, Keys::First);
const WRITE: (Group, Does, Keys) = (Group::Strings, Does::Write, Keys::First);

pub(super) const SPECS: &[Spec] = &[
    spec("get", 2, READ, get).own(),
    spec("mget", -2, (Group::Strings, Does::Read, Keys::All), mget).own(),
    spec("strlen", 2, READ, strlen).own(),
    spec("getrange", 4, READ, range).own(),
    spec("substr", 4, READ, range).own(),
    spec("set", -3, WRITE, set),
    spec("setnx", 3, WRITE, setnx),
    spec("setex", 4, WRITE, |call| set_for(call, Expiry::Seconds)),
    spec("psetex", 4, WRITE, |call| set_for(call, Expiry::Millis)),
    spec("getset", 3, WRITE, |call| {
        let options = SetOptions { get: true, ..SetOptions::default() };
        let (key, value) = (call.key(), call.owned(2));
        call.answer_text(&Command::Set(key, value, options))
    }),
    spec("getdel", 2, WRITE, |call| {
        let key = call.key();
        call.answer_text(&Command::GetDel(key))
    }),
    spec("getex", -2, WRITE, getex),
    spec("mset", -3, (Group::Strings, Does::Write, Keys::Pairs), mset),
    spec("append", 3, WRITE, |call| {
        let (key, value) = (call.key(), call.owned(2));
        call.answer_int(&Command::Append(key, value))
    }),
    spec("incr", 2, WRITE, |call| add(call, 1)),
    spec("decr", 2, WRITE, |call| add(call, -1)),
    spec("incrby", 3, WRITE, |call| {
        let by = call.int(2)?;
        add(call, by)
    }),
    spec("decrby", 3, WRITE, |call| {
        let by = call.int(2)?.checked_neg().ok_or(Fault::Told("ERR decrement would overflow"))?;
        add(call, by)
    }),
];

/// Returns the value of a key. nova makes the value of one of its own keys when a client reads the key.
fn value(call: &mut Call<'_>, name: &[u8]) -> Result<Option<Bytes>, Fault> {
    match Own::of(name) {
        Some(own) => Ok(own.value(call.port, call.client)?.map(Bytes::from)),
        None => Ok(call.do_in_cache(&Command::Get(Key::bytes(name)))?.bytes()?),
    }
}

fn get(call: &mut Call<'_>) -> Done {
    let text = value(call, call.args.at(1))?;
    call.out.bulk_or_null(text);
    Ok(())
}

fn mget(call: &mut Call<'_>) -> Done {
    let (mut values, mut bytes) = (Vec::with_capacity(call.args.len()), 0);
    for name in call.args.from(1) {
        let text = match value(call, name) {
            // MGET answers null for a key whose value is not a string.
            Err(Fault::Cache(CacheError::WrongType)) => None,
            text => text?,
        };
        bytes += text.as_ref().map_or(0, Bytes::len);
        call.fits(bytes)?;
        values.push(text);
    }
    call.out.array(values.len());
    values.into_iter().for_each(|text| call.out.bulk_or_null(text));
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Done {
    if Own::of(call.args.at(1)).is_some() {
        let length = value(call, call.args.at(1))?.map_or(0, |text| text.len());
        call.out.int(length as i64);
        return Ok(());
    }
    let key = call.key();
    call.answer_int(&Command::StrLen(key))
}

/// Runs GETRANGE. The range includes both ends, and negative ends count from the end of the text.
fn range(call: &mut Call<'_>) -> Done {
    let (start, end) = (call.int(2)?, call.int(3)?);
    let text = value(call, call.args.at(1))?.unwrap_or_default();
    let length = text.len() as i64;
    let place = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let crossed = start < 0 && end < 0 && start > end;
    let (from, to) = (place(start), place(end).min(length - 1));
    let empty = crossed || from > to || length == 0;
    call.out.bulk(if empty { b"" } else { &text[from as usize..=to as usize] });
    Ok(())
}

/// A time to live among the arguments of SET or GETEX.
#[derive(Clone, Copy)]
struct Timed {
    seconds: bool,
    /// Whether the time is a point in time, and not a span that begins now.
    at: bool,
    /// The index of the argument that contains the number of the time to live.
    place: usize,
}

/// Returns the time to live that begins at the argument with the index `place`, or `None` if no time to live begins at
/// this argument.
fn timed(call: &Call<'_>, place: usize) -> Result<Option<Timed>, Fault> {
    let (seconds, at) = match () {
        () if call.is(place, "EX") => (true, false),
        () if call.is(place, "PX") => (false, false),
        () if call.is(place, "EXAT") => (true, true),
        () if call.is(place, "PXAT") => (false, true),
        () => return Ok(None),
    };
    if place + 1 >= call.args.len() {
        return Err(SYNTAX);
    }
    Ok(Some(Timed { seconds, at, place: place + 1 }))
}

/// Converts the time to live in a command's arguments to an expiry of the cache.
fn expiry(call: &Call<'_>, timed: Timed) -> Result<Expiry, Fault> {
    let number = protocol::number(call.args.at(timed.place)).ok_or(NOT_AN_INTEGER)?;
    let millis = if timed.seconds { number.checked_mul(1_000) } else { Some(number) };
    let millis = millis.filter(|millis| *millis > 0).ok_or(CacheError::InvalidExpiry)?;
    Ok(if timed.at { Expiry::At(millis) } else { Expiry::Millis(millis) })
}

fn set(call: &mut Call<'_>) -> Done {
    let (mut options, mut time) = (SetOptions::default(), None);
    let mut place = 3;
    while place < call.args.len() {
        let keeps = options.expiry == Expiry::Keep;
        if let Some(found) = timed(call, place)? {
            if keeps || time.replace(found).is_some() {
                return Err(SYNTAX);
            }
            place += 2;
            continue;
        }
        match () {
            () if call.is(place, "NX") && options.when != When::IfPresent => options.when = When::IfAbsent,
            () if call.is(place, "XX") && options.when != When::IfAbsent => options.when = When::IfPresent,
            () if call.is(place, "GET") => options.get = true,
            () if call.is(place, "KEEPTTL") && time.is_none() => options.expiry = Expiry::Keep,
            () => return Err(SYNTAX),
        }
        place += 1;
    }
    if let Some(time) = time {
        options.expiry = expiry(call, time)?;
    }
    let (key, value) = (call.key(), call.owned(2));
    match call.do_in_cache(&Command::Set(key, value, options))? {
        Reply::Done => call.out.ok(),
        Reply::Bytes(text) => call.out.bulk(&text),
        _ => call.out.null(),
    }
    Ok(())
}

fn setnx(call: &mut Call<'_>) -> Done {
    let options = SetOptions { when: When::IfAbsent, ..SetOptions::default() };
    let reply = call.do_in_cache(&Command::Set(call.key(), call.owned(2), options))?;
    call.out.int(i64::from(reply == Reply::Done));
    Ok(())
}

fn set_for(call: &mut Call<'_>, expiry: fn(i64) -> Expiry) -> Done {
    let options = SetOptions { expiry: expiry(call.int(2)?), ..SetOptions::default() };
    call.do_in_cache(&Command::Set(call.key(), call.owned(3), options))?;
    call.out.ok();
    Ok(())
}

fn getex(call: &mut Call<'_>) -> Done {
    let key = call.key();
    let wanted = match call.args.len() {
        2 => Ok(Expiry::Keep),
        3 if call.is(2, "PERSIST") => Ok(Expiry::Never),
        4 => {
            let time = timed(call, 2)?.ok_or(SYNTAX)?;
            expiry(call, time)
        }
        _ => return Err(SYNTAX),
    };
    match wanted {
        Ok(wanted) => call.answer_text(&Command::GetEx(key, wanted)),
        // As in Redis, GETEX with an invalid time fails only if the key exists.
        Err(fault) => match call.do_in_cache(&Command::Get(key))? {
            Reply::Nil => {
                call.out.null();
                Ok(())
            }
            _ => Err(fault),
        },
    }
}

fn mset(call: &mut Call<'_>) -> Done {
    if call.args.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    for place in (1..call.args.len()).step_by(2) {
        let (key, value) = (Key::bytes(call.args.at(place)), call.owned(place + 1));
        call.do_in_cache(&Command::Set(key, value, SetOptions::default()))?;
    }
    call.out.ok();
    Ok(())
}

fn add(call: &mut Call<'_>, by: i64) -> Done {
    let key = call.key();
    call.answer_int(&Command::IncrBy(key, by))
}
