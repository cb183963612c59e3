//! Tests that the OpenAPI document and the routes agree.

use std::collections::BTreeSet;

use nova::event::Id;
use serde_json::Value;

use super::client::{Answer, Client, Live};
use super::{edge, trending};

/// Returns requests that each route must answer as documented, whether they succeed or fail.
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

/// The OpenAPI document, in which references can be resolved.
struct Document(Value);

impl Document {
    fn followed<'d>(&'d self, value: &'d Value) -> &'d Value {
        match value["$ref"].as_str() {
            Some(name) => {
                let found = self.0.pointer(name.strip_prefix('#').unwrap());
                found.unwrap_or_else(|| panic!("{name} is nowhere"))
            }
            None => value,
        }
    }

    /// Checks that an answer of an operation has a documented status, documented headers and a documented body.
    fn check(&self, operation: &Value, what: &str, answer: &Answer) {
        let documented = &operation["responses"][answer.status.to_string()];
        assert!(!documented.is_null(), "{what} answers {}: {answer:?}", answer.status);
        let documented = self.followed(documented);
        for (name, header) in documented["headers"].as_object().into_iter().flatten() {
            let header = self.followed(header);
            match answer.header(&name.to_lowercase()) {
                Some(value) if header["schema"]["type"] == "integer" => {
                    assert!(value.parse::<u64>().is_ok(), "{value}")
                }
                Some(_) => {}
                None => assert!(header["required"] == false, "{what} has no {name}: {answer:?}"),
            }
        }
        let kind = answer.header("content-type").unwrap_or_default();
        let Some(content) = documented["content"].as_object() else {
            return assert!(answer.body.is_empty(), "{what} {answer:?}");
        };
        let content = content.get(kind).unwrap_or_else(|| panic!("{what} is {kind}: {answer:?}"));
        if kind.contains("json") && kind != "application/x-ndjson" {
            self.conforms(&content["schema"], &answer.json(), what);
        }
    }

    /// Checks a value by the part of JSON Schema (2020-12) that the document uses; a keyword of JSON Schema outside of
    /// this part is an error. A member that the schema does not describe is also an error, unless the schema allows
    /// further members.
    fn conforms(&self, schema: &Value, value: &Value, what: &str) {
        let schema = self.followed(schema);
        let fits = |kind: &str| match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other} is no type"),
        };
        let length =
            value.as_str().map_or(0, |text| text.chars().count()).max(value.as_array().map_or(0, Vec::len)) as u64;
        for (keyword, said) in schema.as_object().unwrap() {
            let fine = match keyword.as_str() {
                "description" | "examples" | "default" => true,
                "pattern" => true,
                "type" => {
                    said.as_str().is_some_and(fits)
                        || said.as_array().is_some_and(|all| all.iter().any(|kind| fits(kind.as_str().unwrap())))
                }
                "enum" => said.as_array().unwrap().contains(value),
                "minimum" => value.is_null() || value.as_f64().unwrap() >= said.as_f64().unwrap(),
                "maximum" => value.is_null() || value.as_f64().unwrap() <= said.as_f64().unwrap(),
                "minLength" | "minItems" => value.is_null() || length >= said.as_u64().unwrap(),
                "maxLength" | "maxItems" => value.is_null() || length <= said.as_u64().unwrap(),
                "format" => value.as_str().is_none_or(|text| match said.as_str().unwrap() {
                    "uuid" => text.parse::<Id>().is_ok(),
                    "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
                    "date" => text.parse::<jiff::civil::Date>().is_ok(),
                    other => panic!("{other} is no format"),
                }),
                "anyOf" => said.as_array().unwrap().iter().any(|one| self.fits(one, value)),
                "required" => said.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
                "properties" | "additionalProperties" => true,
                "items" => {
                    value.as_array().into_iter().flatten().for_each(|one| self.conforms(said, one, what));
                    true
                }
                "prefixItems" => {
                    let each = said.as_array().unwrap().iter().zip(value.as_array().unwrap());
                    each.for_each(|(schema, one)| self.conforms(schema, one, what));
                    true
                }
                other => panic!("{what}: {other} is not looked at"),
            };
            assert!(fine, "{what}: {keyword} {said} does not fit {value}");
        }
        if !value.is_object() {
            return;
        }
        for (name, value) in value.as_object().unwrap() {
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null) if schema.get("type").is_none() => {}
                (Value::Null, Value::Null | Value::Bool(false)) => panic!("{what}: {name} is not described: {schema}"),
                (Value::Null, Value::Bool(true)) => {}
                (Value::Null, others) => self.conforms(others, value, what),
                (member, _) => self.conforms(member, value, what),
            }
        }
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let checked = std::panic::AssertUnwindSafe(|| self.conforms(schema, value, ""));
        std::panic::catch_unwind(checked).is_ok()
    }

    /// Collects every schema of the document with its place in the document.
    fn schemas<'d>(value: &'d Value, at: String, out: &mut Vec<(String, &'d Value)>) {
        for (name, inner) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            if name == "schema" {
                out.push((at.clone(), inner));
            }
            // An example is not a schema.
            if !["examples", "example"].contains(&name.as_str()) {
                Document::schemas(inner, at, out);
            }
        }
        for (place, inner) in value.as_array().into_iter().flatten().enumerate() {
            Document::schemas(inner, format!("{at}/{place}"), out);
        }
    }
}

