//! The stored form of a row's columns: equal content has equal bytes.

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Cell, Row};

/// Encodes the cells and the unknown columns of a row.
pub fn encode_cells(row: &Row, out: &mut Vec<u8>) {
    out.put_varint(row.cells.len() as u64);
    for cell in &row.cells {
        match cell {
            Cell::Missing => out.put_u8(0),
            Cell::Null => out.put_u8(1),
            Cell::Unavailable => out.put_u8(2),
            Cell::Bool(false) => out.put_u8(3),
            Cell::Bool(true) => out.put_u8(4),
            Cell::Uuid(id) => {
                out.put_u8(5);
                out.put_id(*id);
            }
            Cell::Micros(micros) => {
                out.put_u8(6);
                out.put_zigzag(*micros);
            }
            Cell::Text(text) => {
                out.put_u8(7);
                out.put_bytes(text.as_bytes());
            }
            Cell::Json(text) => {
                out.put_u8(8);
                out.put_bytes(text.as_bytes());
            }
        }
    }
    out.put_optional_bytes(row.extra.as_deref().map(str::as_bytes));
    // Earlier versions of nova did not store the names of unfilled unknown columns. So a row without unfilled unknown
    // columns ends without a count of their names.
    row.extra_unavailable.iter().for_each(|name| out.put_bytes(name.as_bytes()));
}

/// Reads the columns that [`encode_cells`] wrote.
pub fn decode_cells(bytes: &[u8]) -> Result<Row, CodecError> {
    const WHAT: &str = "row cells";
    let mut reader = Reader::new(WHAT, bytes);
    let count = reader.varint()?;
    let mut cells = Vec::new();
    for _ in 0..count {
        cells.push(match reader.u8()? {
            0 => Cell::Missing,
            1 => Cell::Null,
            2 => Cell::Unavailable,
            3 => Cell::Bool(false),
            4 => Cell::Bool(true),
            5 => Cell::Uuid(reader.id()?),
            6 => Cell::Micros(reader.zigzag()?),
            7 => Cell::Text(reader.text()?.into()),
            8 => Cell::Json(reader.text()?.into()),
            _ => return Err(CodecError::Invalid(WHAT)),
        });
    }
    let extra = match reader.optional_bytes()? {
        None => None,
        Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| CodecError::Invalid(WHAT))?.into()),
    };
    let mut names = Vec::new();
    while !reader.is_empty() {
        names.push(reader.text()?.into());
    }
    Ok(Row { cells: cells.into_boxed_slice(), extra, extra_unavailable: names.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Id;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Row> {
        let cell = prop_oneof![
            Just(Cell::Missing),
            Just(Cell::Null),
            Just(Cell::Unavailable),
            any::<bool>().prop_map(Cell::Bool),
            any::<u128>().prop_map(|id| Cell::Uuid(Id::from_u128(id))),
            any::<i64>().prop_map(Cell::Micros),
            any::<String>().prop_map(|text| Cell::Text(text.into())),
            any::<String>().prop_map(|text| Cell::Json(text.into())),
        ];
        let names = proptest::collection::vec(any::<String>().prop_map(Into::into), 0..3);
        (proptest::collection::vec(cell, 0..9), any::<Option<String>>(), names).prop_map(|(cells, extra, names)| Row {
            cells: cells.into(),
            extra: extra.map(Into::into),
            extra_unavailable: names.into(),
        })
    }

    proptest! {
        #[test]
        fn cells_round_trip_and_mutants_are_errors_or_cells_with_these_bytes(row in rows(), seed: u64) {
            let encode = |row: &Row| {
                let mut cells = Vec::new();
                encode_cells(row, &mut cells);
                cells
            };
            prop_assert_eq!(decode_cells(&encode(&row)), Ok(row.clone()));
            check_bytes(&encode(&row), seed, decode_cells, encode);
        }
    }
}
