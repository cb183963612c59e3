//! Tests of the allow-list, which names unknown columns by table and column.

use serde_json::json;

use super::support::*;
use crate::decode::KeepUnknown;
use crate::event::{ChangeBody, Row};

const USER: &str = "00000000-0000-4000-8000-000000000001";

fn kept(entries: &[&str]) -> KeepUnknown {
    KeepUnknown::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn user(keep: KeepUnknown, headers: &[(&str, &str)]) -> Row {
    let row = json!({
        "id": USER, "username": "u", "email_verified": true, "is_active": true, "created_at": "2026-11-20T10:00:00Z",
        "updated_at": "2026-11-20T10:00:00Z", "deleted_at": null, "phone": "+41 1 234", "Totp_Secret": "JBSW", "locale": "de",
    });
    let key = json!({ "id": USER }).to_string();
    let mut record = record("cdc.users", Some(key.as_bytes()), Some(row.to_string().as_bytes()));
    record.headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).to_owned().into())).collect();
    match change(decoder().with_kept(keep).decode(&record)).body {
        ChangeBody::Upsert(row) => row,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_columns_of_users_are_not_kept_unless_they_are_named() {
    assert_eq!(user(KeepUnknown::default(), &[]).extra, None);
    assert_eq!(user(kept(&["posts"]), &[]).extra, None);
    assert_eq!(user(kept(&["users.LOCALE"]), &[]).extra.as_deref(), Some(r#"{"locale":"de"}"#));
    let all = user(kept(&["users"]), &[]).extra.unwrap();
    assert!(["phone", "Totp_Secret", "locale"].iter().all(|name| all.contains(name)), "{all}");
}

/// A header that names a column as unchanged asks for the stored value, which an earlier version of nova may have
/// stored.
#[test]
fn a_header_does_not_bring_back_a_column_that_is_not_kept() {
    let unchanged = [("__debezium.unchanged", r#"["bio","locale"]"#)];
    assert!(user(kept(&["posts"]), &unchanged).extra_unavailable.is_empty());
    let names = user(KeepUnknown::default(), &unchanged).extra_unavailable;
    assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["bio"]);
}
