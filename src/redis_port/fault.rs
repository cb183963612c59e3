//! What becomes of a command, and the words of its errors.

use crate::cache::CacheError;
use crate::event::Id;
use crate::http::auth::Subject;

use super::protocol::Args;

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

/// What a command comes to.
pub(super) type Done = Result<(), Fault>;

pub(super) const SYNTAX: Fault = Fault::Told("ERR syntax error");
pub(super) const NOT_AN_INTEGER: Fault = Fault::Told("ERR value is not an integer or out of range");
pub(super) const NOT_A_FLOAT: Fault = Fault::Told("ERR value is not a valid float");
pub(super) const NOT_POSITIVE: Fault = Fault::Told("ERR value is out of range, must be positive");

/// What HELLO asked for, beside who it is.
pub(super) struct Hello {
    pub(super) resp3: Option<bool>,
    pub(super) name: Option<String>,
}

pub(super) fn wrong_arity(name: &str) -> Fault {
    Fault::Text(format!("ERR wrong number of arguments for '{name}' command"))
}

/// An argument as an error shows it: for Redis it ends with its first NUL.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Redis's words, the name and what follows it shortened as there.
pub(super) fn unknown(args: Args<'_>) -> Fault {
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

/// The text of an error of a command.
pub(super) fn text(fault: Fault, name: &[u8]) -> String {
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
