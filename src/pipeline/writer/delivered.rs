//! Handles the reports about rows that were sent to ClickHouse.

use nova_storage::WriteTxn;

use crate::event::{Dead, Record, Stage};
use crate::warehouse::outbox::{DeadRow, Report};
use crate::warehouse::rows;

use super::error::WriterError;
use super::structures::Writer;

impl Writer {
    /// Notes that a batch of the outbox is sent in pieces, or that ClickHouse has the batch. Rows that ClickHouse
    /// refused become dead letters.
    pub(super) fn delivered(&mut self, report: &Report, write: &WriteTxn) -> Result<(), WriterError> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        let delivered = match report {
            Report::InPieces { batch } => return Ok(outbox.in_pieces(*batch, write)?),
            Report::Settled(settled) => settled,
        };
        if !outbox.settle(delivered, write, self.parts.clock.now_ms())? {
            return Ok(());
        }
        for DeadRow { row, detail } in &delivered.dead {
            let record = Record {
                topic: delivered.target.name().into(),
                partition: 0,
                offset: delivered.batch as i64,
                timestamp_ms: self.parts.clock.now_ms(),
                key: Some(rows::id(row).to_string().into()),
                value: Some(row.clone()),
                headers: Vec::new(),
                defect: None,
                origin: None,
                lsn_delta: 0,
            };
            let dead = Dead { stage: Stage::Warehouse, reason: "row-refused", detail: detail.clone() };
            let letter = self.letter(dead, &record);
            self.bury(letter);
        }
        Ok(())
    }
}
