//! `/openapi.json` (OpenAPI 3.1), made from the route table.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::decode::client::{APP_VER_MAX_CHARS, DEVICE_MAX_CHARS};
use crate::event::Action;

use super::events::EVENTS_MAX;
use super::route::{Access, Kind, Operation, Parameter, Route, Routes};

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
        let needed = needed(operation.route);
        let schema = json!({ "type": "object", "required": needed, "properties": members });
        out["requestBody"] =
            json!({ "required": !needed.is_empty(), "content": { "application/json": { "schema": schema } } });
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
        Kind::Flag => json!({ "type": "integer", "enum": [0, 1] }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Uuids => json!({ "type": "array", "minItems": 1, "items": uuid() }),
        Kind::Integers => {
            json!({ "type": "array", "minItems": 1, "maxItems": 1_000, "items": { "type": "integer", "minimum": 0 } })
        }
        Kind::Events => json!({ "type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": event() }),
    }
}

/// Members of a body that must be there.
fn needed(route: Route) -> &'static [&'static str] {
    match route {
        Route::Events => &["events"],
        Route::DlqReplay => &["ids"],
        Route::DlqDiscard => &["id", "reason"],
        Route::CacheInvalidate => &["user_ids"],
        Route::Override => &["action"],
        Route::Backup => &["name"],
        _ => &[],
    }
}

fn event() -> Value {
    let text = |max: usize| json!({ "type": ["string", "null"], "maxLength": max });
    let maybe_uuid = json!({ "type": ["string", "null"], "format": "uuid" });
    let actions = Action::ALL.map(Action::name);
    json!({
        "type": "object",
        "required": ["event_time", "post_id", "action"],
        "properties": {
            "event_id": maybe_uuid, "user_id": maybe_uuid, "post_id": uuid(), "author_id": maybe_uuid,
            "event_time": { "type": ["string", "integer"], "description": "RFC 3339, or epoch milliseconds." },
            "action": { "type": "string", "enum": actions },
            "dwell_ms": { "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX },
            "device": text(DEVICE_MAX_CHARS), "app_ver": text(APP_VER_MAX_CHARS),
        },
    })
}

fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// The schema of a member of an answer; a test holds answers to it.
fn member(route: Route, name: &str) -> Value {
    let (list, time) =
        (|items: Value| json!({ "type": "array", "items": items }), json!({ "type": "string", "format": "date-time" }));
    match (route, name) {
        (Route::Feed | Route::ExplainFeed, "posts") => list(uuid()),
        (Route::Trending, "posts") => list(trending_post()),
        (Route::Suggestions, "users") => list(suggested()),
        (Route::CacheInvalidate, "users") => json!({ "type": "integer" }),
        (Route::Audit, "entries") => list(json!({ "type": "object" })),
        (_, "success" | "has_more" | "cache_hit" | "newer" | "enabled") => json!({ "type": "boolean" }),
        (
            _,
            "total" | "total_count" | "total_posts" | "total_suggestions" | "received" | "accepted" | "deduped"
            | "rejected" | "count" | "impressions" | "clicks" | "entries" | "epoch" | "callers",
        ) => json!({ "type": "integer" }),
        (Route::DlqLetter, "id") => json!({ "type": "integer" }),
        (_, "latency_ms" | "ctr" | "hit_rate" | "suggestion_conversion") => json!({ "type": "number" }),
        (_, "dwell_p50_ms" | "event_visible_p95_ms") => json!({ "type": ["number", "null"] }),
        (_, "as_of" | "generated_at") => time,
        (_, "before" | "expires_at") => json!({ "type": ["string", "null"], "format": "date-time" }),
        (_, "date") => json!({ "type": "string", "format": "date" }),
        (_, "cursor") => json!({ "type": ["string", "null"] }),
        (_, "post_id") => uuid(),
        (_, "degraded" | "reasons") => list(json!({ "type": "string" })),
        (_, "results" | "revocations" | "letters" | "tables" | "partitions" | "overrides" | "classes" | "keys") => {
            list(json!({ "type": "object" }))
        }
        (_, "health" | "info" | "paths") => json!({ "type": "object" }),
        (Route::DlqLetter, "value") => json!({ "type": ["object", "null"] }),
        _ => json!({ "type": "string" }),
    }
}

fn trending_post() -> Value {
    let (whole, number) = (json!({ "type": "integer" }), json!({ "type": "number" }));
    object([
        ("post_id", uuid()),
        ("author_id", uuid()),
        ("rank", whole.clone()),
        ("score", number.clone()),
        ("views", whole.clone()),
        ("likes", whole.clone()),
        ("comments", whole.clone()),
        ("shares", whole.clone()),
        ("impressions", whole),
        ("engagement_rate", number),
    ])
}

fn suggested() -> Value {
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "number" }));
    object([
        ("user_id", uuid()),
        ("username", text.clone()),
        ("score", number.clone()),
        ("affinity_score", number),
        ("mutual_followers", json!({ "type": "integer" })),
        ("reason", text),
        ("evidence", json!({ "type": "array", "items": uuid() })),
    ])
}

/// An object that has all of these.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let names: Vec<_> = members.iter().map(|(name, _)| (*name).to_owned()).collect();
    let members: Map<_, _> = members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "required": names, "properties": members })
}

fn answer(operation: &Operation, status: u16) -> Value {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut out = json!({ "description": reason.unwrap_or_default() });
    let own = operation.statuses.first() == Some(&status) || (status == 503 && operation.class.is_none());
    if own && !operation.members.is_empty() {
        let members: Map<_, _> =
            operation.members.iter().map(|name| ((*name).to_owned(), member(operation.route, name))).collect();
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
