//! The route table: what there is, who may, what it costs, what it answers. Dispatch, `/openapi.json` and the test that
//! walks every route read the same rows.

mod table;

use http::Method;
use matchit::Router;

use super::limit::Class;

/// What handles a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Live,
    Ready,
    Metrics,
    Jwks,
    OpenApi,
    Events,
    Feed,
    Invalidate,
    Trending,
    TrendingStream,
    FeedMetrics,
    Suggestions,
    Dismiss,
    Revocations,
    Revoke,
    Unrevoke,
    Audit,
    Dlq,
    DlqLetter,
    DlqReplay,
    DlqDiscard,
    Cdc,
    CdcPause,
    CdcResume,
    CdcEpoch,
    CdcSeek,
    CdcResnapshot,
    CacheInvalidate,
    ExplainFeed,
    Limits,
    Backup,
    Overrides,
    Override,
    Unoverride,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Anyone,
    /// Whoever has a valid token.
    User,
    /// Whose token has the role admin.
    Admin,
}

/// The path of the route that answers with a stream.
pub(super) const STREAM: &str = "/api/v1/feed/trending/stream";
/// The path of the route that answers by `Accept`.
pub(super) const METRICS: &str = "/metrics";

pub(super) const ADMIN: &[&str] = &["admin"];
pub(super) const ADMIN_OR_SERVICE: &[&str] = &["admin", "service"];

/// Where a route is when the admin listener is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    Api,
    Admin,
    Both,
}

/// A query or path parameter: its name, its JSON Schema type or its allowed values, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Uuid,
    Integer {
        min: u64,
        max: u64,
    },
    OneOf(&'static [&'static str]),
    /// Of a query: 0 or 1.
    Flag,
    /// Of a body.
    Boolean,
    Uuids,
    Integers,
    Events,
}

/// One method of one path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub route: Route,
    pub summary: &'static str,
    pub access: Access,
    pub class: Option<Class>,
    pub plane: Plane,
    pub path_kind: Kind,
    pub query: Vec<Parameter>,
    /// Members of the JSON body; empty where none is read.
    pub body: Vec<Parameter>,
    /// Members of the JSON answer, as far as there is one.
    pub members: &'static [&'static str],
    /// Besides those that follow from the rest: see [`Operation::all_statuses`].
    pub statuses: &'static [u16],
}

impl Operation {
    fn new(method: Method, path: &'static str, route: Route, summary: &'static str) -> Operation {
        Operation {
            method,
            path,
            route,
            summary,
            access: Access::Anyone,
            class: None,
            plane: Plane::Api,
            path_kind: Kind::Uuid,
            query: Vec::new(),
            body: Vec::new(),
            members: &[],
            statuses: &[200],
        }
    }

    fn user(self, class: Class) -> Operation {
        Operation { access: Access::User, class: Some(class), ..self }
    }

    fn class(self, class: Class) -> Operation {
        Operation { class: Some(class), ..self }
    }

    fn admin(self) -> Operation {
        Operation { access: Access::Admin, class: Some(Class::Admin), plane: Plane::Admin, ..self }
    }

    fn on(self, plane: Plane) -> Operation {
        Operation { plane, ..self }
    }

    fn path_kind(self, path_kind: Kind) -> Operation {
        Operation { path_kind, ..self }
    }

    fn query<const N: usize>(self, query: [Parameter; N]) -> Operation {
        Operation { query: query.to_vec(), ..self }
    }

    fn body<const N: usize>(self, body: [Parameter; N]) -> Operation {
        Operation { body: body.to_vec(), ..self }
    }

    fn answers(self, statuses: &'static [u16], members: &'static [&'static str]) -> Operation {
        Operation { statuses, members, ..self }
    }

    /// Every status that the operation may answer.
    pub fn all_statuses(&self) -> Vec<u16> {
        let mut all = self.statuses.to_vec();
        // What is wrong with its head, or with its percent-encoding.
        all.push(400);
        match self.access {
            Access::Anyone => {}
            Access::User => all.push(401),
            Access::Admin => all.extend([401, 403]),
        }
        if !self.body.is_empty() {
            all.extend([400, 408, 413, 415]);
        }
        if self.class.is_some() {
            all.extend([429, 503]);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// One path and its operations.
struct Path {
    operations: Vec<Operation>,
    /// For `Allow`.
    methods: &'static str,
}

/// The table, made ready for look-ups.
pub(super) struct Routes {
    router: Router<usize>,
    paths: Vec<Path>,
}

/// What a request's path leads to.
pub(super) enum Found<'r, 'p> {
    /// The operation, and the part of the path that it names.
    Operation(&'r Operation, Option<&'p str>),
    /// There are other methods only.
    Methods(&'static str),
    Nothing,
}

impl Routes {
    /// The operations of a listener: all, or those of the API or the admin listener.
    pub fn new(plane: Option<Plane>) -> Result<Routes, matchit::InsertError> {
        let (mut router, mut paths) = (Router::new(), Vec::<Path>::new());
        let here = |operation: &Operation| plane.is_none_or(|plane| [plane, Plane::Both].contains(&operation.plane));
        for operation in table::operations().into_iter().filter(here) {
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
        // HEAD is GET without the body.
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
        return "PUT, DELETE";
    }
    if operations.iter().any(|operation| operation.route == Route::TrendingStream) {
        // A stream has no end, so nobody can tell what HEAD would.
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