fn arrays_have_items(schema: &Value, what: &str) {
    let kinds = &schema["type"];
    if kinds == "array" || kinds.as_array().is_some_and(|kinds| kinds.contains(&"array".into())) {
        assert!(schema["items"].is_object() || schema["prefixItems"].is_array(), "{what}: {schema}");
    }
    let inner =
        schema.as_object().into_iter().flatten().filter(|(name, _)| *name != "examples").map(|(_, inner)| inner);
    inner.chain(schema.as_array().into_iter().flatten()).for_each(|inner| arrays_have_items(inner, what));
}

#[test]
fn each_object_is_a_component_each_array_has_items_and_each_example_fits() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    let document = Document(live.client().get("/openapi.json", "").json());
    let mut inline = Vec::new();
    Document::schemas(&document.0["paths"], String::new(), &mut inline);
    assert!(inline.len() > 60, "{}", inline.len());
    for (at, schema) in &inline {
        let plain = |schema: &Value| schema["type"].as_str().is_some_and(|kind| !["object", "array"].contains(&kind));
        let either = schema["anyOf"].as_array().is_some_and(|kinds| kinds.iter().all(plain));
        assert!(schema["$ref"].is_string() || plain(schema) || either, "{at}");
        document.followed(schema);
    }
    let components = document.0["components"]["schemas"].as_object().unwrap();
    let mut examples = 0;
    for (name, schema) in components {
        arrays_have_items(schema, name);
        for example in schema["examples"].as_array().into_iter().flatten() {
            document.conforms(schema, example, name);
            examples += 1;
        }
    }
    let bodies = inline.iter().filter(|(at, _)| at.contains("application~1json") || at.contains("application/json"));
    for (at, schema) in bodies {
        assert!(document.followed(schema)["examples"][0].is_object(), "{at} has no example");
    }
    assert!(examples >= 25, "{examples}");
}

#[test]
fn every_route_answers_what_the_document_says_and_nothing_else() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    // With the users and posts of the test's world, no answered list is empty.
    edge::world(&live);
    trending::world(&live);
    trending::until_shown(&mut live.client(), trending::post(29));
    let document = Document(live.client().get("/openapi.json", "").json());
    assert_eq!(document.0["openapi"], "3.1.0");
    let (mut operations, mut seen) = (BTreeSet::new(), 0);
    for (path, methods) in document.0["paths"].as_object().unwrap() {
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
                document.check(operation, &what, &answer);
                // nova may close the connection after it has refused a body.
                client = live.client();
                seen += 1;
            }
            head(&mut client, method, &concrete);
        }
    }
    assert!(operations.len() >= 25 && seen > 500, "{} operations, {seen} requests", operations.len());
}

#[test]
fn an_optional_member_that_is_null_is_one_that_is_left_out_in_the_body_of_every_route() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    let admin = live.role(Id::from_u128(2), "admin");
    let document = Document(live.client().get("/openapi.json", "").json());
    let mut members = 0;
    for (path, methods) in document.0["paths"].as_object().unwrap() {
        let concrete = path.replace("{post}", &Id::from_u128(6).to_string()).replace("{table}", "posts");
        for (method, operation) in methods.as_object().unwrap() {
            let schema = document.followed(&operation["requestBody"]["content"]["application/json"]["schema"]);
            let ask = |body: &Value| {
                let (method, body) = (method.to_uppercase(), body.to_string());
                let answer = live.client().ask(&method, &concrete, &admin, body.as_bytes());
                let detail = if answer.status < 400 { Value::Null } else { answer.json()["detail"].clone() };
                (answer.status, detail)
            };
            for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                let required = schema["required"].as_array();
                if required.is_some_and(|names| names.contains(&name.as_str().into())) {
                    continue;
                }
                let what = format!("{method} {path}: {name}");
                document.conforms(member, &Value::Null, &what);
                let (mut without, mut null) = (schema["examples"][0].clone(), schema["examples"][0].clone());
                without.as_object_mut().unwrap().remove(name);
                null[name] = Value::Null;
                assert_eq!(ask(&null), ask(&without), "{what}");
                members += 1;
            }
        }
    }
    assert!(members >= 18, "{members}");
}

/// HEAD gives the answer of GET without its body. The stream of events has no end, so a HEAD request does not open it.
fn head(client: &mut Client, method: &str, path: &str) {
    let get = client.ask(method, path, "", b"");
    if get.header("content-type") == Some("text/event-stream") {
        return;
    }
    if method == "GET" {
        assert_eq!(client.ask("HEAD", path, "", b"").status, get.status, "{path}");
    }
}
