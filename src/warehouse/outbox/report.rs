//! What the delivery tells the writer of the batches that it sends.

use bytes::Bytes;

use crate::warehouse::target::Target;

/// What the delivery tells the writer.
#[derive(Clone, Debug)]
pub enum Report {
    /// A batch of client events goes out in pieces from now on. The first one waits until that is durable.
    InPieces {
        batch: u64,
    },
    Settled(Settled),
}

/// What became of a sealed batch.
#[derive(Clone, Debug)]
pub struct Settled {
    pub target: Target,
    pub batch: u64,
    /// Rows that the table refuses; all others are in it.
    pub dead: Vec<DeadRow>,
}

/// A row that ClickHouse refuses.
#[derive(Clone, Debug)]
pub struct DeadRow {
    /// RowBinary.
    pub row: Bytes,
    pub detail: String,
}
