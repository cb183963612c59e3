//! Stores the origin of a record in a dead letter, so that nova can decode the letter without the replication session
//! of the record.

use std::sync::Arc;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Origin, OriginKind, Record, Relation, SnapshotMark, Tables, WireColumn};

/// The name of the header in which a dead letter holds the origin of its record.
pub const ORIGIN_HEADER: &str = "nova.origin";

const VERSION: u8 = 1;
const WHAT: &str = "origin of a record";
/// The maximum number of columns that a table of PostgreSQL can have.
const COLUMNS_MAX: u64 = 1_600;

// The number with which each kind of message is stored. A number is never used for another kind of message.
const CHANGE: u8 = 1;
const OLD_KEY: u8 = 2;
const NEW_KEY: u8 = 3;
const TRUNCATE: u8 = 4;
const COPIED: u8 = 5;
const COMMIT: u8 = 6;
const MESSAGE: u8 = 7;
const SNAPSHOT_BEGIN: u8 = 8;
const SNAPSHOT_END: u8 = 9;

/// Encodes the origin and the LSN of a record. Returns `None` if the record has no origin.
pub fn encode(record: &Record) -> Option<Vec<u8>> {
    let origin = record.origin.as_deref()?;
    let mut out = vec![VERSION];
    out.put_varint(record.lsn()?);
    out.put_zigzag(origin.commit_us);
    let number = match &origin.kind {
        OriginKind::Change(_) => CHANGE,
        OriginKind::OldKey(_) => OLD_KEY,
        OriginKind::NewKey(_) => NEW_KEY,
        OriginKind::Truncate(_) => TRUNCATE,
        OriginKind::Copied(_) => COPIED,
        OriginKind::Commit => COMMIT,
        OriginKind::Message => MESSAGE,
        OriginKind::Snapshot(SnapshotMark::Begin(_)) => SNAPSHOT_BEGIN,
        OriginKind::Snapshot(SnapshotMark::End(_)) => SNAPSHOT_END,
    };
    out.put_u8(number);
    match &origin.kind {
        OriginKind::Snapshot(SnapshotMark::Begin(tables) | SnapshotMark::End(tables)) => out.put_u8(tables.bits()),
        kind => kind.relation().into_iter().for_each(|relation| put_relation(&mut out, relation)),
    }
    Some(out)
}

/// Reads an origin that [`encode`] wrote. The base LSN of the result is the LSN of the record.
pub fn decode(bytes: &[u8]) -> Result<Origin, CodecError> {
    let (mut reader, _) = Reader::versioned(WHAT, bytes, VERSION)?;
    let (base_lsn, commit_us) = (reader.varint()?, reader.zigzag()?);
    let kind = match reader.u8()? {
        CHANGE => OriginKind::Change(relation(&mut reader)?),
        OLD_KEY => OriginKind::OldKey(relation(&mut reader)?),
        NEW_KEY => OriginKind::NewKey(relation(&mut reader)?),
        TRUNCATE => OriginKind::Truncate(relation(&mut reader)?),
        COPIED => OriginKind::Copied(relation(&mut reader)?),
        COMMIT => OriginKind::Commit,
        MESSAGE => OriginKind::Message,
        SNAPSHOT_BEGIN => OriginKind::Snapshot(SnapshotMark::Begin(tables(&mut reader)?)),
        SNAPSHOT_END => OriginKind::Snapshot(SnapshotMark::End(tables(&mut reader)?)),
        number => return Err(CodecError::Unknown { what: WHAT, number: number.into() }),
    };
    reader.end()?;
    Ok(Origin { kind, commit_us, base_lsn })
}

fn tables(reader: &mut Reader<'_>) -> Result<Tables, CodecError> {
    Tables::from_bits(reader.u8()?).ok_or(CodecError::Invalid(WHAT))
}

fn put_relation(out: &mut Vec<u8>, relation: &Relation) {
    out.put_varint(u64::from(relation.oid));
    out.put_bytes(relation.namespace.as_bytes());
    out.put_bytes(relation.name.as_bytes());
    out.put_varint(relation.columns.len() as u64);
    for column in &relation.columns {
        out.put_bytes(column.name.as_bytes());
        out.put_varint(u64::from(column.type_oid));
    }
}

fn relation(reader: &mut Reader<'_>) -> Result<Arc<Relation>, CodecError> {
    let (oid, namespace, name) = (reader.varint_u32()?, reader.text()?.into(), reader.text()?.into());
    let count = reader.varint()?;
    if count > COLUMNS_MAX {
        return Err(CodecError::Invalid(WHAT));
    }
    let column = |_| Ok(WireColumn { name: reader.text()?.into(), type_oid: reader.varint_u32()? });
    let columns = (0..count).map(column).collect::<Result<_, CodecError>>()?;
    Ok(Arc::new(Relation { oid, namespace, name, columns }))
}
