//! Tests of what nova takes for a row, and to which table it assigns the row.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::support::{KEY, change, dead, decode, decoder, record};
use crate::event::{ChangeBody, Decoded, Format, Op};

fn row(table: &str) -> Value {
    let id = "30000000-0000-4000-8000-000000000001";
    let (created, at) = (json!(1_795_476_488_850_012i64), json!("2026-11-20T10:00:00Z"));
    match table {
        "users" => {
            json!({"id": id, "username": "u", "email_verified": false, "is_active": true, "created_at": at, "updated_at": at})
        }
        "posts" => {
            json!({"id": id, "user_id": id, "image_key": "k", "status": "published", "created_at": at, "updated_at": at})
        }
        "follows" => json!({"id": id, "follower_id": id, "following_id": id, "created_at": created}),
        "comments" => json!({"id": id, "post_id": id, "user_id": id, "content": "c", "created_at": created}),
        _ => json!({"id": id, "user_id": id, "post_id": id, "created_at": created}),
    }
}

const TABLES: [&str; 5] = ["users", "posts", "follows", "comments", "likes"];

fn envelope(table: &str, op: &str) -> Value {
    let after = if op == "d" { Value::Null } else { row(table) };
    json!({"before": null, "after": after, "source": {"lsn": 5, "ts_ms": 1, "table": table}, "op": op, "ts_ms": 2})
}

#[test]
fn rows_of_another_table_are_dead_in_each_form_and_those_of_its_parts_are_not() {
    for topic in TABLES {
        for table in TABLES {
            let flat = |member: &str| {
                let mut row = row(table);
                row[member] = json!(table);
                row.to_string()
            };
            let forms = [
                envelope(table, "c").to_string(),
                envelope(table, "d").to_string(),
                json!({"schema": {}, "payload": envelope(table, "u")}).to_string(),
                flat("__table"),
                flat("__source_table"),
            ];
            for form in forms {
                let decoded = decode(&format!("cdc.{topic}"), &form);
                match topic == table {
                    true => drop(change(decoded)),
                    false => {
                        let (reason, detail) = dead(decoded);
                        assert_eq!(reason, "other-table", "{form} in {topic}");
                        assert!(detail.contains(table) && detail.contains(topic), "{detail}");
                    }
                }
            }
        }
        for part in [json!("posts_2026_11"), json!("_hyper_1_2_chunk"), json!(""), json!(null), json!(7)] {
            let mut of_part = envelope(topic, "u");
            of_part["source"]["table"] = part;
            change(decode(&format!("cdc.{topic}"), &of_part.to_string()));
        }
    }
}

/// A row of `comments` has all columns of a row of `likes`. Only a column that the table `likes` lacks shows that the
/// row is a comment.
#[test]
fn a_flattened_row_that_is_whole_as_a_row_of_another_table_is_dead() {
    let mut comment = row("comments");
    for optional in ["parent_comment_id", "updated_at", "soft_delete"] {
        comment[optional] = Value::Null;
    }
    let (reason, detail) = dead(decode("cdc.likes", &comment.to_string()));
    assert!(reason == "other-table" && detail.contains("comments"), "{reason}: {detail}");
    // Somebody added columns to a followed table, and a second followed table also has some of these columns.
    let mut more = row("likes");
    more["content"] = json!("c");
    more["updated_at"] = json!("2026-11-20T10:00:00Z");
    change(decode("cdc.likes", &more.to_string()));
    let mut more = row("posts");
    more["post_id"] = more["id"].clone();
    change(decode("cdc.posts", &more.to_string()));
}

/// With the default replica identity, a deleted row has its key, and default values in all columns except the key.
#[test]
fn a_row_of_which_only_the_key_is_known_is_no_row() {
    let empty = json!({
        "id": row("users")["id"], "username": "", "email_verified": false, "is_active": false,
        "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z", "deleted_at": null,
    });
    for mark in ["deleted", "__is_deleted", "_fivetran_deleted"] {
        let mut deleted = empty.clone();
        deleted[mark] = json!(true);
        assert_eq!(dead(decode("cdc.users", &deleted.to_string())).0, "key-only-row", "{mark}");
    }
    let mut marked = empty.clone();
    marked["__deleted"] = json!("true");
    assert_eq!(change(decode("cdc.users", &marked.to_string())).body, ChangeBody::Delete);
    let mut named = empty;
    named["username"] = json!("u");
    change(decode("cdc.users", &named.to_string()));
}

