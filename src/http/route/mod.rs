//! The route table has a row for each operation: its access rule, its quota, its handler, its request and its answers.
//! The dispatch of requests, `/openapi.json` and the tests of all operations use the rows of the route table.

mod admin;
mod operation;
mod parameters;
mod public;
mod testing;
#[cfg(test)]
mod tests;

use http::Method;
use matchit::Router;

pub(super) use self::operation::{Access, Content, Form, Handler, Kind, Operation, Parameter, Plane, Tag};
pub(super) use self::public::{METRICS, OVERVIEW_STREAM, STREAM};

/// The prefix of the paths of all operations for the role admin.
pub(super) const ADMIN_PATHS: &str = "/api/v1/admin/";

/// One path and its operations.
struct Path {
    operations: Vec<Operation>,
    /// The methods of the path, as the header `Allow` lists them.
    methods: &'static str,
}

/// The route table, prepared for look-ups.
pub(super) struct Routes {
    router: Router<usize>,
    paths: Vec<Path>,
}

/// The result of a look-up in the route table by path and method.
pub(super) enum Found<'r, 'p> {
    /// The operation, and the part of the path that is its parameter.
    Operation(&'r Operation, Option<&'p str>),
    /// The path exists, but not with the requested method.
    Methods(&'static str),
    Nothing,
}

impl Routes {
    /// The operations of a listener: all operations, or only the operations of the API or of the admin listener.
    pub fn new(plane: Option<Plane>) -> Result<Routes, matchit::InsertError> {
        let here = |operation: &Operation| plane.is_none_or(|plane| [plane, Plane::Both].contains(&operation.plane));
        Routes::of(public::operations().into_iter().chain(admin::operations()).filter(here))
    }

    /// All operations, including the operations that only a server for tests has.
    pub fn testing() -> Result<Routes, matchit::InsertError> {
        Routes::of(public::operations().into_iter().chain(admin::operations()).chain(testing::operations()))
    }

    fn of(operations: impl Iterator<Item = Operation>) -> Result<Routes, matchit::InsertError> {
        let (mut router, mut paths) = (Router::new(), Vec::<Path>::new());
        for operation in operations {
            match paths.iter_mut().find(|path| path.operations[0].path == operation.path) {
                Some(path) => path.operations.push(operation),
                None => {
                    router.insert(operation.path, paths.len())?;
                    paths.push(Path { operations: vec![operation], methods: "" });
                }
            }
        }
        for path in &mut paths {
            path.methods = methods(&path.operations);
        }
        Ok(Routes { router, paths })
    }

    pub fn find<'p>(&self, method: &Method, path: &'p str) -> Found<'_, 'p> {
        let Ok(matched) = self.router.at(path) else { return Found::Nothing };
        let path = &self.paths[*matched.value];
        // nova answers HEAD as it answers GET, but without the body.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match path.operations.iter().find(|operation| operation.method == *method) {
            Some(operation) => Found::Operation(operation, matched.params.iter().next().map(|(_, value)| value)),
            None => Found::Methods(path.methods),
        }
    }

    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.paths.iter().flat_map(|path| &path.operations)
    }
}

fn methods(operations: &[Operation]) -> &'static str {
    let has = |method: Method| operations.iter().any(|operation| operation.method == method);
    if has(Method::PUT) {
        return if has(Method::GET) { "GET, HEAD, PUT" } else { "PUT, DELETE" };
    }
    if operations.iter().any(|operation| operation.method == Method::GET && operation.streams()) {
        // A path with a stream does not allow HEAD, because nova does not know the status before it makes the answer.
        return "GET";
    }
    match (has(Method::GET), has(Method::POST), has(Method::DELETE)) {
        (true, true, true) => "GET, HEAD, POST, DELETE",
        (true, true, false) => "GET, HEAD, POST",
        (true, false, true) => "GET, HEAD, DELETE",
        (true, false, false) => "GET, HEAD",
        (false, true, true) => "POST, DELETE",
        (false, true, false) => "POST",
        _ => "DELETE",
    }
}
