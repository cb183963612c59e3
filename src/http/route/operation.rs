//! One row of the route table.

use std::net::IpAddr;

use http::{Method, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::http::answers::Answer;
use crate::http::auth::Subject;
use crate::http::call::{Call, Opens, UserCall, Waits};
use crate::http::error::Problem;
use crate::http::limit::Class;
use crate::http::pieces::Body;

/// The callers who may use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Access {
    Anyone,
    /// Every caller with a valid token may use the operation.
    User,
    /// Only callers whose token has the role admin may use the operation.
    Admin,
}

/// The function that answers an operation's requests. The kind of the handler also says who may use the operation.
#[derive(Clone, Copy)]
pub(in crate::http) enum Handler {
    /// Anyone may call, and the answer is ready at once.
    Anyone(fn(&Call<'_>) -> Answer),
    /// Anyone may call, and the answer is a stream.
    Stream(fn(&Call<'_>, IpAddr) -> Result<Response<Body>, Problem>),
    /// A user may call, and the answer is ready at once. The answer is about the caller. If the request has `user_id`
    /// and the caller has the right role, the answer is about the user that `user_id` names. `looked` is the action in
    /// the audit when an admin reads the answer for a user other than the admin.
    Whose { looked: &'static str, answer: fn(&Call<'_>, &Subject) -> Answer },
    /// A user may call, and the answer waits for a body, the store or the writer.
    User(for<'a> fn(UserCall<'a>) -> Waits<'a>),
    /// The role admin may call, and the answer waits for a body, the store or the writer.
    Admin(for<'a> fn(UserCall<'a>) -> Waits<'a>),
    /// Anyone may call, and the answer waits. Only the control routes of a server for tests have a handler of the kind
    /// `Test`.
    Test(for<'a> fn(UserCall<'a>) -> Waits<'a>),
    /// The role admin may call, and the answer comes piece by piece.
    AdminStream(for<'a> fn(UserCall<'a>) -> Opens<'a>),
}

/// The listener of an operation, if the node has a separate admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Plane {
    Api,
    Admin,
    Both,
}

/// The groups of operations in the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Tag {
    Feed,
    Trending,
    Discover,
    Events,
    Node,
    Tokens,
    DeadLetters,
    Source,
    Store,
    Testing,
}

impl Tag {
    pub const ALL: [Tag; 10] = [
        Tag::Feed,
        Tag::Trending,
        Tag::Discover,
        Tag::Events,
        Tag::Node,
        Tag::Tokens,
        Tag::DeadLetters,
        Tag::Source,
        Tag::Store,
        Tag::Testing,
    ];

    /// The name and the description of a group of operations.
    pub const fn told(self) -> (&'static str, &'static str) {
        match self {
            Tag::Feed => ("feed", "Feeds of users."),
            Tag::Trending => ("trending", "What trends, for everybody."),
            Tag::Discover => ("discover", "Whom to follow."),
            Tag::Events => ("events", "What users did."),
            Tag::Node => ("node", "How the node is."),
            Tag::Tokens => ("tokens", "Keys, and rules that end tokens early."),
            Tag::DeadLetters => ("dead-letters", "Records that could not be applied."),
            Tag::Source => ("source", "Source tables and partitions."),
            Tag::Store => ("store", "The store, and what was done to it."),
            Tag::Testing => ("testing", "Time, fixtures, snapshots and faults, in a server for tests alone."),
        }
    }
}

/// A parameter of a request's query or head, with its name, its allowed values and its description.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::http) enum Kind {
    /// A text of any length that fits into the head of a request.
    Line,
    /// A cursor, which has at most this number of characters, all from the URL-safe Base64 alphabet (RFC 4648 §5).
    Cursor(usize),
    /// A text whose number of characters is from `min` to `max`.
    Text {
        min: usize,
        max: usize,
    },
    Uuid,
    /// A date in the form `YYYY-MM-DD`. An empty value counts as a missing parameter.
    Date,
    Integer {
        min: u64,
        max: u64,
    },
    OneOf(&'static [&'static str]),
    /// A flag that is 0 or 1.
    Flag,
}

/// A function that makes the schema of a type.
pub(in crate::http) type Form = fn(&mut SchemaGenerator) -> Schema;

/// Makes the schema of the type `T`.
pub(in crate::http) fn form<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The content of an operation's answer.
#[derive(Clone, Copy)]
pub(in crate::http) enum Content {
    Nothing,
    Json(Form),
    /// A text in one of the listed media types.
    Text(&'static [&'static str]),
    /// Server-sent events, each with the schema of its data.
    Events(&'static [(&'static str, Form)]),
}

