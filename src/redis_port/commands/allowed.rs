//! Decides who may use which command on which keys.

use crate::cache::CacheError;
use crate::redis_port::client::Client;
use crate::redis_port::computed::{Own, everybodys};
use crate::redis_port::fault::{Done, Fault, Then, shown};
use crate::redis_port::protocol::Args;

use super::row::{Does, Keys, May, Spec};

/// Decides whether a client may use a command on its keys. Users of the app also have tokens, but only services may use
/// the cache.
pub(super) fn allowed(spec: &Spec, client: &Client, args: Args<'_>, noted: bool) -> Done {
    if spec.may == May::Strangers {
        return Ok(());
    }
    let Some(subject) = client.subject else {
        return Err(Fault::Told(match client.ended {
            true => "NOAUTH the token has ended or was revoked: AUTH with a new one",
            false => "NOAUTH Authentication required.",
        }));
    };
    let serves = everybodys(&subject);
    if spec.may == May::Services && !serves {
        return Err(Fault::Text(format!("NOPERM '{}' needs a token with the role service or admin", spec.name)));
    }
    let step = match spec.keys {
        Keys::None => return Ok(()),
        Keys::First => usize::MAX,
        Keys::All => 1,
        Keys::Pairs => 2,
    };
    let mut others = Vec::new();
    for place in (1..args.len()).step_by(step) {
        let Some(own) = Own::of(args.at(place)) else {
            if serves {
                continue;
            }
            return Err(Fault::Told("NOPERM keys of the cache need a token with the role service or admin"));
        };
        if spec.does == Does::Write {
            let key = shown(args.at(place));
            let way_out = "is made by nova at each read and cannot be written; use another name";
            return Err(Fault::Text(format!("ERR '{key}' {way_out}")));
        }
        if !spec.own {
            return Err(CacheError::WrongType.into());
        }
        match own.user() {
            Some(user) if user != subject.user && !serves => {
                return Err(Fault::Told("NOPERM another user's key needs a token with the role service or admin"));
            }
            Some(user) if user != subject.user && subject.roles.admin => others.push(user),
            _ => {}
        }
    }
    match others.is_empty() || noted {
        true => Ok(()),
        false => Err(Fault::Not(Then::Note { subject, users: others })),
    }
}
