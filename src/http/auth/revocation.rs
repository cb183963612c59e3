//! Rules that make a token invalid before it expires: by its id, by its user and time, or by its key. The store keeps
//! revocations in the edge's table. nova also keeps the revocations in memory, because it checks them at every use of a
//! token.

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::event::Id;

use super::verified::Verified;

/// The kind of a revocation's entry in the edge's table. The name of a revocation's entry is [`Target::name`].
pub const KIND: &str = "revocation";
/// The most rules of revocation at the same time.
pub const REVOCATIONS_MAX: usize = 100_000;
/// The most bytes of a token's or key's id.
pub const NAME_MAX_BYTES: usize = 256;
const VALUE_VERSION: u8 = 1;
const TOKEN: u8 = 1;
const USER: u8 = 2;
const KEY: u8 = 3;

/// The tokens that a rule revokes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The token with this `jti`.
    Token(String),
    /// The user's tokens that were issued before [`Rule::before_ms`].
    User(Id),
    /// Every token signed with the key of this `kid`.
    Key(String),
}

/// The times of a rule of revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Tokens issued before this time, or in the second of this time, are invalid. The time is in epoch milliseconds,
    /// and [`i64::MAX`] means all tokens.
    pub before_ms: i64,
    /// When nova drops the rule, in epoch milliseconds, or [`i64::MAX`] if the rule never ends.
    pub expires_ms: i64,
}

impl Rule {
    /// Whether the rule covers a token that was issued at `issued_ms`. The claim `iat` is in seconds.
    fn takes(self, issued_ms: i64) -> bool {
        issued_ms.div_euclid(1_000) <= self.before_ms.div_euclid(1_000)
    }

    /// Combines two rules for one target, and takes the stricter of their times.
    fn strictest(self, other: Rule) -> Rule {
        Rule { before_ms: self.before_ms.max(other.before_ms), expires_ms: self.expires_ms.max(other.expires_ms) }
    }
}

impl Target {
    /// The name of the rule's entry in the edge's table.
    pub fn name(&self) -> Vec<u8> {
        match self {
            Target::Token(id) => [&[TOKEN], id.as_bytes()].concat(),
            Target::User(user) => [&[USER][..], &user.0].concat(),
            Target::Key(id) => [&[KEY], id.as_bytes()].concat(),
        }
    }

    fn parse(name: &[u8]) -> Option<Target> {
        let (kind, rest) = name.split_first()?;
        let text = || String::from_utf8(rest.to_vec()).ok();
        match *kind {
            TOKEN => Some(Target::Token(text()?)),
            USER => Some(Target::User(Id(rest.try_into().ok()?))),
            KEY => Some(Target::Key(text()?)),
            _ => None,
        }
    }
}

impl Rule {
    /// The value of the rule's entry in the edge's table.
    pub fn encode(self) -> Vec<u8> {
        [&[VALUE_VERSION][..], &self.before_ms.to_le_bytes(), &self.expires_ms.to_le_bytes()].concat()
    }

    fn decode(value: &[u8]) -> Option<Rule> {
        let (before, expires) = value.strip_prefix(&[VALUE_VERSION])?.split_first_chunk()?;
        Some(Rule { before_ms: i64::from_le_bytes(*before), expires_ms: i64::from_le_bytes(expires.try_into().ok()?) })
    }
}

/// The rules of revocation that are in force.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<Rules>);

#[derive(Debug, Default)]
struct Rules {
    tokens: FxHashMap<String, Rule>,
    users: FxHashMap<Id, Rule>,
    keys: FxHashMap<String, Rule>,
}

impl Rules {
    fn get(&self, target: &Target) -> Option<Rule> {
        match target {
            Target::Token(id) => self.tokens.get(id),
            Target::User(user) => self.users.get(user),
            Target::Key(id) => self.keys.get(id),
        }
        .copied()
    }

    fn put(&mut self, target: Target, rule: Rule) {
        match target {
            Target::Token(id) => self.tokens.insert(id, rule),
            Target::User(user) => self.users.insert(user, rule),
            Target::Key(id) => self.keys.insert(id, rule),
        };
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.users.len() + self.keys.len()
    }
}

impl Revocations {
    /// Loads the stored rules of revocation. nova skips malformed entries of the edge's table.
    pub fn load(&self, entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
        for (name, value) in entries {
            if let (Some(target), Some(rule)) = (Target::parse(&name), Rule::decode(&value)) {
                self.put(target, rule);
            }
        }
    }

