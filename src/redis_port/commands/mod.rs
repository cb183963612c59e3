//! The commands of the Redis port, who may use them, and what they do. A new command is a new row of a table of
//! commands.

mod allowed;
mod connection;
mod hashes;
mod keys;
mod multi;
mod node;
mod row;
mod sets;
mod sorted;
mod strings;
mod sub;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use super::client::Client;
use super::fault::{Done, Fault, Then, text, unknown, wrong_arity};
use super::group::{GROUPS, Group};
use super::port::Port;
use super::protocol::{Args, ArgsKept};
use super::reply::Out;

use self::allowed::allowed;
use self::row::{Call, Table};

pub(super) use self::connection::identified;

/// Every command.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let tables = [
        connection::SPECS,
        multi::SPECS,
        keys::SPECS,
        node::SPECS,
        strings::SPECS,
        hashes::SPECS,
        sets::SPECS,
        sorted::SPECS,
    ];
    Table::new(tables.into_iter().flatten().collect())
});

/// Runs a command and answers it, unless a check of a token or an entry in the audit must come before the answer.
/// `noted` says that the audit already contains the admin's read.
pub(super) fn run(port: &Port, client: &mut Client, args: Args<'_>, out: &mut Out, noted: bool) -> Then {
    if args.len() == 0 {
        return Then::Answered;
    }
    if client.queue.is_some() {
        return answer(port, client, args, out, noted);
    }
    let _shared = port.order.read();
    answer(port, client, args, out, noted)
}

/// Does the same as `run`, for a caller that already holds the lock `order`.
fn answer(port: &Port, client: &mut Client, args: Args<'_>, out: &mut Out, noted: bool) -> Then {
    let begun = out.bytes.len();
    let (group, fault) = match dispatch(port, client, args, out, noted) {
        (group, Ok(())) => (group, None),
        (_, Err(Fault::Not(Then::Answered))) => (None, None),
        (_, Err(Fault::Not(then))) => return then,
        (group, Err(fault)) => (group, Some(fault)),
    };
    client.done[group.map_or(GROUPS - 1, |group| group as usize)] += 1;
    if let Some(fault) = fault {
        client.errors += 1;
        out.bytes.truncate(begun);
        out.error(&text(fault, args.at(0)));
    }
    Then::Answered
}

fn dispatch(port: &Port, client: &mut Client, args: Args<'_>, out: &mut Out, noted: bool) -> (Option<Group>, Done) {
    if client.queue.is_some() {
        let taken = multi::queue(&mut Call { port, client, args, out, all: &TABLE }, noted);
        let done = taken.map(|commands| execute(port, client, commands.as_deref(), out));
        return (Some(Group::Connection), done);
    }
    let Some(spec) = TABLE.find(args.at(0)) else { return (None, Err(unknown(args))) };
    if !spec.takes(args.len()) {
        return (Some(spec.group), Err(wrong_arity(spec.name)));
    }
    if let Err(refused) = allowed(spec, client, args, noted) {
        return (Some(spec.group), Err(refused));
    }
    (Some(spec.group), (spec.run)(&mut Call { port, client, args, out, all: &TABLE }))
}

/// Runs the commands that EXEC has taken from the queue. No command of a different client runs between the commands of
/// EXEC.
fn execute(port: &Port, client: &mut Client, commands: Option<&[ArgsKept]>, out: &mut Out) {
    let Some(commands) = commands else { return };
    out.array(commands.len());
    let _alone = port.order.write();
    for command in commands {
        answer(port, client, command.args(), out, true);
    }
}
