//! Reads a block of ClickHouse's Native format by the header of its columns, as ClickHouse does, and not by the lists of
//! columns that nova knows.

/// A block: its columns, each with its name and type, and its rows as RowBinary.
pub struct Block {
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<u8>>,
}

/// Reads a block. Panics if the bytes are not exactly one block.
pub fn read(bytes: &[u8]) -> Block {
    let mut rest = Rest(bytes);
    let (count, rows) = (rest.varint(), rest.varint());
    let mut block = Block { columns: Vec::new(), rows: vec![Vec::new(); rows] };
    for _ in 0..count {
        let (name, kind) = (rest.text(), rest.text());
        if rows > 0 {
            rest.column(&kind, &mut block.rows);
        }
        block.columns.push((name, kind));
    }
    assert!(rest.0.is_empty(), "{} bytes follow the block", rest.0.len());
    block
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn number(&mut self, width: usize) -> usize {
        self.take(width).iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn varint(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.number(1);
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> String {
        let length = self.varint();
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    /// Returns the bytes of one value.
    fn value(&mut self, kind: &str) -> &'a [u8] {
        let width = match kind {
            "UUID" | "UInt128" => 16,
            "UInt64" | "DateTime64(3, 'UTC')" | "DateTime64(6, 'UTC')" => 8,
            "UInt32" => 4,
            "Bool" | "UInt8" => 1,
            "String" => {
                let whole = self.0;
                let length = self.varint();
                self.take(length);
                return &whole[..whole.len() - self.0.len()];
            }
            other => panic!("a column of the type {other}"),
        };
        self.take(width)
    }

    fn column(&mut self, kind: &str, rows: &mut [Vec<u8>]) {
        if let Some(kind) = kind.strip_prefix("Nullable(").and_then(|kind| kind.strip_suffix(')')) {
            let nulls = self.take(rows.len());
            for (row, null) in rows.iter_mut().zip(nulls) {
                let value = self.value(kind);
                row.push(*null);
                row.extend_from_slice(if *null == 0 { value } else { &[] });
            }
            return;
        }
        if kind != "LowCardinality(String)" {
            rows.iter_mut().for_each(|row| row.extend_from_slice(self.value(kind)));
            return;
        }
        assert_eq!(self.number(8), 1, "the version of the dictionary");
        let flags = self.number(8);
        assert_eq!(flags & !3, 0x600, "the flags of the dictionary");
        let keys: Vec<_> = (0..self.number(8)).map(|_| self.value("String")).collect();
        assert_eq!(self.number(8), rows.len());
        for row in rows {
            row.extend_from_slice(keys[self.number(1 << (flags & 3))]);
        }
    }
}
