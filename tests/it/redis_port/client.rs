//! A Redis client that keeps the RESP type of each value.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer in RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Double(f64),
    Null,
    /// An array, a set or a map; the first byte of the answer says which of the three it is.
    List(char, Vec<Told>),
}

impl Told {
    pub fn text(&self) -> String {
        match self {
            Told::Simple(text) | Told::Error(text) => text.clone(),
            Told::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?} is no text"),
        }
    }

    pub fn list(self) -> Vec<Told> {
        match self {
            Told::List(_, list) => list,
            other => panic!("{other:?} is no list"),
        }
    }
}

pub struct Redis {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

pub fn encoded(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

impl Redis {
    pub fn connect(addr: SocketAddr) -> Redis {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Redis { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub fn ask(&mut self, line: &str) -> Told {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.stream.write_all(&encoded(&args)).unwrap();
        self.told().unwrap()
    }

    /// Reads the next answer from the connection. Returns `None` if the connection has ended.
    pub fn told(&mut self) -> Option<Told> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        // An error message repeats the sent bytes, which may not be valid UTF-8.
        let line = String::from_utf8_lossy(&line).into_owned();
        let (kind, rest) = line.trim_end_matches("\r\n").split_at(1);
        let rest = rest.to_owned();
        Some(match kind {
            "+" => Told::Simple(rest),
            "-" => Told::Error(rest),
            ":" => Told::Int(rest.parse().unwrap()),
            "," => Told::Double(rest.parse().unwrap()),
            "_" => Told::Null,
            "$" | "=" if rest == "-1" => Told::Null,
            "$" | "=" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.reader.read_exact(&mut bytes).ok()?;
                bytes.truncate(bytes.len() - 2);
                Told::Bulk(bytes)
            }
            "*" if rest == "-1" => Told::Null,
            "*" | "~" | "%" => {
                let count = rest.parse::<usize>().unwrap() * if kind == "%" { 2 } else { 1 };
                let list: Option<Vec<Told>> = (0..count).map(|_| self.told()).collect();
                Told::List(kind.chars().next().unwrap(), list?)
            }
            other => panic!("{other}{rest}"),
        })
    }
}
