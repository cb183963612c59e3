//! MULTI and EXEC: commands are kept until EXEC, and done then with no other client's command between them. There is no
//! WATCH.

use crate::event::Id;
use crate::redis_port::Port;
use crate::redis_port::protocol::{Args, ArgsKept};
use crate::redis_port::reply::Out;
use crate::redis_port::session::Client;

use super::{Call, Does, Done, Fault, Group, Keys, May, Spec, Then, allowed, find, spec, unknown, wrong_arity};

/// Commands that one client may have waiting for EXEC, and bytes of them.
const QUEUED_MAX: usize = 10_000;
const QUEUED_MAX_BYTES: usize = 8 << 20;

const OTHER: (Group, Does, Keys) = (Group::Connection, Does::Other, Keys::None);

pub(super) const SPECS: &[Spec] = &[
    spec("multi", 1, OTHER, |call| {
        call.client.queue = Some(Queue::default());
        call.out.ok();
        Ok(())
    }),
    spec("exec", 1, OTHER, |_| Err(Fault::Told("ERR EXEC without MULTI"))),
    spec("discard", 1, OTHER, |_| Err(Fault::Told("ERR DISCARD without MULTI"))),
];

/// What waits for EXEC.
#[derive(Debug, Default)]
pub(in crate::redis_port) struct Queue {
    commands: Vec<ArgsKept>,
    bytes: usize,
    /// A command was refused: EXEC does none of them.
    broken: bool,
    /// Others at whose keys an admin is going to look.
    users: Vec<Id>,
}

/// Takes a command of a client that said MULTI.
pub(super) fn queue(port: &Port, client: &mut Client, args: Args<'_>, out: &mut Out, noted: bool) -> Done {
    let Some(spec) = find(args.at(0)) else { return broken(client, unknown(args)) };
    if !spec.takes(args.len()) {
        return broken(client, wrong_arity(spec.name));
    }
    match spec.name {
        "exec" => return exec(port, client, out, noted),
        "discard" => {
            client.queue = None;
            out.ok();
            return Ok(());
        }
        "multi" => return Err(Fault::Told("ERR MULTI calls can not be nested")),
        "quit" | "reset" => {
            client.queue = None;
            return (spec.run)(&mut Call { port, client, args, out });
        }
        _ if spec.may == May::Strangers => {
            return broken(client, Fault::Told("ERR Command not allowed inside a transaction"));
        }
        _ => {}
    }
    let users = match allowed(spec, client, args, false) {
        Ok(()) => Vec::new(),
        Err(Fault::Not(Then::Note { users, .. })) => users,
        // As in Redis: what is wrong with its keys is told when it is done.
        Err(refused @ Fault::Told(text)) if text.starts_with("NO") => return broken(client, refused),
        Err(_) => Vec::new(),
    };
    let Some(queue) = &mut client.queue else { return Ok(()) };
    let kept = args.kept();
    queue.bytes += kept.bytes();
    if queue.commands.len() >= QUEUED_MAX || queue.bytes > QUEUED_MAX_BYTES {
        let text = format!("ERR more than {QUEUED_MAX} commands or {QUEUED_MAX_BYTES} bytes wait for EXEC");
        *queue = Queue { broken: true, ..Queue::default() };
        return Err(Fault::Text(text));
    }
    queue.commands.push(kept);
    queue.users.extend(users);
    out.simple("QUEUED");
    Ok(())
}

fn broken(client: &mut Client, fault: Fault) -> Done {
    if let Some(queue) = &mut client.queue {
        queue.broken = true;
    }
    Err(fault)
}

fn exec(port: &Port, client: &mut Client, out: &mut Out, noted: bool) -> Done {
    if let (Some(queue), Some(subject), false) = (&client.queue, client.subject, noted)
        && !queue.users.is_empty()
        && !queue.broken
    {
        return Err(Fault::Not(Then::Note { subject, users: queue.users.clone() }));
    }
    let Queue { commands, broken, .. } = client.queue.take().unwrap_or_default();
    if broken {
        return Err(Fault::Told("EXECABORT Transaction discarded because of previous errors."));
    }
    out.array(commands.len());
    let _alone = port.order.write();
    for command in &commands {
        super::answer(port, client, command.args(), out, true);
    }
    Ok(())
}
