//! Writes what a PostgreSQL server sends: messages of pgoutput, and lines of COPY.

use nova::decode::pgoutput::EPOCH_OFFSET_US;
use nova::event::{Relation, Table, WireColumn};

/// The value of a column as pgoutput sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    Null,
    Unchanged,
    Text(String),
}

pub type Values = Vec<Wire>;

/// Returns the relation of a table with the columns that nova knows.
pub fn relation(table: Table) -> Relation {
    use nova::event::ColumnType as T;
    let oid = |kind| match kind {
        T::Uuid => 2_950,
        T::Text => 25,
        T::Bool => 16,
        T::Json => 3_802,
        T::TimestampTz => 1_184,
        T::Timestamp => 1_114,
    };
    let column = |one: &nova::event::Column| WireColumn { name: one.name.into(), type_oid: oid(one.kind) };
    Relation {
        oid: 16_000 + u32::from(table.number()),
        namespace: "public".into(),
        name: table.name().into(),
        columns: table.columns().iter().map(column).collect(),
    }
}

fn tuple(out: &mut Vec<u8>, values: &[Wire]) {
    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            Wire::Null => out.push(b'n'),
            Wire::Unchanged => out.push(b'u'),
            Wire::Text(text) => {
                out.push(b't');
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

pub fn describe(relation: &Relation) -> Vec<u8> {
    let mut out = vec![b'R'];
    out.extend_from_slice(&relation.oid.to_be_bytes());
    for text in [&relation.namespace, &relation.name] {
        out.extend_from_slice(text.as_bytes());
        out.push(0);
    }
    out.push(b'd');
    out.extend_from_slice(&(relation.columns.len() as u16).to_be_bytes());
    for column in &relation.columns {
        out.push(u8::from(&*column.name == "id"));
        out.extend_from_slice(column.name.as_bytes());
        out.push(0);
        out.extend_from_slice(&column.type_oid.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
    }
    out
}

pub fn insert(oid: u32, new: &[Wire]) -> Vec<u8> {
    let mut out = vec![b'I'];
    out.extend_from_slice(&oid.to_be_bytes());
    out.push(b'N');
    tuple(&mut out, new);
    out
}

/// Writes the message for an update. `old` is the kind of the old tuple, `K` or `O`, with its values.
pub fn update(oid: u32, old: Option<(u8, &[Wire])>, new: &[Wire]) -> Vec<u8> {
    let mut out = vec![b'U'];
    out.extend_from_slice(&oid.to_be_bytes());
    if let Some((kind, old)) = old {
        out.push(kind);
        tuple(&mut out, old);
    }
    out.push(b'N');
    tuple(&mut out, new);
    out
}

pub fn delete(oid: u32, (kind, old): (u8, &[Wire])) -> Vec<u8> {
    let mut out = vec![b'D'];
    out.extend_from_slice(&oid.to_be_bytes());
    out.push(kind);
    tuple(&mut out, old);
    out
}

pub fn truncate(oids: &[u32]) -> Vec<u8> {
    let mut out = vec![b'T'];
    out.extend_from_slice(&(oids.len() as u32).to_be_bytes());
    out.push(0);
    oids.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    out
}

pub fn begin(final_lsn: u64, commit_us: i64, xid: u32) -> Vec<u8> {
    let mut out = vec![b'B'];
    out.extend_from_slice(&final_lsn.to_be_bytes());
    out.extend_from_slice(&(commit_us - EPOCH_OFFSET_US).to_be_bytes());
    out.extend_from_slice(&xid.to_be_bytes());
    out
}

pub fn commit(lsn: u64, end_lsn: u64, commit_us: i64) -> Vec<u8> {
    let mut out = vec![b'C', 0];
    out.extend_from_slice(&lsn.to_be_bytes());
    out.extend_from_slice(&end_lsn.to_be_bytes());
    out.extend_from_slice(&(commit_us - EPOCH_OFFSET_US).to_be_bytes());
    out
}

pub fn logical(transactional: bool, lsn: u64, prefix: &str, content: &[u8]) -> Vec<u8> {
    let mut out = vec![b'M', u8::from(transactional)];
    out.extend_from_slice(&lsn.to_be_bytes());
    out.extend_from_slice(prefix.as_bytes());
    out.push(0);
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// Writes a line of COPY in text format.
pub fn line(values: &[Wire]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b'\t');
        }
        let Wire::Text(text) = value else {
            out.extend_from_slice(b"\\N");
            continue;
        };
        for byte in text.bytes() {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\\' => out.extend_from_slice(b"\\\\"),
                byte => out.push(byte),
            }
        }
    }
    out.push(b'\n');
    out
}