    /// The rule that will be in force once `rule` is added, and whether the limit of rules allows the addition.
    pub fn with(&self, target: &Target, rule: Rule) -> (Rule, bool) {
        let rules = self.0.read();
        match rules.get(target) {
            Some(known) => (known.strictest(rule), true),
            None => (rule, rules.len() < REVOCATIONS_MAX),
        }
    }

    pub fn get(&self, target: &Target) -> Option<Rule> {
        self.0.read().get(target)
    }

    /// Combines a rule with the rule in force for its target.
    pub fn put(&self, target: Target, rule: Rule) {
        let mut rules = self.0.write();
        let rule = rules.get(&target).map_or(rule, |known| known.strictest(rule));
        rules.put(target, rule);
    }

    /// Removes a target's rule. Returns false if the target has no rule.
    pub fn remove(&self, target: &Target) -> bool {
        let mut rules = self.0.write();
        match target {
            Target::Token(id) => rules.tokens.remove(id),
            Target::User(user) => rules.users.remove(user),
            Target::Key(id) => rules.keys.remove(id),
        }
        .is_some()
    }

    /// Whether any rule revokes the token.
    pub(super) fn take(&self, token: &Verified, now_ms: i64) -> bool {
        let rules = self.0.read();
        let by_token = token.jti.as_ref().and_then(|id| rules.tokens.get(id));
        let by_user = rules.users.get(&token.subject.user);
        let found = [by_token, by_user, rules.keys.get(&token.key.id)].into_iter().flatten();
        found.into_iter().any(|rule| rule.expires_ms > now_ms && rule.takes(token.issued_ms))
    }

    /// Every rule, in the order of the targets.
    pub fn all(&self) -> Vec<(Target, Rule)> {
        let rules = self.0.read();
        let tokens = rules.tokens.iter().map(|(id, rule)| (Target::Token(id.clone()), *rule));
        let users = rules.users.iter().map(|(user, rule)| (Target::User(*user), *rule));
        let keys = rules.keys.iter().map(|(id, rule)| (Target::Key(id.clone()), *rule));
        let mut all: Vec<_> = tokens.chain(users).chain(keys).collect();
        drop(rules);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The targets whose rule has expired, at most `limit`.
    pub fn expired(&self, now_ms: i64, limit: usize) -> Vec<Target> {
        let old = |(target, rule): (Target, Rule)| (rule.expires_ms <= now_ms).then_some(target);
        self.all().into_iter().filter_map(old).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use nova_storage::codec::CodecError;
    use nova_storage::testing::mutate::check_bytes;

    use super::*;
    use proptest::prelude::*;

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            "[a-c]{1,3}".prop_map(Target::Token),
            (0..4u128).prop_map(|n| Target::User(Id::from_u128(n))),
            "[a-c]{1,3}".prop_map(Target::Key),
        ]
    }

    proptest! {
        #[test]
        fn in_any_order_the_strictest_rule_wins_also_after_a_restart(
            rules in proptest::collection::vec((target(), 0..100i64, 0..100i64), 1..30),
        ) {
            let (revocations, mut stored) = (Revocations::default(), std::collections::BTreeMap::new());
            for (target, before_ms, expires_ms) in &rules {
                let rule = Rule { before_ms: *before_ms, expires_ms: *expires_ms };
                let (merged, room) = revocations.with(target, rule);
                prop_assert!(room);
                stored.insert(target.name(), merged.encode());
                revocations.put(target.clone(), rule);
            }
            for (target, rule) in revocations.all() {
                let of = |part: fn(&(Target, i64, i64)) -> i64| rules.iter().filter(|r| r.0 == target).map(part).max();
                prop_assert_eq!((Some(rule.before_ms), Some(rule.expires_ms)), (of(|r| r.1), of(|r| r.2)));
            }
            let again = Revocations::default();
            again.load(stored.into_iter());
            prop_assert_eq!(again.all(), revocations.all());
            for target in again.expired(50, usize::MAX) {
                prop_assert!(again.remove(&target) && !again.remove(&target));
            }
            prop_assert!(again.all().iter().all(|(_, rule)| rule.expires_ms > 50));
        }

        #[test]
        fn malformed_entries_are_passed_over(name: Vec<u8>, value: Vec<u8>) {
            Revocations::default().load([(name, value)].into_iter());
        }
    }

    proptest! {
        #[test]
        fn mutants_of_a_rule_are_errors_or_rules(before_ms: i64, expires_ms: i64, seed: u64) {
            let read = |bytes: &[u8]| Rule::decode(bytes).ok_or(CodecError::Invalid("rule"));
            check_bytes(&Rule { before_ms, expires_ms }.encode(), seed, read, |rule| rule.encode());
        }
    }
}
