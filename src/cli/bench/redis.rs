//! Measures Redis with values of the size of nova's answers, for comparison.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::cli::error::CliError;

use super::load::{Connection, Framing};

/// The seconds after which Redis forgets the bench's values, in case the bench did not delete them.
const EXPIRE_S: u32 = 3_600;
const PORT: u16 = 6_379;

/// Resolves the address of `host`, `host:port` or `redis://host:port/`.
pub(super) fn address(text: &str) -> Result<SocketAddr, CliError> {
    let plain = text.strip_prefix("redis://").unwrap_or(text);
    let plain = plain.split('/').next().unwrap_or_default();
    let named = if plain.contains(':') { plain.to_owned() } else { format!("{plain}:{PORT}") };
    let found = named.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| CliError::Usage(format!("--redis: expected host:port, found {text:?}")))
}

/// Writes a Redis command as an array of bulk strings.
pub(super) fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Stores the values under keys of this bench, and returns the keys.
pub(super) async fn store(addr: SocketAddr, values: &[Vec<u8>]) -> Result<Vec<String>, CliError> {
    let bench = uuid::Uuid::new_v4().simple();
    let mut redis = Connection::open(addr, Framing::Resp).await?;
    let mut keys = Vec::with_capacity(values.len());
    for (n, value) in values.iter().enumerate() {
        let key = format!("nova:bench:{bench}:{n}");
        redis.ask(&command(&[b"SET", key.as_bytes(), value, b"EX", EXPIRE_S.to_string().as_bytes()])).await?;
        keys.push(key);
    }
    Ok(keys)
}

pub(super) async fn remove(addr: SocketAddr, keys: &[String]) -> Result<(), CliError> {
    let mut redis = Connection::open(addr, Framing::Resp).await?;
    for key in keys {
        redis.ask(&command(&[b"DEL", key.as_bytes()])).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_and_commands_their_lengths() {
        for text in ["127.0.0.1:6379", "127.0.0.1", "redis://127.0.0.1:6379/", "redis://127.0.0.1/0"] {
            assert_eq!(address(text).unwrap(), "127.0.0.1:6379".parse().unwrap());
        }
        assert!(address("127.0.0.1:port").is_err());
        assert_eq!(command(&[b"GET", b"k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
