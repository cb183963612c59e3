//! `/openapi.json` (OpenAPI 3.1), made from the route table.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::route::{Access, Kind, Operation, Parameter, Routes};

/// The document of a listener's routes.
pub(super) fn document(routes: &Routes) -> Value {
    let mut paths = Map::new();
    for operation in routes.operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "nova", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0" } },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "schemas": { "Problem": problem() },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let mut out =
        json!({ "summary": operation.summary, "operationId": format!("{:?}{}", operation.route, number(operation)) });
    let mut parameters: Vec<_> = operation.query.iter().map(|one| parameter(one, "query", false)).collect();
    let placed = operation.path.split('{').nth(1).and_then(|rest| rest.split('}').next());
    parameters
        .extend(placed.map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": schema(operation.path_kind) }),
        ));
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    if !operation.body.is_empty() {
        let members: Map<_, _> = operation
            .body
            .iter()
            .map(|one| {
                let mut schema = schema(one.kind);
                schema["description"] = one.help.into();
                (one.name.to_owned(), schema)
            })
            .collect();
        out["requestBody"] =
            json!({ "content": { "application/json": { "schema": { "type": "object", "properties": members } } } });
    }
    if operation.access != Access::Anyone {
        out["security"] = json!([{ "token": [] }]);
    }
    let answers = operation.all_statuses().into_iter().map(|status| (status.to_string(), answer(operation, status)));
    out["responses"] = Value::Object(answers.collect());
    out
}

/// Paths with the same handler have operations with different ids.
fn number(operation: &Operation) -> String {
    let depth = operation.path.matches('/').count();
    format!("{depth}{}", operation.path.len())
}

fn parameter(parameter: &Parameter, place: &str, required: bool) -> Value {
    json!({
        "name": parameter.name, "in": place, "required": required, "description": parameter.help,
        "schema": schema(parameter.kind),
    })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
        Kind::Flag => json!({ "enum": [0, 1, false, true] }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Integers => json!({ "type": "array", "items": { "type": "integer" } }),
        Kind::Objects => json!({ "type": "array", "items": { "type": "object" } }),
    }
}

fn answer(operation: &Operation, status: u16) -> Value {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut out = json!({ "description": reason.unwrap_or_default() });
    let own = operation.statuses.first() == Some(&status) || (status == 503 && operation.class.is_none());
    if own && !operation.members.is_empty() {
        let members: Map<_, _> = operation.members.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let schema = json!({ "type": "object", "required": operation.members, "properties": members });
        out["content"] = json!({ "application/json": { "schema": schema } });
    } else if status >= 400 {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        out["content"] = json!({ "application/problem+json": { "schema": schema } });
    }
    out
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "error", "message", "request_id"],
        "properties": {
            "type": text, "title": text, "status": { "type": "integer" }, "detail": text, "instance": text,
            "error": text, "message": text, "field": maybe("string"), "retry_after": maybe("integer"),
            "request_id": text,
        },
    })
}
