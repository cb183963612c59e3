//! The state that the writer keeps of one partition.

use std::sync::Arc;

use nova_storage::codec::OffsetRow;

use crate::event::TopicPartition;
use crate::pipeline::halt::Hold;
use crate::pipeline::progress::LastDead;
use crate::source::local::{LOCAL_PARTITION, Settled};

/// The state that the writer keeps of one partition.
pub(super) struct Partition {
    pub name: TopicPartition,
    pub row: OffsetRow,
    /// The position that the source lets nova store.
    pub cookie: Arc<[u8]>,
    pub rewind: u32,
    pub hold: Option<Hold>,
    pub dead_in_a_row: u32,
    pub last_dead: Option<Arc<LastDead>>,
    /// The reasons of dead letters that were already logged for this partition.
    pub told: Vec<&'static str>,
    /// Whether the present commit changed the partition.
    pub touched: bool,
    pub redelivered: u64,
    pub unfilled: u64,
    /// The outcomes of the present commit's records, for the callers that wait for them. Only a partition of the local
    /// log has outcomes.
    pub settled: Vec<(i64, Settled)>,
}

impl Partition {
    pub fn new(name: TopicPartition, row: OffsetRow, cookie: &[u8]) -> Partition {
        Partition {
            name,
            row,
            cookie: cookie.into(),
            rewind: 0,
            hold: None,
            dead_in_a_row: 0,
            last_dead: None,
            told: Vec::new(),
            touched: false,
            redelivered: 0,
            unfilled: 0,
            settled: Vec::new(),
        }
    }

    /// Whether the partition belongs to the local log.
    pub fn is_local(&self) -> bool {
        self.name.partition == LOCAL_PARTITION
    }
}
