//! The jobs that wait until nova has read all changes that the tables' logs contain now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use nova_storage::Store;

use crate::decode::Topics;
use crate::event::TopicPartition;
use crate::jobs::JobError;
use crate::jobs::rebuilt::{Reach, UntilRead};
use crate::pipeline::first::Repeated;
use crate::pipeline::meta::Meta;
use crate::pipeline::progress::Shared;
use crate::pipeline::unread;
use crate::pipeline::writer::{Command, Message};
use crate::source::Progress as _;
use crate::source::kafka::KafkaStatus;
use crate::source::postgres::status::{PostgresStatus, State, View};

use super::commanded::{command, unreadable};

/// The logs that hold changes of tables, and how far nova has read them.
pub(super) struct Logs {
    pub store: Arc<Store>,
    pub shared: Arc<Shared>,
    pub ends: Ends,
    pub writer: Sender<Message>,
}

/// The source that knows where the logs end now.
pub(super) enum Ends {
    Topics(Arc<KafkaStatus>, Topics),
    Slot(Arc<PostgresStatus>),
}

impl Logs {
    fn reach(&self) -> Option<BTreeMap<TopicPartition, Reach>> {
        let (kafka, topics) = match &self.ends {
            Ends::Topics(kafka, topics) => (kafka, topics),
            Ends::Slot(postgres) => return read_whole(&postgres.view()),
        };
        let assignment = kafka.assignment();
        let marks = kafka.watermarks();
        let known = assignment.existing > 0 && assignment.assigned == assignment.existing;
        if !known || marks.len() < assignment.existing || marks.values().any(|marks| marks.high < 0) {
            return None;
        }
        let of_tables = marks.into_iter().filter(|(name, _)| topics.table(&name.topic).is_some());
        let reach = of_tables.map(|(name, marks)| {
            let next = self.shared.next_offset(&name).unwrap_or(0);
            // An empty log counts as read to its end.
            let end = if marks.high == marks.low { 0 } else { marks.high };
            (name, Reach { read_to: next.max(marks.read_to), end })
        });
        Some(reach.collect())
    }
}

/// Waits until the rows from before a rebuild have been read again.
pub(super) struct Rebuild(pub Arc<Logs>);

impl UntilRead for Rebuild {
    fn name(&self) -> &'static str {
        "rebuild_end"
    }

    fn waiting(&self) -> Result<u64, JobError> {
        self.0.store.read().and_then(|read| unread::waiting(&read)).map_err(unreadable)
    }

    fn reach(&self) -> Option<BTreeMap<TopicPartition, Reach>> {
        self.0.reach()
    }

    fn end(&self) -> Result<u64, JobError> {
        command(&self.0.writer, |reply| Command::EndRebuild { reply })
    }

    fn ended(&self, waited: u64) {
        tracing::info!(rows = waited, "the rebuild has ended: rows that were not read again are deleted in ClickHouse");
    }
}

/// Waits until nova has read a first snapshot that the connector took a second time.
pub(super) struct FirstSnapshot {
    pub logs: Arc<Logs>,
    /// Whether nova has already logged that it cannot know whether a snapshot repeats the first snapshot.
    pub said: AtomicBool,
}

impl UntilRead for FirstSnapshot {
    fn name(&self) -> &'static str {
        "first_snapshot_end"
    }

    fn waiting(&self) -> Result<u64, JobError> {
        let meta = self.logs.store.read().and_then(|read| Meta::load(&read)).map_err(unreadable)?;
        match meta.map_or(Repeated::No, |meta| meta.repeated()) {
            Repeated::No => Ok(0),
            Repeated::By(_) => Ok(1),
            Repeated::InPart => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{}", Repeated::IN_PART);
                }
                Ok(0)
            }
        }
    }

    fn reach(&self) -> Option<BTreeMap<TopicPartition, Reach>> {
        self.logs.reach()
    }

    fn end(&self) -> Result<u64, JobError> {
        command(&self.logs.writer, |reply| Command::EndFirstSnapshot { reply }).map(|_| 0)
    }

    /// `ended` logs nothing, because the writer logs how many rows it deleted.
    fn ended(&self, _: u64) {}
}

/// A slot counts as read to its end once its snapshot is committed, because only changes follow the snapshot.
fn read_whole(view: &View) -> Option<BTreeMap<TopicPartition, Reach>> {
    let whole = view.state == State::Streaming && view.committed_lsn > 0;
    whole.then(|| BTreeMap::from([(TopicPartition::new("pg", 0), Reach { read_to: 1, end: 1 })]))
}
