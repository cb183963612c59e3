//! The commands of sorted sets.

use bytes::Bytes;

use crate::cache::{Bound, Cache as _, Command, Members, Reply, When, ZAddWhen};
use crate::redis_port::fault::{Done, Fault, NOT_POSITIVE, SYNTAX};
use crate::redis_port::group::Group;

use super::row::{Call, Does, Keys, Spec, float, spec};

const READ: (Group, Does, Keys) = (Group::SortedSets, Does::Read, Keys::First);
const WRITE: (Group, Does, Keys) = (Group::SortedSets, Does::Write, Keys::First);
const BOUND: Fault = Fault::Told("ERR min or max is not a float");

pub(super) const SPECS: &[Spec] = &[
    spec("zadd", -4, WRITE, zadd),
    spec("zincrby", 4, WRITE, zincrby),
    spec("zrem", -3, WRITE, |call| {
        let (key, members) = (call.key(), call.owned_from(2));
        call.answer_int(&Command::ZRem(key, members))
    }),
    spec("zscore", 3, READ, zscore),
    spec("zmscore", -3, READ, zmscore),
    spec("zcard", 2, READ, |call| {
        let key = call.key();
        call.answer_int(&Command::ZCard(key))
    }),
    spec("zcount", 4, READ, |call| {
        let (key, min, max) = (call.key(), bound(call.args.at(2))?, bound(call.args.at(3))?);
        call.answer_int(&Command::ZCount(key, min, max))
    }),
    spec("zrank", 3, READ, |call| rank(call, false)),
    spec("zrevrank", 3, READ, |call| rank(call, true)),
    spec("zrange", -4, READ, zrange),
    spec("zrevrange", -4, READ, |call| by_rank(call, true)),
    spec("zrangebyscore", -4, READ, |call| by_score(call, false)),
    spec("zrevrangebyscore", -4, READ, |call| by_score(call, true)),
    spec("zpopmin", -2, WRITE, |call| pop(call, false)),
    spec("zpopmax", -2, WRITE, |call| pop(call, true)),
    spec("zremrangebyrank", 4, WRITE, |call| {
        let (key, ranks) = (call.key(), Members::Ranks(call.int(2)?, call.int(3)?));
        call.answer_int(&Command::ZRemRange(key, ranks))
    }),
    spec("zremrangebyscore", 4, WRITE, |call| {
        let (key, scores) = (call.key(), Members::Scores(bound(call.args.at(2))?, bound(call.args.at(3))?));
        call.answer_int(&Command::ZRemRange(key, scores))
    }),
];

/// Parses one end of a range of scores. An empty text means 0, because Redis uses strtod(3).
fn bound(text: &[u8]) -> Result<Bound, Fault> {
    let score = |text: &[u8]| if text.is_empty() { Ok(0.0) } else { float(text).ok_or(BOUND) };
    match text.strip_prefix(b"(") {
        Some(excluded) => Ok(Bound::Excluded(score(excluded)?)),
        None => Ok(Bound::Included(score(text)?)),
    }
}

