//! From the bytes of a record to what they say: one match from topic to decoder. Pure, never panics.

mod avro;
pub mod client;
mod debezium;
mod facts;
mod image;
mod json;
mod registry;
mod schema;
pub mod time;
mod topics;
mod values;

use std::sync::Arc;

use apache_avro::Schema;
use rustc_hash::FxHashMap;

pub use self::facts::facts;
pub use self::registry::{
    FILE_SCHEMAS_MAX, FileSchemas, HttpSchemas, NoSchemas, RegistryError, RegistrySettings, SchemaLookup, Schemas,
    SchemasError,
};
pub use self::schema::SchemaMismatch;
pub use self::topics::Topics;
pub use self::values::{DEFAULT_PLACEHOLDER, DETAIL_MAX_BYTES};

use self::schema::Plan;
use self::topics::Route;
use self::values::{Fault, Placeholder};
use crate::event::{Change, ChangeBody, ClientEvent, Dead, Decoded, Format, Id, Ignored, Op, Record, Table, Wait};

/// A longer key or value is dead unread. Kafka's own limit is 1 MiB by default.
pub const RECORD_MAX_BYTES: usize = 16 << 20;

/// The most topics whose route and format are remembered; further ones are routed anew each time.
pub const TOPICS_MAX: usize = 4_096;

/// What a record says when it says something.
#[derive(Debug)]
enum Fact {
    Change(Change),
    Event(ClientEvent),
    Ignore(Ignored),
}

/// Why a record says nothing.
#[derive(Debug)]
enum Stop {
    Dead(Fault),
    Wait(Wait),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Dead(fault)
    }
}

/// What is known of a topic.
#[derive(Clone, Copy)]
struct Topic {
    route: Route,
    /// The format of the last change, which a null value takes.
    format: Option<Format>,
}

/// Decodes records; remembers the format of each topic.
pub struct Decoder {
    names: Topics,
    schemas: Arc<dyn Schemas>,
    placeholder: Placeholder,
    topics: FxHashMap<Arc<str>, Topic>,
    /// What an id means never changes.
    plans: FxHashMap<(u32, Table), Result<Arc<Plan>, SchemaMismatch>>,
}

impl Decoder {
    pub fn new(topics: Topics, schemas: Arc<dyn Schemas>) -> Decoder {
        avro::limit_allocation();
        Decoder {
            names: topics,
            schemas,
            placeholder: Placeholder::new(DEFAULT_PLACEHOLDER),
            topics: FxHashMap::default(),
            plans: FxHashMap::default(),
        }
    }

    /// `placeholder` is the connector's `unavailable.value.placeholder`, its `hex:` form included.
    pub fn with_placeholder(mut self, placeholder: &str) -> Decoder {
        self.placeholder = Placeholder::new(placeholder);
        self
    }

    /// Says what a record is. The same record gives the same answer, except that a null value takes the format which
    /// its topic had last.
    pub fn decode(&mut self, record: &Record) -> Decoded {
        if let Some(defect) = &record.defect {
            return Decoded::Dead(defect.clone());
        }
        let topic = self.topic(&record.topic);
        match self.read(record, topic) {
            Ok(Fact::Change(change)) => {
                if topic.format != Some(change.format) {
                    self.pin(&record.topic, change.format);
                }
                Decoded::Change(change)
            }
            Ok(Fact::Event(event)) => Decoded::Event(event),
            Ok(Fact::Ignore(kind)) => Decoded::Ignore(kind),
            Err(Stop::Dead(fault)) => Decoded::Dead(Dead::from(fault)),
            Err(Stop::Wait(wait)) => Decoded::Wait(wait),
        }
    }

    /// Whether anything of the topic can be read.
    pub fn follows(&self, topic: &str) -> bool {
        !matches!(self.names.route(topic), Route::Ignore(_))
    }

    /// The source table whose changes a topic holds.
    pub fn table(&self, topic: &str) -> Option<Table> {
        self.names.table(topic)
    }

    fn topic(&mut self, name: &Arc<str>) -> Topic {
        if let Some(topic) = self.topics.get(name) {
            return *topic;
        }
        let topic = Topic { route: self.names.route(name), format: None };
        if self.topics.len() < TOPICS_MAX {
            self.topics.insert(Arc::clone(name), topic);
        }
        topic
    }

