//! What there is, who may, and what it does: a new command is a new row of a table.

mod connection;
mod hashes;
mod keys;
mod multi;
mod node;
mod sets;
mod sorted;
mod strings;
mod sub;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::cache::{Cache as _, CacheError, Command, Embedded, Key, Reply};
use crate::event::Id;
use crate::http::auth::Subject;

use super::Port;
use super::computed::{Own, everybodys};
use super::protocol::{self, Args};
use super::reply::Out;
use super::session::Client;

use self::sub::{Sub, takes};

pub(super) use self::connection::{Hello, identified};
pub(super) use self::multi::Queue;

/// Bytes of one answer.
const ANSWER_MAX_BYTES: usize = 32 << 20;
/// Longer names are of no command.
const NAME_MAX_BYTES: usize = 32;
/// What an error repeats of a command that there is not, as Redis.
const SHOWN_MAX_BYTES: usize = 128;

/// What becomes of a command.
pub(super) enum Then {
    Answered,
    /// The connection ends after what was answered.
    Over,
    /// It is answered once the token is known to be good.
    Identify {
        token: String,
        hello: Option<Hello>,
    },
    /// An admin looks at what is others': that is noted first, and the command done then.
    Note {
        subject: Subject,
        users: Vec<Id>,
    },
}

/// Why a command was not done.
pub(super) enum Fault {
    /// An error as it is sent.
    Text(String),
    Told(&'static str),
    Cache(CacheError),
    /// It is not an error: something else comes first.
    Not(Then),
}

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Fault {
        Fault::Cache(error)
    }
}

type Done = Result<(), Fault>;

const SYNTAX: Fault = Fault::Told("ERR syntax error");
const NOT_AN_INTEGER: Fault = Fault::Told("ERR value is not an integer or out of range");
const NOT_A_FLOAT: Fault = Fault::Told("ERR value is not a valid float");
const NOT_POSITIVE: Fault = Fault::Told("ERR value is out of range, must be positive");

/// What commands are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Connection,
    Keys,
    Strings,
    Hashes,
    Sets,
    SortedSets,
    Server,
}

pub(super) const GROUPS: usize = crate::http::PORT_GROUPS.len();

/// Which arguments are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    None,
    First,
    /// All of them.
    All,
    /// Every other one.
    Pairs,
}

/// Who may use a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    /// Also who has not said who it is.
    Strangers,
    /// Whoever has; of keys, those that are theirs.
    Users,
    /// The roles service and admin.
    Services,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Read,
    Write,
    Other,
}

/// A row of the table.
struct Spec {
    name: &'static str,
    /// Arguments with the name; at least so many where it is negative.
    arity: i32,
    group: Group,
    does: Does,
    keys: Keys,
    may: May,
    /// It also answers for keys of nova's own.
    own: bool,
    run: fn(&mut Call<'_>) -> Done,
}

const fn spec(
    name: &'static str,
    arity: i32,
    (group, does, keys): (Group, Does, Keys),
    run: fn(&mut Call<'_>) -> Done,
) -> Spec {
    Spec { name, arity, group, does, keys, may: May::Users, own: false, run }
}

impl Spec {
    /// Whether it takes so many arguments, its name among them.
    fn takes(&self, args: usize) -> bool {
        takes(self.arity, args)
    }

    /// It also answers for keys of nova's own.
    const fn own(self) -> Spec {
        Spec { own: true, ..self }
    }

    const fn may(self, may: May) -> Spec {
        Spec { may, ..self }
    }
}

/// Every command.
static SPECS: LazyLock<Vec<&'static Spec>> = LazyLock::new(|| {
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
    tables.into_iter().flatten().collect()
});

/// The same, by name.
static NAMED: LazyLock<FxHashMap<&'static [u8], &'static Spec>> =
    LazyLock::new(|| SPECS.iter().map(|spec| (spec.name.as_bytes(), *spec)).collect());

/// The command of a name in whatever case.
fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0; NAME_MAX_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    NAMED.get(&*lower).copied()
}

/// A command that is being done.
struct Call<'a> {
    port: &'a Port,
    client: &'a mut Client,
    args: Args<'a>,
    out: &'a mut Out,
}

