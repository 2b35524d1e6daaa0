//! HTTP/1.1: just what a client of a model needs.
//!
//! Owns: bytes of requests and answers. Must never: know what they mean.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::reply::Pace;

const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// How often a hanging answer looks whether it still is wanted.
const HANG_POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order and complete.
    Complete,
    /// In good order, but short of what it should say.
    Early,
    /// By the end of the connection.
    Cut,
    /// Not at all.
    Hang,
    /// Not at all, but there are comments.
    Comments,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) code: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(String, String)>,
    /// The body, in the chunks that go out one by one.
    pub(super) chunks: Vec<Vec<u8>>,
    pub(super) is_stream: bool,
    pub(super) pace: Pace,
    pub(super) end: End,
}

/// The next request; `None` at the end of the connection.
pub(crate) fn read_request(
    from: &mut impl BufRead,
    mut answers: impl Write,
) -> std::io::Result<Option<Request>> {
    let Some(first) = read_line(from)? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(invalid()) };
    let mut headers = BTreeMap::new();
    loop {
        let line = read_line(from)?.ok_or_else(invalid)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(invalid)?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        answers.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        read_chunks(from, &mut body)?;
    } else if let Some(length) = headers.get("content-length") {
        let length = length.parse().map_err(|_| invalid())?;
        read_exactly(from, length, &mut body)?;
    }
    Ok(Some(Request { method, path, headers, body }))
}

fn invalid() -> std::io::Error {
    std::io::ErrorKind::InvalidData.into()
}

fn read_line(from: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = from.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

fn read_exactly(from: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> std::io::Result<()> {
    if length + body.len() as u64 > MAX_BODY_BYTES {
        return Err(invalid());
    }
    let read = from.by_ref().take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let line = read_line(from)?.ok_or_else(invalid)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(|_| invalid())?;
        read_exactly(from, length, body)?;
        read_line(from)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

impl Response {
    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.code, reason(self.code));
        head += &format!("content-type: {}\r\n", self.content_type);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self.is_stream {
            head += "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
        } else {
            let length: usize = self.chunks.iter().map(Vec::len).sum();
            head += &format!("content-length: {length}\r\n\r\n");
        }
        head
    }

    /// The pieces to write one by one; the last one ends the answer.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let split_bytes = self.pace.split_bytes;
        let body: Vec<Vec<u8>> = if split_bytes == 0 {
            self.chunks.clone()
        } else {
            self.chunks.concat().chunks(split_bytes).map(<[u8]>::to_vec).collect()
        };
        if !self.is_stream {
            let cut = matches!(self.end, End::Cut | End::Hang | End::Comments);
            let body = body.concat();
            let kept = if cut { body.len() / 2 } else { body.len() };
            return vec![body[..kept].to_vec()];
        }
        let framed = body.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| {
            let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
            framed
        });
        let mut pieces: Vec<_> = framed.collect();
        if matches!(self.end, End::Complete | End::Early) {
            // With the last chunk: a complete answer has its end within it.
            pieces.last_mut().into_iter().for_each(|last| last.extend_from_slice(b"0\r\n\r\n"));
            if pieces.is_empty() {
                pieces.push(b"0\r\n\r\n".to_vec());
            }
        }
        pieces
    }

    /// Sends it, at its pace; `before_last` is called before the piece that completes it.
    pub(super) fn send(
        &self,
        mut to: &TcpStream,
        before_last: impl FnOnce(),
    ) -> std::io::Result<()> {
        let head = self.head().into_bytes();
        let mut pieces = self.pieces();
        std::thread::sleep(self.pace.before_headers);
        if self.pace.per_chunk.is_zero() && self.pace.split_bytes == 0 {
            before_last();
            return to.write_all(&[head, pieces.concat()].concat());
        }
        to.write_all(&head)?;
        let last = pieces.pop();
        for piece in pieces {
            std::thread::sleep(self.pace.per_chunk);
            to.write_all(&piece)?;
        }
        std::thread::sleep(self.pace.per_chunk);
        before_last();
        to.write_all(&last.unwrap_or_default())
    }
}

/// Waits until the other side hangs up, which is `true`, or the server stops.
pub(super) fn hang(stream: &TcpStream, is_stopping: impl Fn() -> bool) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(HANG_POLL))?;
    while !is_stopping() {
        match stream.peek(&mut [0]) {
            Ok(0) => return Ok(true),
            Ok(_) => return Err(invalid()),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::ConnectionReset) => {
                return Ok(true);
            }
            Err(_) => {}
        }
    }
    Ok(false)
}

/// Makes the close of the socket a reset.
pub(super) fn reset_on_close(stream: &TcpStream) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
}
