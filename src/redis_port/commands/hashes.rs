//! The commands of hashes.

use bytes::Bytes;

use crate::cache::{Cache as _, Command};
use crate::redis_port::fault::{Done, Fault, wrong_arity};
use crate::redis_port::group::Group;

use super::row::{Call, Does, Keys, Spec, spec};

const READ: (Group, Does, Keys) = (Group::Hashes, Does::Read, Keys::First);
const WRITE: (Group, Does, Keys) = (Group::Hashes, Does::Write, Keys::First);

pub(super) const SPECS: &[Spec] = &[
    spec("hget", 3, READ, |call| {
        let (key, field) = (call.key(), call.owned(2));
        call.answer_text(&Command::HGet(key, field))
    }),
    spec("hmget", -3, READ, hmget),
    spec("hgetall", 2, READ, hgetall),
    spec("hkeys", 2, READ, |call| each(call, |(field, _)| field)),
    spec("hvals", 2, READ, |call| each(call, |(_, value)| value)),
    spec("hlen", 2, READ, |call| {
        let key = call.key();
        call.answer_int(&Command::HLen(key))
    }),
    spec("hexists", 3, READ, hexists),
    spec("hstrlen", 3, READ, hstrlen),
    spec("hset", -4, WRITE, hset),
    spec("hmset", -4, WRITE, hmset),
    spec("hsetnx", 4, WRITE, |call| {
        let (key, field, value) = (call.key(), call.owned(2), call.owned(3));
        call.answer_int(&Command::HSetNx(key, field, value))
    }),
    spec("hdel", -3, WRITE, |call| {
        let (key, fields) = (call.key(), call.owned_from(2));
        call.answer_int(&Command::HDel(key, fields))
    }),
    spec("hincrby", 4, WRITE, |call| {
        let (key, field, by) = (call.key(), call.owned(2), call.int(3)?);
        call.answer_int(&Command::HIncrBy(key, field, by))
    }),
];

fn hmget(call: &mut Call<'_>) -> Done {
    let values = call.do_in_cache(&Command::HMGet(call.key(), call.owned_from(2)))?.values()?;
    call.fits(values.iter().flatten().map(Bytes::len).sum())?;
    call.out.array(values.len());
    values.into_iter().for_each(|value| call.out.bulk_or_null(value));
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Done {
    let pairs = call.cache().hgetall(call.key())?;
    call.out.map(pairs.len());
    for (field, value) in &pairs {
        call.out.bulk(field);
        call.out.bulk(value);
    }
    Ok(())
}

fn each(call: &mut Call<'_>, part: fn((Bytes, Bytes)) -> Bytes) -> Done {
    let pairs = call.cache().hgetall(call.key())?;
    call.out.array(pairs.len());
    pairs.into_iter().map(part).for_each(|text| call.out.bulk(&text));
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Done {
    let found = call.cache().hget(call.key(), call.owned(2))?;
    call.out.int(found.is_some().into());
    Ok(())
}

fn hstrlen(call: &mut Call<'_>) -> Done {
    let found = call.cache().hget(call.key(), call.owned(2))?;
    call.out.int(found.map_or(0, |value| value.len() as i64));
    Ok(())
}

/// Sets fields. Returns how many of the fields are new.
fn put(call: &Call<'_>, name: &str) -> Result<i64, Fault> {
    if !call.args.len().is_multiple_of(2) {
        return Err(wrong_arity(name));
    }
    let fields = (2..call.args.len()).step_by(2).map(|place| (call.owned(place), call.owned(place + 1)));
    Ok(call.cache().hset(call.key(), fields.collect())?)
}

fn hset(call: &mut Call<'_>) -> Done {
    let new = put(call, "hset")?;
    call.out.int(new);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Done {
    put(call, "hmset")?;
    call.out.ok();
    Ok(())
}
