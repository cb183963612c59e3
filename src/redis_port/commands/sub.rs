//! Commands whose second word says what they do.

use crate::redis_port::fault::{Fault, shown, wrong_arity};

use super::row::{Call, takes};

/// A subcommand's name, and how many arguments it has with both names; at least so many where that is negative.
pub(super) type Sub = (&'static str, i32);

impl Call<'_> {
    /// Which of the subcommands of `command` was asked for, with as many arguments as it takes. The errors are Redis's.
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
