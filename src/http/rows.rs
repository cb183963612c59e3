//! `POST /api/v1/rows` takes plain rows of the source tables if nova has neither Kafka nor PostgreSQL as a source of
//! changes, for example on a laptop or in a test. nova makes from each row the record that a connector would send, and
//! handles the record as if a connector had sent it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::clock::{monotonic_now, rfc3339};
use crate::decode::time::cut_micros;
use crate::decode::whole::whole_number;
use crate::event::{Column, ColumnType, Id, Outcome, TIMESTAMP_MS_RANGE, Table};
use crate::schema::{Uuid, example};
use crate::source::local::Handed;

use super::answers::{self, Answer};
use super::auth::ADMIN_OR_SERVICE;
use super::body::{or_default, parse};
use super::call::UserCall;
use super::edge::{Edge, Log};
use super::error::Problem;
use super::events::told;
use super::gate::{ReadFailed, Stored};
use super::shapes::{RowTaken, RowsTaken};
use super::trace::Trace;

/// The most rows in one request.
pub const ROWS_MAX: usize = 1_000;
/// The number of rows of a seed that go into one commit.
const SEED_ROWS: usize = 5_000;
/// The longest time that a request waits for the commit of its rows.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

type Given = Vec<Map<String, Value>>;
/// Two columns that together identify a row as well as its id does, and the values of these columns.
type Pair = ([&'static str; 2], [Id; 2]);

/// The rows of a request, with the names of the source's columns. `"op": "delete"` deletes a row. A missing column has
/// a default: a new id, the present time, `published`, or the usual value for a user who has signed up. If a follow or
/// a like has no id, nova derives the id from the row's pair of ids, so the same pair always names the same row.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RowsRequest", example = example(r#"{
    "users": [{ "id": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "username": "ada" }],
    "follows": [{ "follower_id": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "following_id": "6a2f41a3-c54c-5e2c-9f0e-5b0f6f2f8f3d" }]
}"#))]
pub(super) struct Rows {
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Given>")]
    users: Given,
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Given>")]
    posts: Given,
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Given>")]
    follows: Given,
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Given>")]
    comments: Given,
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Given>")]
    likes: Given,
}

impl Rows {
    fn of(&mut self, table: Table) -> &mut Given {
        match table {
            Table::Users => &mut self.users,
            Table::Posts => &mut self.posts,
            Table::Follows => &mut self.follows,
            Table::Comments => &mut self.comments,
            Table::Likes => &mut self.likes,
        }
    }
}

pub(super) async fn take(mut call: UserCall<'_>) -> Answer {
    if !call.subject.has_role(ADMIN_OR_SERVICE) {
        return Err(Problem::InsufficientScope(ADMIN_OR_SERVICE));
    }
    let body = call.content().await?;
    let edge = Arc::clone(call.edge());
    if matches!(edge.intake.log, Log::Kafka(_)) {
        return Err(elsewhere("Kafka"));
    }
    if edge.watch.postgres.is_some() {
        return Err(elsewhere("PostgreSQL"));
    }
    let rows = parse::<Rows>(call.call.headers, &body)?;
    let taken = commit(&edge, rows, ROWS_MAX, call.call.trace).await?;
    Ok(answers::object(StatusCode::OK, &taken))
}

/// Commits the rows of a request, at most `most` rows.
pub(super) async fn commit(edge: &Arc<Edge>, rows: Rows, most: usize, trace: &Trace) -> Result<RowsTaken, Problem> {
    let Log::Local(log) = &edge.intake.log else { return Err(elsewhere("Kafka")) };
    let (looking, stops) = (Arc::clone(edge), Problem::Unavailable("stopping"));
    // The search for the row of a pair may read all rows of the table, so it runs on a thread for blocking work.
    let records = tokio::task::spawn_blocking(move || records(&looking, rows, most)).await.map_err(|_| stops)??;
    let (places, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
    if records.is_empty() {
        let detail = "send rows of users, posts, follows, comments or likes".to_owned();
        return Err(Problem::InvalidParameter { field: "rows", detail });
    }
    let (begun, count) = (monotonic_now(), records.len());
    let answer = log.hand_over(records).map_err(|_| Problem::Unavailable("ingestion is behind"))?;
    let late = Problem::Unavailable("the commit takes too long; rows may be sent again");
    let settled = tokio::time::timeout(COMMIT_WAIT, answer).await.map_err(|_| late)?;
    let settled =
        settled.map_err(|_| Problem::Unavailable("a table is halted (GET /health/ready), or the node stops"))?;
    told(&edge.intake, trace, begun, count);
    let mut outcomes = BTreeMap::<&'static str, usize>::new();
    let row = |((table, id), settled): ((Table, Id), crate::source::local::Settled)| {
        *outcomes.entry(settled.outcome.name()).or_default() += 1;
        RowTaken { table: table.name(), id: Uuid(id), outcome: settled.outcome.name() }
    };
    let rows: Vec<_> = places.into_iter().zip(settled).map(row).collect();
    Ok(RowsTaken { success: rows.iter().all(|row| row.outcome != Outcome::Dead.name()), outcomes, rows })
}

/// Commits the rows of a seed, which is an object like the body of a request, with any number of rows. An error says
/// what is wrong with the seed.
pub async fn seed(edge: &Arc<Edge>, given: Value) -> Result<(), String> {
    let Rows { users, posts, follows, comments, likes } =
        serde_json::from_value(given).map_err(|error| error.to_string())?;
    for (table, rows) in Table::ALL.into_iter().zip([users, posts, follows, comments, likes]) {
        for (number, part) in rows.chunks(SEED_ROWS).enumerate() {
            let failed = |why: String| match number {
                0 => why,
                _ => format!("{why} (counted from the row {} of {table})", number * SEED_ROWS),
            };
            let mut part_of = Rows::default();
            *part_of.of(table) = part.to_vec();
            let taken = commit(edge, part_of, SEED_ROWS, &Trace::of(&http::HeaderMap::new())).await;
            let taken = taken.map_err(|problem| failed(problem.detail()))?;
            if let Some(dead) = taken.rows.iter().find(|row| row.outcome == Outcome::Dead.name()) {
                return Err(format!("{} {} is a dead letter", dead.table, dead.id.0));
            }
        }
    }
    Ok(())
}

fn elsewhere(whose: &str) -> Problem {
    Problem::Conflict(format!("the tables come from {whose}: write the rows there"))
}

/// The table and the id of a record's row, and the record.
type Made = ((Table, Id), Handed);

fn records(edge: &Edge, rows: Rows, most: usize) -> Result<Vec<Made>, Problem> {
    let Rows { users, posts, follows, comments, likes } = rows;
    let given = [users, posts, follows, comments, likes];
    let count: usize = given.iter().map(Vec::len).sum();
    if count > most {
        return Err(Problem::TooLarge { detail: format!("{count} rows, at most {most}") });
    }
    let now_ms = edge.clock.now_ms();
    let mut made = Vec::with_capacity(count);
    for (table, rows) in Table::ALL.into_iter().zip(given) {
        for (place, row) in rows.into_iter().enumerate() {
            let wrong = |(column, detail): Wrong| Problem::InvalidParameter {
                field: table.name(),
                detail: format!("{table}[{place}].{column}: {detail}"),
            };
            let row = Plain { table, row, now_ms };
            let (id, value) = row.record(|pair| find(edge, table, pair)).map_err(wrong)?;
            made.push(((table, id), handed(&edge.intake.prefix, table, id, value, now_ms)));
        }
    }
    Ok(made)
}

fn handed(prefix: &str, table: Table, id: Id, value: Value, timestamp_ms: i64) -> Handed {
    let key = json!({ "id": id.to_string() });
    let bytes = |json: Value| Some(Bytes::from(json.to_string()));
    Handed {
        topic: Arc::from(format!("{prefix}.{table}")),
        timestamp_ms,
        key: bytes(key),
        value: bytes(value),
        headers: Vec::new(),
    }
}

/// Finds the id of a pair's live row. If no row has the id that the pair determines, the function searches all rows of
/// the table.
fn find(edge: &Edge, table: Table, (names, pair): Pair) -> Result<Option<Id>, ReadFailed> {
    let reads = &edge.control.reads;
    let own = of_pair(table, pair);
    if matches!(reads.row(table, own)?, Stored::Row(_)) {
        return Ok(Some(own));
    }
    let mut looking = Looking { names, pair: pair.map(|id| id.to_string()), line: Vec::new(), found: None };
    reads.rows(table, u64::MAX, &mut looking)?;
    Ok(looking.found)
}

/// A `Write` that takes rows as JSON lines and keeps the id of the row with the wanted pair.
struct Looking {
    names: [&'static str; 2],
    pair: [String; 2],
    line: Vec<u8>,
    found: Option<Id>,
}

impl Write for Looking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let row: Value = serde_json::from_slice(&self.line).unwrap_or_default();
                self.line.clear();
                if self.names.iter().zip(&self.pair).all(|(name, id)| row[*name] == **id) {
                    self.found = row["id"].as_str().and_then(|id| Id::parse(id.as_bytes()).ok());
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The name of a column, and the problem with the column's value.
type Wrong = (String, String);

/// The id of a row that nova derives from the row's pair of ids.
fn of_pair(table: Table, [from, to]: [Id; 2]) -> Id {
    Id::from_u128(xxh3_128(format!("{table}\0{from}\0{to}").as_bytes()))
}

/// A row in the form in which a request sends it.
struct Plain {
    table: Table,
    row: Map<String, Value>,
    now_ms: i64,
}

impl Plain {
    /// The key and the value of the record, in the flat form that Debezium's `ExtractNewRecordState` writes in rewrite
    /// mode. `find` returns the id of a pair's live row.
    fn record(mut self, find: impl FnOnce(Pair) -> Result<Option<Id>, ReadFailed>) -> Result<(Id, Value), Wrong> {
        let deleted = match self.row.remove("op") {
            None | Some(Value::Null) => false,
            Some(Value::String(op)) if op == "delete" => true,
            Some(Value::String(op)) if op == "upsert" => false,
            Some(_) => return Err(("op".to_owned(), "expected delete or upsert".to_owned())),
        };
        let id = match self.row.remove("id") {
            Some(id) => uuid("id", &id)?,
            None => match self.pair()? {
                Some(pair) if deleted => {
                    let unread = |error: ReadFailed| ("id".to_owned(), format!("cannot be looked up: {error}"));
                    find(pair).map_err(unread)?.unwrap_or(of_pair(self.table, pair.1))
                }
                Some((_, pair)) => of_pair(self.table, pair),
                None if deleted => return Err(("id".to_owned(), "is left out; a delete names its row".to_owned())),
                None => Id(uuid::Uuid::now_v7().into_bytes()),
            },
        };
        let mut value = Map::new();
        for column in self.table.columns() {
            let cell = match self.row.remove(column.name) {
                _ if column.name == "id" => id.to_string().into(),
                Some(given) => cell(column, given)?,
                None => self.default(column, id, deleted)?,
            };
            value.insert(column.name.to_owned(), cell);
        }
        // nova keeps unknown columns of the row by the rules for unknown columns from a connector.
        value.append(&mut self.row);
        let op = if deleted { "d" } else { "u" };
        value.insert("__deleted".to_owned(), deleted.to_string().into());
        value.insert("__op".to_owned(), op.into());
        value.insert("__source_ts_ms".to_owned(), self.now_ms.into());
        Ok((id, value.into()))
    }

    /// The pair of ids that identifies a follow or a like as well as its own id does.
    fn pair(&self) -> Result<Option<Pair>, Wrong> {
        let names = match self.table {
            Table::Follows => ["follower_id", "following_id"],
            Table::Likes => ["user_id", "post_id"],
            Table::Users | Table::Posts | Table::Comments => return Ok(None),
        };
        match names.map(|name| self.row.get(name)) {
            [Some(from), Some(to)] => Ok(Some((names, [uuid(names[0], from)?, uuid(names[1], to)?]))),
            _ => Ok(None),
        }
    }

    fn default(&self, column: &Column, id: Id, deleted: bool) -> Result<Value, Wrong> {
        let now_us = self.now_ms.saturating_mul(1_000);
        Ok(match (column.name, column.kind) {
            ("created_at" | "updated_at", ColumnType::TimestampTz) => rfc3339(now_us).into(),
            ("created_at" | "updated_at", _) => now_us.into(),
            ("is_active" | "email_verified", _) => true.into(),
            ("status", _) => "published".into(),
            ("username", _) => format!("user-{}", &id.to_string()[..8]).into(),
            ("image_key" | "content", _) => "".into(),
            _ if column.nullable => Value::Null,
            _ if deleted => Id::NIL.to_string().into(),
            (name, _) => return Err((name.to_owned(), "is left out, and has no default".to_owned())),
        })
    }
}

fn uuid(name: &str, value: &Value) -> Result<Id, Wrong> {
    let expected = || (name.to_owned(), "expected a UUID".to_owned());
    value.as_str().and_then(|text| Id::parse(text.as_bytes()).ok()).ok_or_else(expected)
}

/// The value of a column in Debezium's form.
fn cell(column: &Column, given: Value) -> Result<Value, Wrong> {
    let expected = |what: &str| Err((column.name.to_owned(), format!("expected {what}")));
    match (column.kind, given) {
        (_, Value::Null) if column.nullable => Ok(Value::Null),
        (_, Value::Null) => expected("a value: the column is NOT NULL"),
        (ColumnType::Uuid, given) => uuid(column.name, &given).map(|id| id.to_string().into()),
        (ColumnType::Text, given @ Value::String(_)) | (ColumnType::Bool, given @ Value::Bool(_)) => Ok(given),
        (ColumnType::Text, _) => expected("a string"),
        (ColumnType::Bool, _) => expected("true or false"),
        (ColumnType::Json, given) => Ok(given.to_string().into()),
        (ColumnType::TimestampTz | ColumnType::Timestamp, given) => match time_us(&given) {
            Some(micros) if column.kind == ColumnType::TimestampTz => Ok(rfc3339(micros).into()),
            Some(micros) => Ok(micros.into()),
            None => expected("a time: RFC 3339, such as 2026-11-24T06:00:00Z, or epoch milliseconds from 1970 to 2100"),
        },
    }
}

/// The epoch microseconds of a time in a request's row. If the time is a text, it is in RFC 3339, and nova removes
/// digits that are finer than a microsecond. If the time is a number, it is in whole epoch milliseconds, in any JSON
/// notation.
fn time_us(given: &Value) -> Option<i64> {
    match given {
        Value::String(text) => cut_micros(text),
        Value::Number(number) => {
            let millis = whole_number(&number.to_string()).filter(|millis| TIMESTAMP_MS_RANGE.contains(millis))?;
            Some(millis * 1_000)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_row_is_rfc_3339_or_whole_epoch_milliseconds() {
        let read = |json: &str| time_us(&serde_json::from_str(json).unwrap());
        let micros = Some(1_795_500_000_000_000);
        for json in [
            "1795500000000",
            "1795500000000.0",
            "1.7955e12",
            "\"2026-11-24T06:00:00Z\"",
            "\"2026-11-24T08:00:00.0000000001+02:00\"",
        ] {
            assert_eq!(read(json), micros, "{json}");
        }
        assert_eq!((read("0"), read("\"infinity\"")), (Some(0), Some(i64::MAX)));
        for json in ["-1", "1795500000000.5", "1795500000000000", "1e300", "\"1795500000000\"", "true", "[]", "null"] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
