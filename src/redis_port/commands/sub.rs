//! The commands whose second word selects a subcommand.

use crate::redis_port::fault::{Fault, shown, wrong_arity};

use super::row::{Call, takes};

/// A subcommand's name, and its number of arguments including both words. A negative number of arguments is the negated
/// minimum number of arguments.
pub(super) type Sub = (&'static str, i32);

impl Call<'_> {
    /// Finds the requested subcommand of `command`, and checks the number of the arguments. The errors for an unknown
    /// subcommand are those of Redis.
    pub(super) fn sub(&self, command: &str, subs: &[Sub]) -> Result<&'static str, Fault> {
        let Some((name, arity)) = subs.iter().copied().find(|(name, _)| self.is(1, name)) else {
            let (word, command) = (shown(self.args.at(1)), command.to_ascii_uppercase());
            return Err(Fault::Text(format!("ERR unknown subcommand '{word}'. Try {command} HELP.")));
        };
        match takes(arity, self.args.len()) {
            true => Ok(name),
            false => Err(wrong_arity(&format!("{command}|{name}"))),
        }
    }
}
