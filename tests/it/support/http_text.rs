//! The requests that the double of ClickHouse reads, and the answers that it writes, as the bytes of HTTP/1.1.

/// Parses the request at the beginning of the buffer once it is complete, and returns its length, its target and its
/// body.
pub fn request(buffer: &[u8]) -> Option<(usize, String, Vec<u8>)> {
    let head_len = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_len]).unwrap().to_lowercase();
    let line = std::str::from_utf8(&buffer[..head_len]).unwrap().lines().next().unwrap();
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let rest = &buffer[head_len..];
    if !head.contains("\r\ntransfer-encoding: chunked\r\n") {
        let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        return Some((head_len + length, target, rest.get(..length)?.to_vec()));
    }
    let (mut chunks, mut at) = (Vec::new(), 0);
    loop {
        let line = rest[at..].windows(2).position(|bytes| bytes == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[at..at + line]).unwrap().trim(), 16).unwrap();
        at += line + 2;
        chunks.push(rest.get(at..at + size + 2)?.get(..size)?);
        at += size + 2;
        if size == 0 {
            return Some((head_len + at, target, chunks.concat()));
        }
    }
}

pub fn response(status: u16, answer: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let code = text.strip_prefix("Code: ").and_then(|rest| rest.split('.').next()).unwrap_or_default();
    let mark = if code.is_empty() { String::new() } else { format!("X-ClickHouse-Exception-Code: {code}\r\n") };
    let head = format!("HTTP/1.1 {status} x\r\n{mark}Content-Length: {}\r\n\r\n", answer.len());
    [head.as_bytes(), answer].concat()
}

pub fn parameter(target: &str, name: &str) -> String {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (mut out, mut bytes) = (Vec::new(), pair.unwrap_or_default().bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap()
}
