//! The row of a command: its arguments and who may use it. Also the call with which the row's function runs.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::cache::{Cache as _, CacheError, Command, Embedded, Key, Reply};
use crate::redis_port::client::Client;
use crate::redis_port::fault::{Done, Fault, NOT_A_FLOAT, NOT_AN_INTEGER};
use crate::redis_port::group::Group;
use crate::redis_port::port::Port;
use crate::redis_port::protocol::{self, Args};
use crate::redis_port::reply::Out;

/// The most bytes of one answer.
const ANSWER_MAX_BYTES: usize = 32 << 20;
/// The most bytes of a command's name.
pub(super) const NAME_MAX_BYTES: usize = 32;

/// The arguments that are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    First,
    /// All arguments are keys.
    All,
    /// Every other argument is a key.
    Pairs,
}

/// Who may use a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// Everybody may use it, also without authentication.
    Strangers,
    /// Every authenticated client may use it, on the client's own keys.
    Users,
    /// The roles service and admin may use it.
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
    /// The number of arguments with the name. A negative number is the least number.
    pub(super) arity: i32,
    pub(super) group: Group,
    pub(super) does: Does,
    pub(super) keys: Keys,
    pub(super) may: May,
    /// Whether the command also answers for nova's own keys.
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
    /// Whether the command takes this many arguments, including its name.
    pub(super) fn takes(&self, args: usize) -> bool {
        takes(self.arity, args)
    }

    /// Marks that the command also answers for nova's own keys.
    pub(super) const fn own(self) -> Spec {
        Spec { own: true, ..self }
    }

    pub(super) const fn may(self, may: May) -> Spec {
        Spec { may, ..self }
    }
}

/// Whether an arity allows this many arguments.
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

    /// The command with a name in any letter case.
    pub(super) fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        let mut lower = [0; NAME_MAX_BYTES];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.named.get(&*lower).copied()
    }
}

/// A running command.
pub(super) struct Call<'a> {
    pub(super) port: &'a Port,
    pub(super) client: &'a mut Client,
    pub(super) args: Args<'a>,
    pub(super) out: &'a mut Out,
    /// The table of all commands.
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

    /// The argument in the form that the cache keeps.
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

    /// Whether the argument is this word, in any letter case.
    pub(super) fn is(&self, place: usize, word: &str) -> bool {
        self.args.at(place).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Answers with a number from the cache.
    pub(super) fn answer_int(&mut self, command: &Command<'_>) -> Done {
        let value = self.do_in_cache(command)?.int()?;
        self.out.int(value);
        Ok(())
    }

    /// Answers with a text from the cache, or with nothing.
    pub(super) fn answer_text(&mut self, command: &Command<'_>) -> Done {
        let text = self.do_in_cache(command)?.bytes()?;
        self.out.bulk_or_null(text);
        Ok(())
    }

    /// Whether an answer may have this many bytes.
    pub(super) fn fits(&self, bytes: usize) -> Done {
        if bytes <= ANSWER_MAX_BYTES {
            return Ok(());
        }
        Err(Fault::Text(format!("ERR the answer would take more than {ANSWER_MAX_BYTES} bytes; ask for less at once")))
    }
}

/// Parses a score as Redis does: no space, and no words but `inf` and `infinity`.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let value: f64 = (plain || ["inf", "infinity"].contains(&word.as_str())).then(|| text.parse().ok())??;
    // A number that is too large is no number for Redis either.
    (!plain || value.is_finite()).then_some(value)
}
