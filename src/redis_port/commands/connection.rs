//! The commands about the connection: its user, its name and its protocol.

use std::fmt::Write as _;

use crate::redis_port::client::Client;
use crate::redis_port::fault::{Done, Fault, Hello, NOT_AN_INTEGER, SYNTAX, Then, shown, wrong_arity};
use crate::redis_port::group::Group;
use crate::redis_port::protocol::{self, Args};
use crate::redis_port::reply::Out;

use super::row::{Call, Does, Keys, May, Spec, spec};
use super::sub::Sub;

const OTHER: (Group, Does, Keys) = (Group::Connection, Does::Other, Keys::None);
/// The maximum number of bytes of a client's name, and of the name of its library.
const CLIENT_TEXT_MAX_BYTES: usize = 256;
/// The version of Redis whose commands and answers the port imitates. Clients decide by the version of the server which
/// commands they send.
pub(super) const REDIS_VERSION: &str = "7.2.0";

pub(super) const SPECS: &[Spec] = &[
    spec("auth", -2, OTHER, auth).may(May::Strangers),
    spec("hello", -1, OTHER, hello).may(May::Strangers),
    spec("quit", -1, OTHER, |call| {
        call.out.ok();
        Err(Fault::Not(Then::Over))
    })
    .may(May::Strangers),
    spec("reset", 1, OTHER, |call| {
        call.client.forget(call.port.stranger);
        call.out.resp3 = false;
        call.out.simple("RESET");
        Ok(())
    })
    .may(May::Strangers),
    spec("ping", -1, OTHER, ping),
    spec("echo", 2, OTHER, |call| {
        call.out.bulk(call.args.at(1));
        Ok(())
    }),
    spec("select", 2, OTHER, select),
    spec("client", -2, OTHER, client),
];

const CLIENT: &[Sub] = &[
    ("setname", 3),
    ("getname", 2),
    ("id", 2),
    ("setinfo", 4),
    ("info", 2),
    ("list", -2),
    ("no-evict", 3),
    ("no-touch", 3),
];

fn auth(call: &mut Call<'_>) -> Done {
    let token = match call.args.len() {
        2 => call.args.at(1),
        // The token identifies the user, so nova ignores the user name of AUTH.
        3 => call.args.at(2),
        _ => return Err(SYNTAX),
    };
    let token = String::from_utf8_lossy(token).into_owned();
    Err(Fault::Not(Then::Identify { token, hello: None }))
}