pub(super) const fn parameter(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
    Parameter { name, kind, help }
}

/// One operation: one method of one path.
#[derive(Clone)]
pub(in crate::http) struct Operation {
    /// The id of the operation: a verb and a noun. Generated clients name their methods by the operation's id, so the
    /// id never changes.
    pub id: &'static str,
    pub tag: Tag,
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub handler: Handler,
    pub class: Option<Class>,
    pub plane: Plane,
    /// The kind of the parameter that the path has in braces.
    pub path_kind: Kind,
    pub query: Vec<Parameter>,
    pub headers: Vec<Parameter>,
    /// The schema of the JSON body, or `None` if the operation reads no body.
    pub body: Option<Form>,
    /// Whether the body is required. A body is required if one of its members is required.
    pub body_required: bool,
    /// The statuses of the answers that contain `content`.
    pub status: &'static [u16],
    pub content: Content,
    /// Whether the answer has an ETag, so that a cache may keep the answer and ask whether the answer is still valid.
    pub etag: bool,
    /// The statuses of problems that [`Operation::problems`] cannot derive from the rest of the operation's fields.
    pub also: &'static [u16],
}

impl Operation {
    pub fn new(
        id: &'static str,
        (method, path): (Method, &'static str),
        tag: Tag,
        summary: &'static str,
        handler: Handler,
    ) -> Operation {
        let admin = matches!(handler, Handler::Admin(_) | Handler::AdminStream(_));
        Operation {
            id,
            tag,
            method,
            path,
            summary,
            handler,
            class: admin.then_some(Class::Admin),
            plane: if admin { Plane::Admin } else { Plane::Api },
            path_kind: Kind::Uuid,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            body_required: false,
            status: &[200],
            content: Content::Nothing,
            etag: false,
            also: &[],
        }
    }

    pub fn class(self, class: Class) -> Operation {
        Operation { class: Some(class), ..self }
    }

    pub fn on(self, plane: Plane) -> Operation {
        Operation { plane, ..self }
    }

    pub fn path_kind(self, path_kind: Kind) -> Operation {
        Operation { path_kind, ..self }
    }

    pub fn query<const N: usize>(self, query: [Parameter; N]) -> Operation {
        Operation { query: query.to_vec(), ..self }
    }

    pub fn header(self, name: &'static str, kind: Kind, help: &'static str) -> Operation {
        Operation { headers: vec![Parameter { name, kind, help }], ..self }
    }

    /// Declares a request body that may be missing.
    pub fn reads<T: JsonSchema>(self) -> Operation {
        Operation { body: Some(form::<T>), ..self }
    }

    /// Declares a request body that is required.
    pub fn needs<T: JsonSchema>(self) -> Operation {
        Operation { body: Some(form::<T>), body_required: true, ..self }
    }

    /// Declares an answer with an object.
    pub fn answers<T: JsonSchema>(self, status: &'static [u16]) -> Operation {
        self.content(status, Content::Json(form::<T>))
    }

    pub fn content(self, status: &'static [u16], content: Content) -> Operation {
        Operation { status, content, ..self }
    }

    pub fn etag(self) -> Operation {
        Operation { etag: true, ..self }
    }

    pub fn also(self, also: &'static [u16]) -> Operation {
        Operation { also, ..self }
    }

    /// Whether nova sends the operation's answer piece by piece.
    pub fn streams(&self) -> bool {
        matches!(self.handler, Handler::Stream(_) | Handler::AdminStream(_))
    }

    pub fn access(&self) -> Access {
        match self.handler {
            Handler::Anyone(_) | Handler::Stream(_) | Handler::Test(_) => Access::Anyone,
            Handler::Whose { .. } | Handler::User(_) => Access::User,
            Handler::Admin(_) | Handler::AdminStream(_) => Access::Admin,
        }
    }

    /// Every status of a problem with which the operation may answer.
    pub fn problems(&self) -> Vec<u16> {
        let mut all = self.also.to_vec();
        // The statuses 400 and 501 are for problems of a request's head or of its percent-encoding.
        all.extend([400, 501]);
        all.extend(match self.access() {
            Access::Anyone => &[][..],
            Access::User => &[401],
            Access::Admin => &[401, 403],
        });
        if self.body.is_some() {
            all.extend([408, 413, 415]);
        }
        if self.class.is_some() {
            all.extend([429, 503]);
        }
        all.retain(|status| !self.status.contains(status));
        all.sort_unstable();
        all.dedup();
        all
    }
}
