//! The reports that the delivery sends to the writer about batches.

use bytes::Bytes;

use crate::warehouse::target::Target;

/// A report of the delivery to the writer about a batch.
#[derive(Clone, Debug)]
pub enum Report {
    /// The delivery is going to send a batch of client events in pieces. The first piece of a batch waits until a
    /// commit contains the note about the batch.
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
    /// The rows of the batch that the table refuses. The table has all rows of the batch that are not in `dead`.
    pub dead: Vec<DeadRow>,
}

/// A row that ClickHouse refuses.
#[derive(Clone, Debug)]
pub struct DeadRow {
    /// The refused row in RowBinary.
    pub row: Bytes,
    pub detail: String,
}
