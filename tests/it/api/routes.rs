//! The document and the routes say the same.

use std::collections::BTreeSet;

use nova::event::Id;
use serde_json::Value;

use super::client::{Answer, Client, Live};
use super::{edge, trending};

/// Requests that a route must answer as documented, whatever they are worth.
fn requests(live: &Live) -> Vec<(String, &'static str, &'static [u8])> {
    let json = "Content-Type: application/json\r\n".to_owned();
    let (user, admin) = (live.headers(Id::from_u128(1)), live.role(Id::from_u128(2), "admin"));
    let mut all: Vec<(String, &str, &[u8])> =
        vec![(json.clone(), "", b""), (format!("{json}Authorization: Bearer x.y.z\r\n"), "", b"")];
    for headers in [user, live.role(Id::from_u128(3), "service"), admin] {
        for query in [
            "",
            "?limit=0",
            "?limit=x&window=x&algo=x&after=x&offset=x",
            "?cursor=x&explain=2",
            "?jti=%zz",
            "?key_id=k",
        ] {
            all.push((headers.clone(), query, b""));
        }
        for body in [
            &b"{"[..],
            b"{}",
            b"[]",
            b"{\"events\":[]}",
            b"{\"user_ids\":[]}",
            b"{\"ids\":[7]}",
            b"{\"key_id\":\"gone\"}",
        ] {
            all.push((headers.clone(), "", body));
        }
        all.push((headers.replace("application/json", "text/plain"), "", b"{}"));
    }
    all
}

fn documented(operation: &Value) -> BTreeSet<u16> {
    operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect()
}

fn check(operation: &Value, what: &str, answer: &Answer) {
    assert!(documented(operation).contains(&answer.status), "{what} answers {}: {answer:?}", answer.status);
    let content = &operation["responses"][answer.status.to_string()]["content"];
    let kind = answer.header("content-type").unwrap_or_default();
    match content.as_object().and_then(|content| content.iter().next()) {
        None => assert!(answer.body.is_empty() || answer.status == 200, "{what} {answer:?}"),
        Some((documented, content)) => {
            assert_eq!(kind, documented, "{what} {answer:?}");
            let body = answer.json();
            conforms(&content["schema"], &body, what);
        }
    }
}

/// The part of JSON Schema that the document uses.
fn conforms(schema: &Value, value: &Value, what: &str) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |known: &Value| known == kind || (known == "number" && kind == "integer");
    let types = &schema["type"];
    let fits = types.is_null() || is(types) || types.as_array().is_some_and(|types| types.iter().any(is));
    assert!(fits, "{what}: {value} is not {schema}");
    if let (Some("uuid"), Some(text)) = (schema["format"].as_str(), value.as_str()) {
        assert!(text.parse::<Id>().is_ok(), "{what}: {value}");
    }
    if let (Some("date-time"), Some(text)) = (schema["format"].as_str(), value.as_str()) {
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{what}: {value}");
    }
    for member in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(member.as_str().unwrap()).is_some(), "{what} lacks {member}: {value}");
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            conforms(schema, value, what);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        conforms(&schema["items"], value, what);
    }
}

#[test]
fn every_route_answers_what_the_document_says_and_nothing_else() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    // So that lists have something in them.
    edge::world(&live);
    trending::world(&live);
    trending::until_shown(&mut live.client(), trending::post(29));
    let document = live.client().get("/openapi.json", "").json();
    assert_eq!(document["openapi"], "3.1.0");
    let (mut operations, mut seen) = (BTreeSet::new(), 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let (user, post) = (Id::from_u128(5).to_string(), Id::from_u128(6).to_string());
        let concrete = path.replace("{user_id}", &user).replace("{post}", &post);
        let concrete = concrete.replace("{table}", "posts").replace("{id}", "3");
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH"] {
            let operation = &methods[method.to_lowercase()];
            let mut client = live.client();
            if operation.is_null() {
                let answer = client.ask(method, &concrete, "", b"");
                assert_eq!(answer.status, 405, "{method} {path}");
                let allowed = answer.header("allow").unwrap().to_lowercase();
                assert!(methods.as_object().unwrap().keys().all(|known| allowed.contains(known)), "{allowed}");
                continue;
            }
            assert!(operations.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            for (headers, query, body) in requests(&live) {
                let what = format!("{method} {path}{query} {}", String::from_utf8_lossy(body));
                let answer = client.ask(method, &format!("{concrete}{query}"), &headers, body);
                check(operation, &what, &answer);
                // A refused body may end the connection.
                client = live.client();
                seen += 1;
            }
            head(&mut client, method, &concrete);
        }
    }
    assert!(operations.len() >= 25 && seen > 500, "{} operations, {seen} requests", operations.len());
    assert!(document["components"]["schemas"]["Problem"]["properties"]["retry_after"].is_object());
}

/// HEAD is GET without the body; a stream has no end, so there is none of it.
fn head(client: &mut Client, method: &str, path: &str) {
    let get = client.ask(method, path, "", b"");
    if get.header("content-type") == Some("text/event-stream") {
        return;
    }
    if method == "GET" {
        assert_eq!(client.ask("HEAD", path, "", b"").status, get.status, "{path}");
    }
}