fn zadd(call: &mut Call<'_>) -> Done {
    let (mut when, mut increments, mut place) = (ZAddWhen::default(), false, 2);
    let (mut absent, mut present) = (false, false);
    while place < call.args.len() {
        match () {
            () if call.is(place, "NX") => absent = true,
            () if call.is(place, "XX") => present = true,
            () if call.is(place, "GT") => when.only_greater = true,
            () if call.is(place, "LT") => when.only_less = true,
            () if call.is(place, "CH") => when.changed = true,
            () if call.is(place, "INCR") => increments = true,
            () => break,
        }
        place += 1;
    }
    let pairs = call.args.len() - place;
    if pairs == 0 || !pairs.is_multiple_of(2) {
        return Err(SYNTAX);
    }
    if absent && present {
        return Err(Fault::Told("ERR XX and NX options at the same time are not compatible"));
    }
    let compared = when.only_greater || when.only_less;
    if (absent && compared) || (when.only_greater && when.only_less) {
        return Err(Fault::Told("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if increments {
        return increment(call, place, absent || present || compared);
    }
    when.when = match (absent, present) {
        (true, _) => When::IfAbsent,
        (_, true) => When::IfPresent,
        _ => When::Always,
    };
    let mut members = Vec::with_capacity(pairs / 2);
    for at in (place..call.args.len()).step_by(2) {
        members.push((call.float(at)?, call.owned(at + 1)));
    }
    let key = call.key();
    call.answer_int(&Command::ZAddWhen(key, when, members))
}

/// Runs ZADD with the option INCR, which does the same as ZINCRBY.
fn increment(call: &mut Call<'_>, place: usize, conditions: bool) -> Done {
    if call.args.len() != place + 2 {
        return Err(Fault::Told("ERR INCR option supports a single increment-element pair"));
    }
    if conditions {
        return Err(Fault::Told("ERR INCR with NX, XX, GT or LT is not supported by nova's cache"));
    }
    let (by, member) = (call.float(place)?, call.owned(place + 1));
    let score = call.cache().zincrby(call.key(), by, member)?;
    call.out.double(score);
    Ok(())
}

fn zincrby(call: &mut Call<'_>) -> Done {
    let by = call.float(2)?;
    let score = call.cache().zincrby(call.key(), by, call.owned(3))?;
    call.out.double(score);
    Ok(())
}

fn score(call: &mut Call<'_>, score: Option<f64>) {
    match score {
        Some(score) => call.out.double(score),
        None => call.out.null(),
    }
}

fn zscore(call: &mut Call<'_>) -> Done {
    let found = call.cache().zscore(call.key(), call.owned(2))?;
    score(call, found);
    Ok(())
}

fn zmscore(call: &mut Call<'_>) -> Done {
    let scores: Vec<_> = call
        .owned_from(2)
        .into_iter()
        .map(|member| call.cache().zscore(call.key(), member))
        .collect::<Result<_, _>>()?;
    call.out.array(scores.len());
    scores.into_iter().for_each(|found| score(call, found));
    Ok(())
}

fn rank(call: &mut Call<'_>, reverse: bool) -> Done {
    match call.do_in_cache(&Command::ZRank { key: call.key(), member: call.owned(2), reverse })? {
        Reply::Int(rank) => call.out.int(rank),
        _ => call.out.null(),
    }
    Ok(())
}

/// The options that may follow the range in ZRANGE and in the variants of ZRANGE.
#[derive(Default)]
struct Options {
    scores: bool,
    limit: Option<(i64, i64)>,
    by_score: bool,
    reverse: bool,
}

fn options(call: &Call<'_>, whole: bool) -> Result<Options, Fault> {
    let (mut options, mut place) = (Options::default(), 4);
    while place < call.args.len() {
        match () {
            () if call.is(place, "WITHSCORES") => options.scores = true,
            () if call.is(place, "LIMIT") && place + 2 < call.args.len() => {
                options.limit = Some((call.int(place + 1)?, call.int(place + 2)?));
                place += 2;
            }
            () if whole && call.is(place, "BYSCORE") => options.by_score = true,
            () if whole && call.is(place, "REV") => options.reverse = true,
            () if whole && call.is(place, "BYLEX") => {
                return Err(Fault::Told("ERR BYLEX is not supported by nova's cache"));
            }
            () => return Err(SYNTAX),
        }
        place += 1;
    }
    Ok(options)
}

fn zrange(call: &mut Call<'_>) -> Done {
    let options = options(call, true)?;
    if options.limit.is_some() && !options.by_score {
        return Err(Fault::Told(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    match options.by_score {
        true => scored(call, &options, options.reverse),
        false => ranked(call, options.reverse, options.scores),
    }
}

fn by_rank(call: &mut Call<'_>, reverse: bool) -> Done {
    let options = options(call, false)?;
    if options.limit.is_some() {
        return Err(SYNTAX);
    }
    ranked(call, reverse, options.scores)
}

fn ranked(call: &mut Call<'_>, reverse: bool, scores: bool) -> Done {
    let (start, stop) = (call.int(2)?, call.int(3)?);
    let found = call.do_in_cache(&Command::ZRange { key: call.key(), start, stop, reverse })?.scored()?;
    write(call, &found, scores);
    Ok(())
}

fn by_score(call: &mut Call<'_>, reverse: bool) -> Done {
    let options = options(call, false)?;
    scored(call, &options, reverse)
}

fn scored(call: &mut Call<'_>, options: &Options, reverse: bool) -> Done {
    let (first, last) = (bound(call.args.at(2))?, bound(call.args.at(3))?);
    let (min, max) = if reverse { (last, first) } else { (first, last) };
    let (skip, take) = options.limit.unwrap_or((0, -1));
    // As in Redis, a negative offset of LIMIT selects no member, and a negative count selects all members.
    let take = if skip < 0 { 0 } else { usize::try_from(take).unwrap_or(usize::MAX) };
    let skip = usize::try_from(skip).unwrap_or(0);
    let found = call.do_in_cache(&Command::ZRangeByScore { key: call.key(), min, max, reverse, skip, take })?;
    write(call, &found.scored()?, options.scores);
    Ok(())
}

/// Writes members as an answer, with their scores if the client wants scores: a flat list in RESP2, pairs in RESP3.
fn write(call: &mut Call<'_>, found: &[(Bytes, f64)], scores: bool) {
    let out = &mut *call.out;
    out.array(found.len() * if scores && !out.resp3 { 2 } else { 1 });
    for (member, score) in found {
        if scores && out.resp3 {
            out.array(2);
        }
        out.bulk(member);
        if scores {
            out.double(*score);
        }
    }
}

fn pop(call: &mut Call<'_>, highest: bool) -> Done {
    let count = match call.args.len() {
        2 => None,
        3 => Some(call.int(2).map_err(|_| NOT_POSITIVE)?),
        _ => return Err(SYNTAX),
    };
    let taken = usize::try_from(count.unwrap_or(1)).map_err(|_| NOT_POSITIVE)?;
    let found = call.do_in_cache(&Command::ZPop { key: call.key(), count: taken, highest })?.scored()?;
    match count {
        Some(_) => write(call, &found, true),
        None => {
            call.out.array(2 * found.len());
            for (member, score) in &found {
                call.out.bulk(member);
                call.out.double(*score);
            }
        }
    }
    Ok(())
}
