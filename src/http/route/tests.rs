//! Tests that each operation of the route table is in the OpenAPI document, and that a look-up by its method and path
//! finds it.

use std::collections::BTreeSet;

use super::*;
use crate::http::openapi;

fn routes() -> Routes {
    Routes::new(None).unwrap()
}

/// The path of an operation with a value in place of its parameter.
fn concrete(operation: &Operation) -> String {
    operation.path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn each_row_is_in_the_document_once_and_nothing_else_is() {
    let routes = routes();
    let document = openapi::document(&routes);
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(documented.insert((id, method.to_uppercase(), path.clone())));
        }
    }
    let rows: Vec<_> =
        routes.operations().map(|row| (row.id.to_owned(), row.method.to_string(), row.path.to_owned())).collect();
    assert_eq!(rows.len(), documented.len());
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), documented);
    let ids: BTreeSet<_> = routes.operations().map(|row| row.id).collect();
    assert_eq!(ids.len(), documented.len(), "two operations have one name");
}

#[test]
fn each_row_is_found_by_its_method_and_its_path_refuses_the_others() {
    let routes = routes();
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
    for row in routes.operations() {
        let path = concrete(row);
        let siblings: Vec<_> = routes.operations().filter(|other| other.path == row.path).collect();
        for method in &methods {
            let expected = siblings.iter().find(|other| other.method == *method).map(|other| other.id);
            match routes.find(method, &path) {
                Found::Operation(found, name) => {
                    assert_eq!(Some(found.id), expected, "{method} {path}");
                    assert_eq!(name, row.path.contains('{').then_some("7"));
                }
                Found::Methods(allow) => {
                    assert_eq!(expected, None, "{method} {path}");
                    let allowed: BTreeSet<_> = allow.split(", ").filter(|name| *name != "HEAD").collect();
                    let known: BTreeSet<_> = siblings.iter().map(|other| other.method.as_str()).collect();
                    assert_eq!(allowed, known, "{path}");
                }
                Found::Nothing => panic!("{method} {path} is not found"),
            }
        }
        let head = matches!(routes.find(&Method::HEAD, &path), Found::Operation(..));
        assert_eq!(head, siblings.iter().any(|other| other.method == Method::GET), "{path}");
    }
}

/// `docs/api.md` abbreviates the long beginnings of paths with three dots.
#[test]
fn each_path_is_in_docs_api() {
    let documented = include_str!("../../../docs/api.md");
    let said = |form: String| {
        let longer = |c: char| c.is_ascii_alphanumeric() || "/-_{".contains(c);
        documented.match_indices(&form).any(|(at, _)| !documented[at + form.len()..].starts_with(longer))
    };
    for row in routes().operations() {
        let (_, last) = row.path.rsplit_once('/').unwrap();
        let short = row.path.strip_prefix(ADMIN_PATHS).unwrap_or(last);
        let plain = row.path.strip_prefix("/api/v1").unwrap_or(row.path);
        let forms = [row.path.to_owned(), format!("…/{short}"), format!("…/{last}"), plain.to_owned()];
        assert!(forms.into_iter().any(said), "docs/api.md has no row of {}", row.path);
    }
}

#[test]
fn a_listener_has_the_rows_of_its_plane() {
    let ids = |plane| Routes::new(plane).unwrap().operations().map(|row| row.id).collect::<BTreeSet<_>>();
    let (api, admin, all) = (ids(Some(Plane::Api)), ids(Some(Plane::Admin)), ids(None));
    assert_eq!(&api | &admin, all);
    assert!(routes().operations().all(|row| row.access() != Access::Admin || !api.contains(row.id)));
    assert_eq!(&api & &admin, routes().operations().filter(|row| row.plane == Plane::Both).map(|row| row.id).collect());
}