impl<'a> Call<'a> {
    fn cache(&self) -> &'a Embedded {
        &self.port.watch.cache
    }

    fn key(&self) -> Key<'a> {
        Key::bytes(self.args.at(1))
    }

    fn do_in_cache(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        self.cache().one(command)
    }

    /// The argument as the cache keeps it.
    fn owned(&self, place: usize) -> Bytes {
        Bytes::copy_from_slice(self.args.at(place))
    }

    fn owned_from(&self, place: usize) -> Vec<Bytes> {
        self.args.from(place).map(Bytes::copy_from_slice).collect()
    }

    fn int(&self, place: usize) -> Result<i64, Fault> {
        protocol::number(self.args.at(place)).ok_or(NOT_AN_INTEGER)
    }

    fn float(&self, place: usize) -> Result<f64, Fault> {
        float(self.args.at(place)).ok_or(NOT_A_FLOAT)
    }

    /// Whether the argument is this word, in whatever case.
    fn is(&self, place: usize, word: &str) -> bool {
        self.args.at(place).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Answers with a number of the cache's.
    fn answer_int(&mut self, command: &Command<'_>) -> Done {
        let value = self.do_in_cache(command)?.int()?;
        self.out.int(value);
        Ok(())
    }

    /// Answers with a text, or nothing.
    fn answer_text(&mut self, command: &Command<'_>) -> Done {
        let text = self.do_in_cache(command)?.bytes()?;
        self.out.bulk_or_null(text);
        Ok(())
    }

    /// Whether so many bytes may be one answer.
    fn fits(&self, bytes: usize) -> Done {
        if bytes <= ANSWER_MAX_BYTES {
            return Ok(());
        }
        Err(Fault::Text(format!("ERR the answer would take more than {ANSWER_MAX_BYTES} bytes; ask for less at once")))
    }
}

/// As Redis reads a score: no space, no word but `inf` and `infinity`.
fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let value: f64 = (plain || ["inf", "infinity"].contains(&word.as_str())).then(|| text.parse().ok())??;
    // What is too large for a number is no number of Redis, either.
    (!plain || value.is_finite()).then_some(value)
}

/// Does a command, and answers it unless something comes before. `noted`: an admin's look is in the audit.
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

/// The same, by whoever has the order.
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
        return (Some(Group::Connection), multi::queue(port, client, args, out, noted));
    }
    let Some(spec) = find(args.at(0)) else { return (None, Err(unknown(args))) };
    if !spec.takes(args.len()) {
        return (Some(spec.group), Err(wrong_arity(spec.name)));
    }
    if let Err(refused) = allowed(spec, client, args, noted) {
        return (Some(spec.group), Err(refused));
    }
    (Some(spec.group), (spec.run)(&mut Call { port, client, args, out }))
}

fn wrong_arity(name: &str) -> Fault {
    Fault::Text(format!("ERR wrong number of arguments for '{name}' command"))
}

/// An argument as an error shows it: for Redis it ends with its first NUL.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Redis's words, the name and what follows it shortened as there.
fn unknown(args: Args<'_>) -> Fault {
    let shown = |text: &[u8], most: usize| shown(&text[..text.len().min(most)]);
    let name = shown(args.at(0), SHOWN_MAX_BYTES);
    let mut follows = String::new();
    for arg in args.from(1) {
        if follows.len() >= SHOWN_MAX_BYTES {
            break;
        }
        follows += &format!("'{}' ", shown(arg, SHOWN_MAX_BYTES - follows.len()));
    }
    Fault::Text(format!("ERR unknown command '{name}', with args beginning with: {follows}"))
}

/// Who may do what to which keys. Users of the app have tokens, too: the cache is for services.
fn allowed(spec: &Spec, client: &Client, args: Args<'_>, noted: bool) -> Done {
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

/// The text of an error of a command.
fn text(fault: Fault, name: &[u8]) -> String {
    match fault {
        Fault::Text(text) => text,
        Fault::Told(text) => text.to_owned(),
        Fault::Cache(error @ CacheError::WrongType) => error.to_string(),
        Fault::Cache(error @ CacheError::InvalidExpiry) => {
            format!("ERR {error} in '{}' command", String::from_utf8_lossy(name).to_ascii_lowercase())
        }
        Fault::Cache(error) => format!("ERR {error}"),
        Fault::Not(_) => String::new(),
    }
}
