//! The result of a command of the Redis port, and the texts of its errors.

use crate::cache::CacheError;
use crate::event::Id;
use crate::http::auth::Subject;

use super::protocol::Args;

/// The maximum number of bytes of an unknown command's name in an error, as in Redis.
const SHOWN_MAX_BYTES: usize = 128;

/// What the session does after a command.
pub(super) enum Then {
    Answered,
    /// The connection ends after the answer to the command.
    Over,
    /// The session verifies a token and then answers the command.
    Identify {
        token: String,
        hello: Option<Hello>,
    },
    /// With the command, an admin reads data of users other than the admin. The session writes the admin's read to the
    /// audit and then runs the command.
    Note {
        subject: Subject,
        users: Vec<Id>,
    },
}

/// The reason why a command was not executed.
pub(super) enum Fault {
    /// The text of an error, as the client gets it.
    Text(String),
    Told(&'static str),
    Cache(CacheError),
    /// The command has no error, but the given step must come before its answer.
    Not(Then),
}

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Fault {
        Fault::Cache(error)
    }
}

/// The result of a command of the Redis port.
pub(super) type Done = Result<(), Fault>;

pub(super) const SYNTAX: Fault = Fault::Told("ERR syntax error");
pub(super) const NOT_AN_INTEGER: Fault = Fault::Told("ERR value is not an integer or out of range");
pub(super) const NOT_A_FLOAT: Fault = Fault::Told("ERR value is not a valid float");
pub(super) const NOT_POSITIVE: Fault = Fault::Told("ERR value is out of range, must be positive");

/// The options of HELLO except those of authentication.
pub(super) struct Hello {
    pub(super) resp3: Option<bool>,
    pub(super) name: Option<String>,
}

pub(super) fn wrong_arity(name: &str) -> Fault {
    Fault::Text(format!("ERR wrong number of arguments for '{name}' command"))
}

/// Returns an argument as an error shows it. The shown text ends before its first NUL byte, as in Redis.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Returns Redis's error for an unknown command. The name and the arguments of an unknown command are shortened as in
/// Redis.
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

/// Returns the text of a command's error.
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