#[test]
fn a_record_of_another_database_s_connector_is_dead() {
    for connector in ["mysql", "sqlserver", "oracle", "mongodb", "changefeed_sink"] {
        let mut foreign = envelope("likes", "u");
        foreign["source"]["connector"] = json!(connector);
        let mut flat = row("likes");
        flat["__source_connector"] = json!(connector);
        for form in [foreign, flat] {
            assert_eq!(dead(decode("cdc.likes", &form.to_string())).0, "other-connector", "{form}");
        }
    }
    let mut own = envelope("likes", "u");
    own["source"]["connector"] = json!("postgresql");
    change(decode("cdc.likes", &own.to_string()));
}

#[test]
fn members_that_come_twice_and_disagree_are_dead() {
    let like = row("likes");
    let source = |lsn: u64| format!(r#"{{"lsn":{lsn},"table":"likes"}}"#);
    let envelope = |members: String| format!(r#"{{"before":null,"after":{like},{members},"op":"c"}}"#);
    let flat = |members: &str| format!("{},{members}}}", like.to_string().trim_end_matches('}'));
    let inner = envelope(format!(r#""source":{}"#, source(1)));
    for text in [
        envelope(format!(r#""source":{},"source":{}"#, source(1), source(2))),
        envelope(r#""source":{"lsn":1,"lsn":2}"#.to_owned()),
        flat(r#""__lsn":1,"__lsn":2"#),
        flat(r#""__deleted":"false","__deleted":"true""#),
        format!(r#"{{"schema":null,"payload":{inner},"payload":{inner}}}"#),
    ] {
        assert_eq!(dead(decode("cdc.likes", &text)).0, "duplicate-field", "{text}");
    }
    // Two members of the record state the same LSN.
    change(decode("cdc.likes", &flat(r#""__lsn":7,"__source_lsn":7"#)));
}

#[test]
fn a_row_without_a_column_that_takes_no_null_is_dead_with_its_name() {
    for table in TABLES {
        for name in row(table).as_object().unwrap().keys().filter(|name| *name != "id") {
            let mut less = row(table);
            less.as_object_mut().unwrap().remove(name);
            let mut changed = envelope(table, "u");
            changed["after"] = less.clone();
            let nullable = matches!(table, "likes" | "follows" | "comments") && name == "created_at";
            for form in [less.to_string(), changed.to_string()] {
                let decoded = decode(&format!("cdc.{table}"), &form);
                match nullable {
                    true => drop(change(decoded)),
                    false => {
                        let (reason, detail) = dead(decoded);
                        assert_eq!(reason, "schema-mismatch", "{form}");
                        assert!(
                            detail.starts_with("SchemaMismatch") && detail.contains(&format!("{table}.{name}")),
                            "{detail}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_carries_a_row_in_a_form_of_its_own_is_no_row() {
    let data = row("likes");
    for form in [
        json!({"id": "name:cdc;lsn:1", "source": "/debezium", "specversion": "1.0", "type": "t", "data": envelope("likes", "c")}),
        json!({"id": "30000000-0000-4000-8000-000000000001", "source": "/debezium", "specversion": "1.0", "data": data}),
        json!({"source": "/debezium", "specversion": "1.0", "iodebeziumop": "c", "data": data}),
        json!({"database": "nova", "table": "likes", "type": "insert", "ts": 1, "data": data}),
        json!({"data": data, "metadata": {"operation": "insert"}}),
        json!({"ts_ms": 5, "data": data}),
        json!({"after.id": data["id"], "after.user_id": data["user_id"], "op": "c"}),
        json!({"id": data["id"]}),
        json!({"id": data["id"], "after": data}),
    ] {
        assert_eq!(dead(decode("cdc.likes", &form.to_string())).0, "unrecognised-shape", "{form}");
    }
}

proptest! {
    /// An envelope and its wrapper keep their meaning, whatever members a transform adds to the envelope or to the
    /// wrapper.
    #[test]
    fn an_envelope_decodes_like_without_the_members_beside_it(
        beside in proptest::collection::btree_map("id|ts_us|transaction|[a-z_]{3,8}|__deleted|user_id", "[a-z]{0,4}", 0..5),
        first in any::<bool>(),
        wrapper in 0..3usize,
        op in proptest::sample::select(&["c", "u", "r", "d", "t"][..]),
    ) {
        let plain = envelope("likes", op);
        let mut members: Vec<(String, Value)> = plain.as_object().unwrap().clone().into_iter().collect();
        let own: Map<String, Value> = plain.as_object().unwrap().clone();
        let beside = beside.into_iter().filter(|(name, _)| !own.contains_key(name));
        let beside: Vec<_> = beside.map(|(name, value)| (name, Value::from(value))).collect();
        match first {
            true => drop(members.splice(0..0, beside)),
            false => members.extend(beside),
        }
        let text = object(&members);
        let text = match wrapper {
            0 => text,
            1 => format!(r#"{{"schema":null,"payload":{text},"id":"x"}}"#),
            _ => format!(r#"{{"id":"x","schema":{{"type":"struct"}},"payload":{text}}}"#),
        };
        prop_assert_eq!(decode("cdc.likes", &text), decode("cdc.likes", &plain.to_string()), "{}", text);
    }
}

/// Returns the text of an object that has the members in the given order. A map of `serde_json` would not keep the
/// order of the members.
fn object(members: &[(String, Value)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", Value::from(&**name))).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn a_delete_whose_key_names_nobody_is_dead_and_says_the_way_out() {
    let nil = r#"{"id":"00000000-0000-0000-0000-000000000000"}"#;
    let deleted = json!({"id": "", "user_id": "", "post_id": "", "created_at": 0, "__deleted": "true"}).to_string();
    let envelope = envelope("likes", "d").to_string();
    for key in [nil, r#"{"id":""}"#, r#"{"schema":{},"payload":{"id":"00000000-0000-0000-0000-000000000000"}}"#, "\"\""]
    {
        for value in [Some(deleted.as_bytes()), Some(envelope.as_bytes()), None] {
            let (reason, detail) = dead(decoder().decode(&record("cdc.likes", Some(key.as_bytes()), value)));
            assert_eq!(reason, "nil-key", "{key}");
            assert!(detail.contains("REPLICA IDENTITY DEFAULT"), "{detail}");
        }
    }
    // The null value that follows a delete in an envelope has no further effect.
    let mut decoder = decoder();
    change(decoder.decode(&record("cdc.likes", Some(KEY.as_bytes()), Some(envelope.as_bytes()))));
    let marker = change(decoder.decode(&record("cdc.likes", Some(nil.as_bytes()), None)));
    assert_eq!((marker.body, marker.format), (ChangeBody::Tombstone, Format::Envelope));
    // A row that really exists may have the nil UUID as its id.
    let mut system = row("users");
    system["id"] = json!("00000000-0000-0000-0000-000000000000");
    let told = decoder.decode(&record("cdc.users", Some(nil.as_bytes()), Some(system.to_string().as_bytes())));
    assert!(matches!(told, Decoded::Change(_)), "{told:?}");
}

#[test]
fn the_read_of_an_incremental_snapshot_has_no_number() {
    for (op, snapshot, lsn) in [
        ("r", "incremental", None),
        ("r", "true", Some(5)),
        ("r", "last", Some(5)),
        ("u", "incremental", Some(5)),
        ("c", "false", Some(5)),
    ] {
        let mut value = envelope("likes", op);
        value["source"]["snapshot"] = json!(snapshot);
        let mut flat = row("likes");
        (flat["__op"], flat["__lsn"], flat["__source_snapshot"]) = (json!(op), json!(5), json!(snapshot));
        for value in [value, flat] {
            let told = change(decode("cdc.likes", &value.to_string()));
            assert_eq!((told.op, told.lsn), (if op == "r" { Op::Read } else { told.op }, lsn), "{value}");
        }
    }
}

#[test]
fn a_wrong_number_says_what_is_wrong_with_it() {
    for (lsn, part) in [
        ("-1", "got a negative integer"),
        ("18446744073709551615", "beyond 64 bits"),
        ("1.5", "not an integer"),
        ("\"5\"", "a string"),
    ] {
        let value = envelope("likes", "u").to_string().replace(r#""lsn":5"#, &format!(r#""lsn":{lsn}"#));
        let (reason, detail) = dead(decode("cdc.likes", &value));
        assert!(reason == "wrong-type" && detail.contains("source.lsn") && detail.contains(part), "{detail}");
    }
}
