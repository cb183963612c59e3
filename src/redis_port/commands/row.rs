//! A row of the table of commands: the command's arguments and who may use it. This file also has `Call`, the value
//! that the function of a row gets.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::cache::{Cache as _, CacheError, Command, Embedded, Key, Reply};
use crate::redis_port::client::Client;
use crate::redis_port::fault::{Done, Fault, NOT_A_FLOAT, NOT_AN_INTEGER};
use crate::redis_port::group::Group;
use crate::redis_port::port::Port;
use crate::redis_port::protocol::{self, Args};
use crate::redis_port::reply::Out;

/// The maximum number of bytes of one answer.
const ANSWER_MAX_BYTES: usize = 32 << 20;
/// The maximum number of bytes of a command's name.
pub(super) const NAME_MAX_BYTES: usize = 32;

/// Says which arguments of a command are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    First,
    /// All arguments after the command's name are keys.
    All,
    /// The first argument and every second argument after it are keys.
    Pairs,
}

/// Says who may use a command of the Redis port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// Everybody may use the command, even without authentication.
    Strangers,
    /// Every authenticated client may use the command on the client's own keys.
    Users,
    /// A client with the role service or admin may use the command.
    Services,
}

/// The effect of a command on its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Read,
    Write,
    Other,
}

/// A row of the table of commands.
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// The number of the command's arguments, including its name. A negative arity means that `-arity` is the minimum
    /// number of arguments.
    pub(super) arity: i32,
    pub(super) group: Group,
    pub(super) does: Does,
    pub(super) keys: Keys,
    pub(super) may: May,
    /// Whether the command also works on nova's own keys.
    pub(super) own: bool,
    pub(super) run: fn(&mut Call<'_>) -> Done,
}

pub(super) const fn spec(
    name: &'static str,
    arity: i32,
    (group, does, keys): (Group, Does, Keys),
    run: fn(&mut Call<'_>) -> Done,
) -> Spec {
    Spec { name, arity, group, does, keys, may: May::Users, own: false, run }
}

impl Spec {
    /// Whether the command allows this number of arguments, including its name.
    pub(super) fn takes(&self, args: usize) -> bool {
        takes(self.arity, args)
    }

    /// Marks that the command also works on nova's own keys.
    pub(super) const fn own(self) -> Spec {
        Spec { own: true, ..self }
    }

    pub(super) const fn may(self, may: May) -> Spec {
        Spec { may, ..self }
    }
}

/// Whether an arity allows this number of arguments.
pub(super) fn takes(arity: i32, args: usize) -> bool {
    let least = arity.unsigned_abs() as usize;
    if arity > 0 { args == least } else { args >= least }
}

/// All commands.
pub(super) struct Table {
    pub(super) rows: Vec<&'static Spec>,
    named: FxHashMap<&'static [u8], &'static Spec>,
}

impl Table {
    pub(super) fn new(rows: Vec<&'static Spec>) -> Table {
        let named = rows.iter().map(|spec| (spec.name.as_bytes(), *spec)).collect();
        Table { rows, named }
    }

    /// Returns the command with this name; letter case does not matter.
    pub(super) fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        let mut lower = [0; NAME_MAX_BYTES];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.named.get(&*lower).copied()
    }
}

/// A command that is running, and what it needs.
pub(super) struct Call<'a> {
    pub(super) port: &'a Port,
    pub(super) client: &'a mut Client,
    pub(super) args: Args<'a>,
    pub(super) out: &'a mut Out,
    /// The table of all commands of the Redis port.
    pub(super) all: &'a Table,
}

impl<'a> Call<'a> {
    pub(super) fn cache(&self) -> &'a Embedded {
        &self.port.watch.cache
    }

    pub(super) fn key(&self) -> Key<'a> {
        Key::bytes(self.args.at(1))
    }

    pub(super) fn do_in_cache(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        self.cache().one(command)
    }

    /// Returns a copy of the argument in the type that the cache stores.
    pub(super) fn owned(&self, place: usize) -> Bytes {
        Bytes::copy_from_slice(self.args.at(place))
    }

    pub(super) fn owned_from(&self, place: usize) -> Vec<Bytes> {
        self.args.from(place).map(Bytes::copy_from_slice).collect()
    }

    pub(super) fn int(&self, place: usize) -> Result<i64, Fault> {
        protocol::number(self.args.at(place)).ok_or(NOT_AN_INTEGER)
    }

    pub(super) fn float(&self, place: usize) -> Result<f64, Fault> {
        float(self.args.at(place)).ok_or(NOT_A_FLOAT)
    }

    /// Whether the argument equals this word; letter case does not matter.
    pub(super) fn is(&self, place: usize, word: &str) -> bool {
        self.args.at(place).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Runs a command of the cache and writes its number as the answer.
    pub(super) fn answer_int(&mut self, command: &Command<'_>) -> Done {
        let value = self.do_in_cache(command)?.int()?;
        self.out.int(value);
        Ok(())
    }

    /// Runs a command of the cache and writes its text, or null, as the answer.
    pub(super) fn answer_text(&mut self, command: &Command<'_>) -> Done {
        let text = self.do_in_cache(command)?.bytes()?;
        self.out.bulk_or_null(text);
        Ok(())
    }

    /// Refuses an answer that would have more than the allowed number of bytes.
    pub(super) fn fits(&self, bytes: usize) -> Done {
        if bytes <= ANSWER_MAX_BYTES {
            return Ok(());
        }
        Err(Fault::Text(format!("ERR the answer would take more than {ANSWER_MAX_BYTES} bytes; ask for less at once")))
    }
}

/// Parses a score as Redis does: without spaces, and without words except `inf` and `infinity`.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let value: f64 = (plain || ["inf", "infinity"].contains(&word.as_str())).then(|| text.parse().ok())??;
    // As in Redis, a number that overflows is not a valid number.
    (!plain || value.is_finite()).then_some(value)
}
