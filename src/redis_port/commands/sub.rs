//! Commands whose second word selects a subcommand.

use crate::redis_port::fault::{Fault, shown, wrong_arity};

use super::row::{Call, takes};

/// A subcommand's name, and its number of arguments with both names. A negative number is the least number.
pub(super) type Sub = (&'static str, i32);

impl Call<'_> {
    /// The subcommand of `command` that was requested, with an allowed number of arguments. The errors are Redis's.
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
