//! The result of a command, and the texts of errors.

use crate::cache::CacheError;
use crate::event::Id;
use crate::http::auth::Subject;

use super::protocol::Args;

/// The most bytes of an unknown command's name in an error, as in Redis.
const SHOWN_MAX_BYTES: usize = 128;

/// What follows a command.
pub(super) enum Then {
    Answered,
    /// The connection ends after the answer.
    Over,
    /// The command is answered once the token is verified.
    Identify {
        token: String,
        hello: Option<Hello>,
    },
    /// An admin reads other users' data: this is noted in the audit first, and the command runs afterwards.
    Note {
        subject: Subject,
        users: Vec<Id>,
    },
}

/// Why a command was not executed.
pub(super) enum Fault {
    /// An error with its text as it is sent.
    Text(String),
    Told(&'static str),
    Cache(CacheError),
    /// No error: another step comes first.
    Not(Then),
}

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Fault {
        Fault::Cache(error)
    }
}

/// The result of a command.
pub(super) type Done = Result<(), Fault>;

pub(super) const SYNTAX: Fault = Fault::Told("ERR syntax error");
pub(super) const NOT_AN_INTEGER: Fault = Fault::Told("ERR value is not an integer or out of range");
pub(super) const NOT_A_FLOAT: Fault = Fault::Told("ERR value is not a valid float");
pub(super) const NOT_POSITIVE: Fault = Fault::Told("ERR value is out of range, must be positive");

/// The options of HELLO besides the authentication.
pub(super) struct Hello {
    pub(super) resp3: Option<bool>,
    pub(super) name: Option<String>,
}

pub(super) fn wrong_arity(name: &str) -> Fault {
    Fault::Text(format!("ERR wrong number of arguments for '{name}' command"))
}

/// An argument as an error shows it. The text ends at its first NUL, as in Redis.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The error for an unknown command in Redis's words, with the name and the arguments shortened as there.
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

/// The text of a command's error.
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
