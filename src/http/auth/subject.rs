//! The subject of a token: the user's id, and nova's roles.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use crate::event::Id;

/// A set of roles, with the names that they have in tokens. The caller of an operation needs one role of the set.
pub(crate) const ADMIN: &[&str] = &["admin"];
pub(crate) const ADMIN_OR_SERVICE: &[&str] = &["admin", "service"];

/// The authenticated caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub user: Id,
    pub roles: Roles,
}

impl Subject {
    pub fn has_role(&self, roles: &[&str]) -> bool {
        roles.iter().any(|role| self.roles.has(role))
    }
}

/// The roles of a token that nova knows. Roles that belong to applications other than nova are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub admin: bool,
    pub service: bool,
}

impl Roles {
    /// The known roles among `names`.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Roles {
        let mut roles = Roles::default();
        for name in names {
            roles.admin |= name == "admin";
            roles.service |= name == "service";
        }
        roles
    }

    fn has(self, name: &str) -> bool {
        (self.admin && name == "admin") || (self.service && name == "service")
    }
}

/// Reads the roles from one text or from a list of texts. Some issuers use the claim `role` for values of a different
/// kind, for example objects, which give no role.
impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Roles, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(name) => Roles::of([name.as_str()]),
            Value::Array(names) => Roles::of(names.iter().filter_map(Value::as_str)),
            _ => Roles::default(),
        })
    }
}

/// The id of the user whom a subject names. The id is the subject if the subject is a UUID, otherwise the name-based
/// UUID (RFC 9562 §5.5, version 5) of the issuer and the subject. The namespace of the UUID is the namespace of URLs.
/// The name that is hashed consists of `iss`, `#` and the subject, or only of the subject if the token has no `iss`.
/// `docs/api.md` shows how to make the UUID in SQL.
pub(super) fn user(issuer: Option<&str>, subject: &str) -> Id {
    if let Ok(id) = Id::parse(subject.as_bytes()) {
        return id;
    }
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(Uuid::NAMESPACE_URL.as_bytes());
    if let Some(issuer) = issuer {
        hash.update(issuer.as_bytes());
        hash.update(b"#");
    }
    hash.update(subject.as_bytes());
    let mut bytes = [0; 16];
    // A SHA-1 hash has 20 bytes, and the UUID takes the first 16 bytes.
    for (byte, hashed) in bytes.iter_mut().zip(hash.finish().as_ref()) {
        *byte = *hashed;
    }
    Id(uuid::Builder::from_sha1_bytes(bytes).into_uuid().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_is_no_uuid_has_the_name_based_uuid_of_the_documented_rule() {
        // The expected UUID is PostgreSQL's result of `select uuid_generate_v5(uuid_ns_url(),
        // 'https://clerk.example#user_2abc')`.
        let known = user(Some("https://clerk.example"), "user_2abc");
        assert_eq!(known.to_string(), "e8b60071-9f38-5c40-be36-b2305c7e7517");
        assert!(
            include_str!("../../../docs/api.md").contains(&format!("'https://clerk.example#user_2abc');  -- {known}"))
        );
        assert_eq!(user(None, "www.example.com").to_string(), "b63cdfa4-3df9-568e-97ae-006c5b8fd652");
        let id = "3304d920-ce8c-5112-bf24-27a6f99f1ebf";
        for form in [id.to_owned(), id.to_uppercase(), id.replace('-', "")] {
            assert_eq!(user(Some("https://any.example"), &form).to_string(), id);
        }
        assert_ne!(user(Some("https://other.example"), "user_2abc"), known);
        assert_ne!(user(Some("https://clerk.example"), "user_2abd"), known);
    }

    #[test]
    fn only_the_roles_of_nova_count_in_whatever_form_they_come() {
        let read = |json: &str| serde_json::from_str::<Roles>(json).unwrap();
        for json in ["null", "5", "true", "{\"admin\":true}", "\"authenticated\"", "\"Admin\"", "[]", "[[\"admin\"]]"] {
            assert_eq!(read(json), Roles::default(), "{json}");
        }
        assert_eq!(read("\"admin\""), Roles { admin: true, service: false });
        assert_eq!(read("[\"user\",7,\"service\"]"), Roles { admin: false, service: true });
        let both = Subject { user: Id::NIL, roles: read("[\"admin\",\"service\"]") };
        assert!(both.has_role(&["admin"]) && both.has_role(&["service"]) && !both.has_role(&[]));
        assert!(!both.has_role(&["owner"]));
    }
}
