//! Finds the content of a topic by the topic's name.

use crate::event::{Ignored, Table};

/// The names of the topics that nova follows.
#[derive(Clone, Debug)]
pub struct Topics {
    /// The prefix of the name of each table's topic: `{prefix}.{table}`.
    pub prefix: String,
    /// The name of the topic of client events.
    pub events: String,
    /// Whether nova ignores the prefix of a topic's name, and finds tables and events by the part after the last dot,
    /// for example in captures.
    pub last_part: bool,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { prefix: "cdc".to_owned(), events: "events".to_owned(), last_part: false }
    }
}

/// The content of a topic. The content decides how the topic's records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Table(Table),
    Events,
    Ignore(Ignored),
}

impl Topics {
    /// Returns the source table whose changes are in a topic.
    pub fn table(&self, topic: &str) -> Option<Table> {
        match self.route(topic) {
            Route::Table(table) => Some(table),
            Route::Events | Route::Ignore(_) => None,
        }
    }

    pub(super) fn route(&self, topic: &str) -> Route {
        if topic == self.events {
            return Route::Events;
        }
        // The name of a heartbeat topic ends with Debezium's own prefix. nova does not know Debezium's prefix, and the
        // end of the prefix may look like the name of a table.
        if topic.strip_prefix("__debezium-heartbeat").is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            return Route::Ignore(Ignored::Heartbeat);
        }
        let last = topic.rsplit('.').next().unwrap_or(topic);
        let table = match self.last_part {
            true => Some(last),
            false => topic.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.strip_prefix('.')),
        };
        match (table.and_then(Table::from_name), last) {
            (Some(table), _) => Route::Table(table),
            (None, last) if self.last_part && last == self.events => Route::Events,
            (None, "message") if topic.contains('.') => Route::Ignore(Ignored::Message),
            (None, "transaction") if topic.contains('.') => Route::Ignore(Ignored::TransactionMarker),
            _ => Route::Ignore(Ignored::UnknownTopic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_matched_by_its_full_name_or_by_its_last_part() {
        let exact = Topics::default();
        let last = Topics { last_part: true, ..Topics::default() };
        let unknown = Route::Ignore(Ignored::UnknownTopic);
        let cases = [
            ("cdc.posts", Route::Table(Table::Posts), Route::Table(Table::Posts)),
            ("e1.posts", unknown, Route::Table(Table::Posts)),
            ("cdc.public.posts", unknown, Route::Table(Table::Posts)),
            ("posts", unknown, Route::Table(Table::Posts)),
            ("events", Route::Events, Route::Events),
            ("prod.events", unknown, Route::Events),
            ("cdcXposts", unknown, unknown),
            ("cdc.orders", unknown, unknown),
            ("cdc.", unknown, unknown),
            ("", unknown, unknown),
        ];
        for (topic, by_name, by_last) in cases {
            assert_eq!((exact.route(topic), last.route(topic)), (by_name, by_last), "{topic}");
        }
    }

    #[test]
    fn side_topics_of_any_connector_are_known() {
        for topics in [Topics::default(), Topics { last_part: true, ..Topics::default() }] {
            assert_eq!(topics.route("env.message"), Route::Ignore(Ignored::Message));
            assert_eq!(topics.route("txm.transaction"), Route::Ignore(Ignored::TransactionMarker));
            assert_eq!(topics.route("__debezium-heartbeat.users"), Route::Ignore(Ignored::Heartbeat));
        }
    }
}
