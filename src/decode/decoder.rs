//! Chooses the reader of a record by its topic.

use std::sync::Arc;

use apache_avro::Schema;
use rustc_hash::FxHashMap;

use super::debezium::Message;
use super::fault::Fault;
use super::headers::{self, Headers};
use super::kept::KeepUnknown;
use super::placeholder::Placeholders;
use super::registry::{FILE_SCHEMAS_MAX, KnownSchemas, SchemaLookup, Schemas};
use super::replicated::Replicas;
use super::said::{Fact, Stop};
use super::schema::{Plan, SchemaMismatch};
use super::topics::{Route, Topics};
use super::units::KnownUnits;
use super::{avro, client, confluent, json, length, private, values};
use crate::event::{Change, ChangeBody, Dead, Decoded, Format, Id, Op, Record, Renamed, Table, Wait};

/// The maximum number of topics whose route and format nova remembers. nova does not remember the route of any further
/// topic, and finds it again for each record.
pub const TOPICS_MAX: usize = 4_096;

/// The reason code for a record whose schema the registry does not know.
const UNKNOWN_SCHEMA: &str = "unknown-schema-id";

/// The facts that the decoder knows about a topic.
#[derive(Clone, Copy)]
struct Topic {
    route: Route,
    /// The format of the topic's last change. A null value in the topic has this format.
    format: Option<Format>,
}

/// Decodes records, and remembers the format of each topic.
pub struct Decoder {
    names: Topics,
    pub(super) schemas: Arc<dyn Schemas>,
    placeholders: Placeholders,
    pub(super) keep: Arc<KeepUnknown>,
    units: KnownUnits,
    topics: FxHashMap<Arc<str>, Topic>,
    /// The plan that converts rows, for each schema id and table. The meaning of a schema id never changes.
    plans: FxHashMap<(u32, Table), Result<Arc<Plan>, SchemaMismatch>>,
    /// The tables that PostgreSQL has described in its replication stream.
    replicas: Replicas,
}

impl Decoder {
    pub fn new(topics: Topics, schemas: Arc<dyn Schemas>) -> Decoder {
        avro::limit_allocation();
        Decoder {
            names: topics,
            schemas,
            placeholders: Placeholders::unset(),
            keep: KeepUnknown::shared_default(),
            units: KnownUnits::default(),
            topics: FxHashMap::default(),
            plans: FxHashMap::default(),
            replicas: Replicas::default(),
        }
    }

    /// Sets the placeholder that stands for values which a record does not repeat. The placeholder is the connector's
    /// setting `unavailable.value.placeholder`, and may have the form `hex:…`.
    pub fn with_placeholder(mut self, placeholder: &str) -> Decoder {
        self.placeholders = Placeholders::of(placeholder);
        self
    }

    /// Sets which columns nova keeps although it does not know them.
    pub fn with_kept(mut self, keep: KeepUnknown) -> Decoder {
        self.keep = Arc::new(keep);
        self
    }

    /// Decodes a record. The same record always gives the same result, except that a null value takes the format of its
    /// topic's last change.
    pub fn decode(&mut self, record: &Record) -> Decoded {
        if let Some(defect) = &record.defect {
            return Decoded::Dead((**defect).clone());
        }
        let read = match &record.origin {
            Some(origin) => self.replicas.read(record, origin, &self.keep),
            None => {
                let topic = self.topic(&record.topic);
                let read = self.read(record, topic);
                if let Ok(Fact::Change(change)) = &read
                    && topic.format != Some(change.format)
                {
                    self.pin(&record.topic, change.format);
                }
                read
            }
        };
        match read {
            Ok(Fact::Change(change)) => Decoded::Change(change),
            Ok(Fact::Event(event)) => Decoded::Event(event),
            Ok(Fact::Ignore(kind)) => Decoded::Ignore(kind),
            Ok(Fact::Snapshot(mark)) => Decoded::Snapshot(mark),
            Err(Stop::Dead(fault)) => Decoded::Dead(Dead::from(fault)),
            Err(Stop::Wait(wait)) => Decoded::Wait(wait),
        }
    }

    /// Decodes a record as [`Decoder::decode`] would decode it now, but remembers nothing of it. The function does not
    /// ask for a schema that nova does not know yet, because the registry may keep the caller waiting.
    pub fn decode_unremembered(&self, record: &Record) -> Decoded {
        let mut trial = Decoder {
            names: self.names.clone(),
            schemas: Arc::new(KnownSchemas(Arc::clone(&self.schemas))),
            placeholders: self.placeholders.clone(),
            keep: Arc::clone(&self.keep),
            units: KnownUnits::default(),
            topics: FxHashMap::default(),
            plans: FxHashMap::default(),
            replicas: Replicas::default(),
        };
        if let Some(topic) = self.topics.get(&record.topic) {
            trial.topics.insert(Arc::clone(&record.topic), *topic);
        }
        trial.decode(record)
    }

    /// Whether nova reads records of the topic.
    pub fn follows(&self, topic: &str) -> bool {
        !matches!(self.names.route(topic), Route::Ignore(_))
    }

