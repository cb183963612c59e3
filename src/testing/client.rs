//! A blocking HTTP/1.1 client of one server on this machine, with one connection. A test can use this client within any
//! runtime. `http_client` would need a runtime of its own, which must not block within the runtime of a test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use parking_lot::Mutex;

/// The timeout of an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum number of bytes of an answer's body.
const ANSWER_MAX_BYTES: usize = 256 << 20;
/// The maximum number of bytes of an answer's head.
const HEAD_MAX_BYTES: u64 = 64 << 10;

/// The status and the body of an HTTP answer.
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
}

/// A blocking HTTP client of one server.
pub(super) struct Client {
    addr: SocketAddr,
    kept: Mutex<Option<BufReader<TcpStream>>>,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Client {
        Client { addr, kept: Mutex::new(None) }
    }

    pub fn ask(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        if !token.is_empty() {
            head.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head.push_str(body.unwrap_or_default());
        let kept = self.kept.lock().take();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let answer = round(&mut stream, &head)?;
        *self.kept.lock() = Some(stream);
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(BufReader::new(stream))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1")
}

fn round(stream: &mut BufReader<TcpStream>, request: &str) -> io::Result<Answer> {
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut head, mut length) = (stream.by_ref().take(HEAD_MAX_BYTES), 0usize);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(malformed());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| malformed())?;
        }
    }
    if length > ANSWER_MAX_BYTES {
        return Err(malformed());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, body: String::from_utf8(body).map_err(|_| malformed())? })
}
