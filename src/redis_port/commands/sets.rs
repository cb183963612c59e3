//! The commands of sets.

use crate::cache::{Cache as _, Command};
use crate::redis_port::fault::Done;
use crate::redis_port::group::Group;

use super::row::{Call, Does, Keys, Spec, spec};

const READ: (Group, Does, Keys) = (Group::Sets, Does::Read, Keys::First);
const WRITE: (Group, Does, Keys) = (Group::Sets, Does::Write, Keys::First);

pub(super) const SPECS: &[Spec] = &[
    spec("sadd", -3, WRITE, |call| {
        let (key, members) = (call.key(), call.owned_from(2));
        call.answer_int(&Command::SAdd(key, members))
    }),
    spec("srem", -3, WRITE, |call| {
        let (key, members) = (call.key(), call.owned_from(2));
        call.answer_int(&Command::SRem(key, members))
    }),
    spec("smembers", 2, READ, smembers),
    spec("sismember", 3, READ, |call| {
        let (key, member) = (call.key(), call.owned(2));
        call.answer_int(&Command::SIsMember(key, member))
    }),
    spec("smismember", -3, READ, smismember),
    spec("scard", 2, READ, |call| {
        let key = call.key();
        call.answer_int(&Command::SCard(key))
    }),
];

fn smembers(call: &mut Call<'_>) -> Done {
    let members = call.cache().smembers(call.key())?;
    call.out.set(members.len());
    members.iter().for_each(|member| call.out.bulk(member));
    Ok(())
}

fn smismember(call: &mut Call<'_>) -> Done {
    let members = call.cache().smembers(call.key())?;
    call.out.array(call.args.len() - 2);
    for member in call.args.from(2) {
        let found = members.binary_search_by(|known| known[..].cmp(member)).is_ok();
        call.out.int(found.into());
    }
    Ok(())
}