    /// Returns the source table whose changes are in a topic.
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
            length::check(what, bytes.as_deref().unwrap_or_default())?;
        }
        match table {
            Some(table) => self.change(record, table, topic.format),
            None => event(record),
        }
    }

    fn change(&mut self, record: &Record, table: Table, pinned: Option<Format>) -> Result<Fact, Stop> {
        let message = match record.value.as_deref() {
            None => None,
            Some(bytes) if confluent::is_avro(bytes) => self.avro_message(bytes, table)?,
            Some(bytes) => {
                let (placeholders, keep) = (&self.placeholders, &self.keep);
                let mut context = json::Context { table, placeholders, keep, units: &mut self.units };
                json::message(utf8("value", bytes)?, &mut context)?
            }
        };
        if let Some(message) = message {
            return message.interpret(table, &self.headers(record), |delete| self.key(record, table, delete));
        }
        // In the formats `Envelope` and `FlatRewrite` a message with a value reports a delete, so the null value after
        // that message means nothing.
        let deletes = !matches!(pinned, Some(Format::Envelope | Format::FlatRewrite));
        Ok(Fact::Change(Change {
            table,
            key: self.key(record, table, deletes)?,
            op: Op::Delete,
            format: pinned.unwrap_or(Format::Envelope),
            lsn: None,
            source_ts_us: None,
            renamed: self.headers(record).new_key.map(|key| Box::new(Renamed::To(key))),
            ends_snapshot: false,
            body: ChangeBody::Tombstone,
        }))
    }

    fn avro_message(&mut self, bytes: &[u8], table: Table) -> Result<Option<Message>, Stop> {
        let (id, datum) = confluent::split("value", bytes)?;
        if private::is_blank(datum) {
            let detail = "the value of this dead letter was overwritten, because it held private members that Avro does not \
                          tell apart; read the record again from Kafka (docs/operations.md, \"Dead letters\")";
            return Err(Fault::new("masked-value", detail).into());
        }
        let schema = self.schema("value", id).map_err(|stop| self.waits_if_private(stop, table))?;
        let plan = self.plan(id, &schema, table);
        let none = Plan::default();
        let (placeholders, keep) = (&self.placeholders, &self.keep);
        let context = avro::Context { table, plan: plan.as_deref().unwrap_or(&none), placeholders, keep };
        let mut message = avro::message(&schema, datum, &context)?;
        if let Some(message) = &mut message {
            message.schema = Some((id, plan.err().map(Box::new)));
        }
        Ok(message)
    }

    /// Reads the headers of a record. Most records have no headers, or only headers that are not lists, as their first
    /// byte shows.
    fn headers(&self, record: &Record) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in &record.headers {
            match &**name {
                headers::OLD_KEY => headers.old_key = self.header_id(value),
                headers::NEW_KEY => headers.new_key = self.header_id(value),
                _ => match value.first() {
                    Some(b'[' | b'{') => headers.list_text(value),
                    Some(_) if confluent::is_avro(value) => {
                        let names = self.header_schema(value).and_then(|(schema, datum)| avro::names(&schema, datum));
                        headers.list(names.unwrap_or_default());
                    }
                    _ => {}
                },
            }
        }
        headers
    }

    fn header_id(&self, value: &[u8]) -> Option<Id> {
        match confluent::is_avro(value) {
            true => self.header_schema(value).and_then(|(schema, datum)| avro::key(&schema, datum).ok()),
            false => headers::id(value),
        }
    }

    /// Returns the schema and the datum that are in a header. If a header cannot be read, it is ignored.
    fn header_schema<'a>(&self, value: &'a [u8]) -> Option<(Arc<Schema>, &'a [u8])> {
        let (id, datum) = confluent::split("header", value).ok()?;
        Some((self.schema("header", id).ok()?, datum))
    }

    /// Reads the key of a record. A `delete` must have a key.
    fn key(&self, record: &Record, table: Table, delete: bool) -> Result<Id, Stop> {
        let Some(bytes) = record.key.as_deref().filter(|bytes| !bytes.is_empty()) else {
            let detail = format!("no Kafka key, and it alone says which row of {table} is meant");
            return Err(Fault::new("missing-key", detail).into());
        };
        let key = match confluent::is_avro(bytes) {
            true => {
                let (id, datum) = confluent::split("key", bytes)?;
                avro::key(&*self.schema("key", id)?, datum)?
            }
            false => json::key::read(utf8("key", bytes)?)?,
        };
        match delete && key == Id::NIL {
            true => Err(values::nil_key("is the nil UUID").into()),
            false => Ok(key),
        }
    }

    /// Returns the plan that converts rows of the schema to the table, or the reason why there is no plan.
    fn plan(&mut self, id: u32, schema: &Schema, table: Table) -> Result<Arc<Plan>, SchemaMismatch> {
        if self.plans.len() >= FILE_SCHEMAS_MAX {
            self.plans.clear();
        }
        self.plans.entry((id, table)).or_insert_with(|| Plan::new(id, schema, table, &self.keep).map(Arc::new)).clone()
    }

    /// Lets a record wait if its dead letter would lose bytes: in a table with private columns, a dead letter does not
    /// keep bytes that nobody can read. If the registry may still learn the schema, the partition of the record waits.
    fn waits_if_private(&self, stop: Stop, table: Table) -> Stop {
        match stop {
            Stop::Dead(Fault { reason: UNKNOWN_SCHEMA, detail })
                if private::of(table) && self.schemas.breaker().is_some() =>
            {
                let detail = format!(
                    "{detail}: a record of {table} is not put aside unread, because it may hold private columns. Register \
                     the schema; to give the record up: nova cdc seek"
                );
                Stop::Wait(Wait { reason: "schema-unavailable", detail })
            }
            stop => stop,
        }
    }

    /// Returns the writer's schema of an Avro key or value.
    fn schema(&self, what: &str, id: u32) -> Result<Arc<Schema>, Stop> {
        match self.schemas.schema(id) {
            SchemaLookup::Found(schema) => Ok(schema),
            SchemaLookup::Unknown => {
                let detail = format!("the {what} names schema {id}, which neither the registry nor a schemas file has");
                Err(Fault::new(UNKNOWN_SCHEMA, detail).into())
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
