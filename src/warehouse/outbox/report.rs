//! The reports of the delivery to the writer about the batches that it sends.

use bytes::Bytes;

use crate::warehouse::target::Target;

/// A report of the delivery to the writer.
#[derive(Clone, Debug)]
pub enum Report {
    /// A batch of client events is sent in pieces from now on. The first piece waits until that is durable.
    InPieces {
        batch: u64,
    },
    Settled(Settled),
}

/// The outcome of a sealed batch.
#[derive(Clone, Debug)]
pub struct Settled {
    pub target: Target,
    pub batch: u64,
    /// The rows that the table refuses. It has all others.
    pub dead: Vec<DeadRow>,
}

/// A row that ClickHouse refuses.
#[derive(Clone, Debug)]
pub struct DeadRow {
    /// The row in RowBinary.
    pub row: Bytes,
    pub detail: String,
}