fn hello(call: &mut Call<'_>) -> Done {
    let mut hello = Hello { resp3: None, name: None };
    let mut token = None;
    if call.args.len() > 1 {
        let version = protocol::number(call.args.at(1));
        let version = version.ok_or(Fault::Told("ERR Protocol version is not an integer or out of range"))?;
        hello.resp3 = Some(match version {
            2 => false,
            3 => true,
            _ => return Err(Fault::Told("NOPROTO unsupported protocol version")),
        });
    }
    let mut place = 2;
    while place < call.args.len() {
        let after = call.args.len() - place - 1;
        if call.is(place, "AUTH") && after >= 2 {
            token = Some(String::from_utf8_lossy(call.args.at(place + 2)).into_owned());
            place += 3;
        } else if call.is(place, "SETNAME") && after >= 1 {
            hello.name = Some(plain(call.args.at(place + 1), "Client names")?);
            place += 2;
        } else {
            let word = shown(call.args.at(place));
            return Err(Fault::Text(format!("ERR Syntax error in HELLO option '{word}'")));
        }
    }
    if let Some(token) = token {
        return Err(Fault::Not(Then::Identify { token, hello: Some(hello) }));
    }
    if call.client.subject.is_none() {
        return Err(Fault::Told(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    greet(call.client, &hello, call.out);
    Ok(())
}

/// Answers AUTH, or HELLO with AUTH, after nova has checked the token.
pub(in crate::redis_port) fn identified(
    client: &mut Client,
    allowed: Result<(), String>,
    hello: Option<&Hello>,
    out: &mut Out,
) {
    match (allowed, hello) {
        (Err(refused), _) => {
            client.errors += 1;
            out.error(&refused);
        }
        (Ok(()), Some(hello)) => greet(client, hello, out),
        (Ok(()), None) => out.ok(),
    }
    client.done[Group::Connection as usize] += 1;
}

fn greet(client: &mut Client, hello: &Hello, out: &mut Out) {
    if let Some(resp3) = hello.resp3 {
        out.resp3 = resp3;
    }
    if let Some(name) = &hello.name {
        client.name.clone_from(name);
    }
    out.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"proto");
    out.int(if out.resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(client.id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"modules");
    out.array(0);
}

/// Checks that a name has no spaces and no line ends, as Redis requires.
fn plain(text: &[u8], what: &str) -> Result<String, Fault> {
    let wrong = || Fault::Text(format!("ERR {what} cannot contain spaces, newlines or special characters."));
    if text.len() > CLIENT_TEXT_MAX_BYTES {
        return Err(Fault::Text(format!("ERR {what} cannot have more than {CLIENT_TEXT_MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    text.map(str::to_owned).ok_or_else(wrong)
}

fn ping(call: &mut Call<'_>) -> Done {
    match call.args.len() {
        1 => call.out.simple("PONG"),
        2 => call.out.bulk(call.args.at(1)),
        _ => return Err(wrong_arity("ping")),
    }
    Ok(())
}

fn select(call: &mut Call<'_>) -> Done {
    match protocol::number(call.args.at(1)).ok_or(NOT_AN_INTEGER)? {
        0 => call.out.ok(),
        _ => return Err(Fault::Told("ERR DB index is out of range")),
    }
    Ok(())
}

fn client(call: &mut Call<'_>) -> Done {
    match call.sub("client", CLIENT)? {
        "setname" => {
            call.client.name = plain(call.args.at(2), "Client names")?;
            call.out.ok();
        }
        "getname" => match call.client.name.as_str() {
            "" => call.out.null(),
            name => call.out.bulk(name.as_bytes()),
        },
        "id" => call.out.int(call.client.id as i64),
        "setinfo" => set_info(call)?,
        "info" | "list" => {
            let text = described(call.client, call.port.edge.clock.day_ms(), call.args, call.out);
            call.out.verbatim(&text);
        }
        // The remaining subcommands NO-EVICT and NO-TOUCH have no effect on nova's cache.
        _ if call.is(2, "on") || call.is(2, "off") => call.out.ok(),
        _ => return Err(SYNTAX),
    }
    Ok(())
}

fn set_info(call: &mut Call<'_>) -> Done {
    match () {
        () if call.is(2, "lib-name") => call.client.library = plain(call.args.at(3), "lib-name")?,
        () if call.is(2, "lib-ver") => call.client.library_version = plain(call.args.at(3), "lib-ver")?,
        () => {
            let word = shown(call.args.at(2));
            return Err(Fault::Text(format!("ERR Unrecognized option '{word}'")));
        }
    }
    call.out.ok();
    Ok(())
}

/// Returns the line of CLIENT INFO about this connection. The answer to CLIENT LIST is also only this line, because
/// nova lists no connection except the client's own.
fn described(client: &Client, now_ms: i64, args: Args<'_>, out: &Out) -> String {
    let Client { id, address, name, library, library_version, since_ms, .. } = client;
    let age_s = (now_ms - since_ms).max(0) / 1_000;
    let (resp, command) = (if out.resp3 { 3 } else { 2 }, String::from_utf8_lossy(args.at(1)).to_ascii_lowercase());
    let mut line = format!("id={id} addr={address} name={name} age={age_s} db=0 cmd=client|{command} ");
    // Writing to a string cannot fail.
    let _ = writeln!(line, "resp={resp} lib-name={library} lib-ver={library_version}");
    line
}