    fn pin(&mut self, name: &str, format: Format) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.format = Some(format);
        }
    }

    fn read(&mut self, record: &Record, topic: Topic) -> Result<Fact, Stop> {
        let table = match topic.route {
            Route::Ignore(kind) => return Ok(Fact::Ignore(kind)),
            Route::Table(table) => Some(table),
            Route::Events => None,
        };
        for (what, bytes) in [("key", &record.key), ("value", &record.value)] {
            let length = bytes.as_ref().map_or(0, |bytes| bytes.len());
            if length > RECORD_MAX_BYTES {
                let detail = format!("the {what} has {length} bytes, at most {RECORD_MAX_BYTES} are read");
                return Err(Fault::new("too-long", detail).into());
            }
        }
        match table {
            Some(table) => self.change(record, table, topic.format),
            None => event(record),
        }
    }

    fn change(&mut self, record: &Record, table: Table, pinned: Option<Format>) -> Result<Fact, Stop> {
        let message = match record.value.as_deref() {
            None => None,
            Some(bytes) if avro::is_avro(bytes) => {
                let (id, schema, datum) = self.schema("value", bytes)?;
                let plan = self.plan(id, &schema, table)?;
                avro::message(&schema, datum, table, &plan, &self.placeholder)?
            }
            Some(bytes) => json::message(utf8("value", bytes)?, table, &self.placeholder)?,
        };
        if let Some(message) = message {
            return message.interpret(table, || self.key(record, table));
        }
        Ok(Fact::Change(Change {
            table,
            key: self.key(record, table)?,
            op: Op::Delete,
            format: pinned.unwrap_or(Format::Envelope),
            lsn: None,
            source_ts_us: None,
            renamed_from: None,
            renamed_to: None,
            body: ChangeBody::Tombstone,
        }))
    }

    fn key(&self, record: &Record, table: Table) -> Result<Id, Stop> {
        let Some(bytes) = record.key.as_deref().filter(|bytes| !bytes.is_empty()) else {
            let detail = format!("no Kafka key, and it alone says which row of {table} is meant");
            return Err(Fault::new("missing-key", detail).into());
        };
        if avro::is_avro(bytes) {
            let (_, schema, datum) = self.schema("key", bytes)?;
            return Ok(avro::key(&schema, datum)?);
        }
        Ok(json::key(utf8("key", bytes)?)?)
    }

    /// How rows of the schema become the table's; a schema that cannot holds its partition until a person acts.
    fn plan(&mut self, id: u32, schema: &Schema, table: Table) -> Result<Arc<Plan>, Stop> {
        if self.plans.len() >= FILE_SCHEMAS_MAX {
            self.plans.clear();
        }
        let plan = self.plans.entry((id, table)).or_insert_with(|| Plan::new(id, schema, table).map(Arc::new));
        plan.clone().map_err(|mismatch| Stop::Wait(Wait { reason: "schema-mismatch", detail: mismatch.to_string() }))
    }

    /// The writer's schema of an Avro key or value with its id, and the datum.
    fn schema<'a>(&self, what: &str, bytes: &'a [u8]) -> Result<(u32, Arc<Schema>, &'a [u8]), Stop> {
        let (id, datum) = avro::split(what, bytes)?;
        match self.schemas.schema(id) {
            SchemaLookup::Found(schema) => Ok((id, schema, datum)),
            SchemaLookup::Unknown => {
                let detail = format!("the {what} names schema {id}, which neither the registry nor a schemas file has");
                Err(Fault::new("unknown-schema-id", detail).into())
            }
            SchemaLookup::Unusable(detail) => {
                let detail = format!("schema {id} of the {what} cannot be used: {detail}");
                Err(Fault::new("unusable-schema", detail).into())
            }
            SchemaLookup::Unavailable(detail) => {
                let detail = format!("schema {id} of the {what} cannot be had now: {detail}");
                Err(Stop::Wait(Wait { reason: "schema-unavailable", detail }))
            }
        }
    }
}

fn event(record: &Record) -> Result<Fact, Stop> {
    let Some(bytes) = record.value.as_deref() else {
        return Err(Fault::new("missing-value", "an event without a value").into());
    };
    Ok(Fact::Event(client::read(utf8("event", bytes)?, None, || client::id_of_record(record))?))
}

fn utf8<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes)
        .map_err(|error| Fault::new("invalid-utf8", format!("the {what} is not UTF-8 at byte {}", error.valid_up_to())))
}

#[cfg(test)]
mod tests;
