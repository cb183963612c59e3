//! `/openapi.json` (OpenAPI 3.1), made from the route table and from the types of requests and answers.

mod headers;
mod schemas;

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::route::{Access, Content, Kind, Operation, Parameter, Routes, Tag};

use self::schemas::Schemas;

/// The status with which hyper, and not nova, answers a request whose head is too long.
const HEAD_TOO_LONG: u16 = 431;
/// The media type of problems (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// Makes the OpenAPI document of a listener's routes.
pub(super) fn document(routes: &Routes) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Schemas::default());
    for operation in routes.operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described(operation, &mut schemas);
    }
    let problems = problems(routes, &mut schemas);
    let used = |tag: &Tag| routes.operations().any(|operation| operation.tag == *tag);
    let tags = Tag::ALL.into_iter().filter(used).map(|tag| {
        let (name, help) = tag.told();
        json!({ "name": name, "description": help })
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "nova",
            "description": "Feeds, trending posts, suggestions and client events. Every operation may be asked often: \
                            errors with Retry-After say when again.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "Where this document is from." }],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "A JWT of the configured issuer, in Authorization: Bearer.",
            } },
            "headers": headers::components(),
            "responses": problems,
            "schemas": schemas.components(),
        },
    })
}

fn described(operation: &Operation, schemas: &mut Schemas) -> Value {
    let (tag, _) = operation.tag.told();
    let mut out = json!({ "operationId": operation.id, "summary": operation.summary, "tags": [tag] });
    let placed = operation.path.split('{').nth(1).and_then(|rest| rest.split('}').next());
    let placed = placed.map(|name| parameter(name, "path", operation.path_kind, "Which."));
    let given = |parameters: &[Parameter], place| -> Vec<Value> {
        parameters.iter().map(|one| parameter(one.name, place, one.kind, one.help)).collect()
    };
    let mut parameters: Vec<_> = placed.into_iter().collect();
    parameters.extend(given(&operation.query, "query"));
    parameters.extend(given(&operation.headers, "header"));
    if operation.etag {
        let help = "The ETag of an answer that the caller has.";
        parameters.push(parameter("If-None-Match", "header", Kind::Line, help));
    }
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    if let Some(form) = operation.body {
        let schema = schemas.request(form);
        out["requestBody"] = json!({
            "required": operation.body_required, "content": { "application/json": { "schema": schema } },
        });
    }
    if operation.access() != Access::Anyone {
        out["security"] = json!([{ "token": [] }]);
    }
    out["responses"] = responses(operation, schemas);
    out
}

fn parameter(name: &str, place: &str, kind: Kind, help: &str) -> Value {
    json!({
        "name": name, "in": place, "required": place == "path", "description": help, "schema": schema(kind),
    })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Line => json!({ "type": "string" }),
        Kind::Cursor(max) => json!({ "type": "string", "maxLength": max, "pattern": "^[A-Za-z0-9_-]*$" }),
        Kind::Text { min, max } => json!({ "type": "string", "minLength": min, "maxLength": max }),
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Date => {
            json!({ "anyOf": [{ "type": "string", "format": "date" }, { "type": "string", "maxLength": 0 }] })
        }
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
        Kind::Flag => json!({ "type": "integer", "enum": [0, 1] }),
    }
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut out = Map::new();
    for status in operation.status {
        let mut answer = json!({ "description": reason(*status), "headers": headers::of_answer(operation, *status) });
        if let Some(content) = content(operation, schemas) {
            answer["content"] = content;
        }
        out.insert(status.to_string(), answer);
    }
    if operation.etag {
        let answer = json!({ "description": reason(304), "headers": headers::of_answer(operation, 304) });
        out.insert("304".to_owned(), answer);
    }
    for status in operation.problems() {
        let name = format!("#/components/responses/{}", named(status));
        out.insert(status.to_string(), json!({ "$ref": name }));
    }
    let too_long = format!("#/components/responses/{}", named(HEAD_TOO_LONG));
    out.insert(HEAD_TOO_LONG.to_string(), json!({ "$ref": too_long }));
    Value::Object(out)
}

/// The answers with problems, as components that all operations share.
fn problems(routes: &Routes, schemas: &mut Schemas) -> Value {
    let statuses: BTreeSet<u16> = routes.operations().flat_map(Operation::problems).collect();
    let each = statuses.into_iter().map(|status| {
        let content = json!({ PROBLEM: { "schema": schemas.problem() } });
        let headers = headers::of_problem(status);
        (named(status), json!({ "description": reason(status), "headers": headers, "content": content }))
    });
    // nova does not read a head that is too long, so the answer belongs to no operation.
    let too_long = json!({ "description": "The head is longer than 16 KiB, or has more than 64 fields." });
    Value::Object(each.chain([(named(HEAD_TOO_LONG), too_long)]).collect())
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

/// The reason phrase as a name, such as `BadRequest`.
fn named(status: u16) -> String {
    reason(status).chars().filter(char::is_ascii_alphanumeric).collect()
}

fn content(operation: &Operation, schemas: &mut Schemas) -> Option<Value> {
    match operation.content {
        Content::Nothing => None,
        Content::Json(form) => {
            let schema = schemas.answer(form);
            let mut answer = json!({ "schema": schema });
            // Some tools that read the OpenAPI document look for an example only at the answer.
            if let Some(example) = schemas.example(&answer["schema"]) {
                answer["example"] = example;
            }
            Some(json!({ "application/json": answer }))
        }
        Content::Text(kinds) => {
            let texts = kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": { "type": "string" } })));
            Some(Value::Object(texts.collect()))
        }
        Content::Events(events) => {
            let data: Map<_, _> =
                events.iter().map(|(name, form)| ((*name).to_owned(), schemas.answer(*form))).collect();
            let names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
            let help = format!(
                "Server-sent events (WHATWG HTML, 9.2), without an end: {}. The data of each is JSON in the schema that \
                 x-events names; a comment keeps the connection open.",
                names.join(", ")
            );
            let schema = json!({ "type": "string", "description": help });
            Some(json!({ "text/event-stream": { "schema": schema, "x-events": data } }))
        }
    }
}
