//! Collects the effects of a client event.

use nova_storage::ReadTxn;
use nova_storage::codec::CodecError;

use crate::arrival::Arrival;
use crate::decode::facts;
use crate::event::{ClientEvent, Effect, Facts, Id, Outcome, Table};
use crate::pipeline::dedup::{Entry, Seen};
use crate::pipeline::journal::Step;
use crate::pipeline::stored::StoredRow;
use crate::warehouse::rows::EventRow;

use super::error::WriterError;
use super::fate::Fate;
use super::structures::Writer;

impl Writer {
    /// Whether the event was too old when it arrived.
    pub(super) fn too_old(&self, event: &ClientEvent, arrival: Arrival) -> bool {
        arrival.ms().saturating_sub(event.event_time_ms) > self.parts.settings.event_max_age_ms
    }

    /// Whether the event may be a copy of an event whose dedup key is forgotten. Copies of an event never arrive before
    /// the event's own time.
    pub(super) fn forgotten(&self, event: &ClientEvent, arrival: Arrival) -> bool {
        event.event_time_ms.min(arrival.ms()) < self.meta.dedup_floor_ms
    }

    /// Handles an event that is not late. `emit` says whether the event's row also goes to ClickHouse.
    pub(super) fn event(
        &mut self,
        event: &ClientEvent,
        entry: Entry,
        arrival_ms: i64,
        emit: bool,
        read: &ReadTxn,
    ) -> Result<Fate, WriterError> {
        match self.dedup.check(entry, read)? {
            Seen::Duplicate => return Ok(Fate::Outcome(Outcome::Duplicate)),
            Seen::Conflict => return Ok(Fate::Conflict),
            Seen::New => {}
        }
        // Only a forced replay brings an event here whose arrival is below the floor. The dedup set remembers the event
        // as if the event had arrived at the floor.
        self.dedup.insert(entry, arrival_ms.max(self.meta.dedup_floor_ms));
        let at_ms = event.event_time_ms.min(arrival_ms);
        let ClientEvent { user_id: user, post_id: post, action, dwell_ms, .. } = *event;
        self.journal.push(Step::Event { user, post, action, at_ms, dwell_ms });
        self.effects.push(Effect::Event { user, post, action, at_ms, dwell_ms });
        if emit && self.outbox.is_some() && !self.dedup.delivered(entry, read)? {
            let author = self.author(event, read)?;
            let row = EventRow { event, author, at_ms, arrival_ms, store: 0, batch: 0 };
            let now_ms = self.parts.clock.now_ms();
            if let Some(outbox) = &mut self.outbox {
                outbox.event(&row, now_ms);
            }
        }
        Ok(Fate::Outcome(Outcome::Applied))
    }

    /// The author of an event's post. nova takes the author from the post's row, otherwise from the client's event. If
    /// neither the post's row nor the event has an author, the result is the nil id.
    fn author(&self, event: &ClientEvent, read: &ReadTxn) -> Result<Id, WriterError> {
        {
            let state = self.parts.state.read();
            let author = state.post_ids.number(event.post_id).and_then(|post| state.posts.author(post));
            if let Some(author) = author {
                return Ok(state.users.id(author));
            }
        }
        // The post's row may have come in the present commit.
        let of = |bytes: Option<&[u8]>| -> Result<_, CodecError> {
            let Some(bytes) = bytes else { return Ok(None) };
            Ok(StoredRow::decode(bytes)?.row()?.and_then(|row| facts(Table::Posts, &row)))
        };
        Ok(match self.rows.with(Table::Posts, event.post_id, read, of)?? {
            Some(Facts::Post { author, .. }) => author,
            _ => event.author_id.unwrap_or(Id::NIL),
        })
    }
}
