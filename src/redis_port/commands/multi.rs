//! The commands MULTI and EXEC. nova keeps a client's commands after MULTI until EXEC, and then runs them. No command
//! of a different client runs between the commands of one EXEC. nova does not support the command WATCH.

use crate::redis_port::client::Client;
use crate::redis_port::fault::{Fault, Then, unknown, wrong_arity};
use crate::redis_port::group::Group;
use crate::redis_port::protocol::ArgsKept;
use crate::redis_port::queue::Queue;

use super::allowed::allowed;
use super::row::{Call, Does, Keys, May, Spec, spec};

/// The maximum number of commands of one client that wait for EXEC; `QUEUED_MAX_BYTES` limits their bytes.
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

/// Adds a command that a client sends after MULTI to the client's queue. If the command is EXEC, the caller gets the
/// queue and runs the queued commands.
pub(super) fn queue(call: &mut Call<'_>, noted: bool) -> Result<Option<Vec<ArgsKept>>, Fault> {
    let args = call.args;
    let Some(spec) = call.all.find(args.at(0)) else { return Err(broken(call.client, unknown(args))) };
    if !spec.takes(args.len()) {
        return Err(broken(call.client, wrong_arity(spec.name)));
    }
    match spec.name {
        "exec" => return exec(call.client, noted).map(Some),
        "discard" => {
            call.client.queue = None;
            call.out.ok();
            return Ok(None);
        }
        "multi" => return Err(Fault::Told("ERR MULTI calls can not be nested")),
        "quit" | "reset" => {
            call.client.queue = None;
            return (spec.run)(call).map(|()| None);
        }
        _ if spec.may == May::Strangers => {
            return Err(broken(call.client, Fault::Told("ERR Command not allowed inside a transaction")));
        }
        _ => {}
    }
    let users = match allowed(spec, call.client, args, false) {
        Ok(()) => Vec::new(),
        Err(Fault::Not(Then::Note { users, .. })) => users,
        // As in Redis, problems with a command's keys are reported when EXEC runs the command.
        Err(refused @ Fault::Told(text)) if text.starts_with("NO") => {
            return Err(broken(call.client, refused));
        }
        Err(_) => Vec::new(),
    };
    let Some(queue) = &mut call.client.queue else { return Ok(None) };
    let kept = args.kept();
    queue.bytes += kept.bytes();
    if queue.commands.len() >= QUEUED_MAX || queue.bytes > QUEUED_MAX_BYTES {
        let text = format!("ERR more than {QUEUED_MAX} commands or {QUEUED_MAX_BYTES} bytes wait for EXEC");
        *queue = Queue { broken: true, ..Queue::default() };
        return Err(Fault::Text(text));
    }
    queue.commands.push(kept);
    queue.users.extend(users);
    call.out.simple("QUEUED");
    Ok(None)
}

/// Marks the client's queue, so that EXEC runs no command, and returns the error.
fn broken(client: &mut Client, fault: Fault) -> Fault {
    if let Some(queue) = &mut client.queue {
        queue.broken = true;
    }
    fault
}

/// Returns the commands that EXEC runs.
fn exec(client: &mut Client, noted: bool) -> Result<Vec<ArgsKept>, Fault> {
    if let (Some(queue), Some(subject), false) = (&client.queue, client.subject, noted)
        && !queue.users.is_empty()
        && !queue.broken
    {
        return Err(Fault::Not(Then::Note { subject, users: queue.users.clone() }));
    }
    let Queue { commands, broken, .. } = client.queue.take().unwrap_or_default();
    match broken {
        true => Err(Fault::Told("EXECABORT Transaction discarded because of previous errors.")),
        false => Ok(commands),
    }
}
