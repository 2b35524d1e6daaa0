//! OTLP over HTTP/1.1: just what an exporter sends.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use prost::Message;

use super::Received;

const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct HttpServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    pub(super) fn start(received: Arc<Received>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let received = Arc::clone(&received);
                // It ends with its connection; an exporter that breaks off is its own affair.
                std::thread::spawn(move || drop(serve(stream, &received)));
            }
        });
        Ok(Self { address, stopping, thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(stream: TcpStream, received: &Received) -> std::io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    while let Some((head, body)) = read_request(&mut requests)? {
        let status = if head.iter().any(|line| line.starts_with("content-encoding:")) {
            "415 Unsupported Media Type"
        } else {
            accept(&head[0], &body, received)
        };
        write!(
            answers,
            "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
        )?;
    }
    Ok(())
}

fn accept(request_line: &str, body: &[u8], received: &Received) -> &'static str {
    let outcome = match request_line {
        "post /v1/traces http/1.1" => Message::decode(body).map(|spans| received.add_traces(spans)),
        "post /v1/metrics http/1.1" => Message::decode(body).map(|sums| received.add_metrics(sums)),
        _ => return "404 Not Found",
    };
    if outcome.is_ok() { "200 OK" } else { "400 Bad Request" }
}

/// The lines of the head, in lower case, and the body; `None` at the end of the connection.
fn read_request(from: &mut impl BufRead) -> std::io::Result<Option<(Vec<String>, Vec<u8>)>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|value| value.trim().parse().ok());
    match length.filter(|length| *length <= MAX_BODY_BYTES && !head.is_empty()) {
        Some(length) => {
            let mut body = vec![0; length];
            from.read_exact(&mut body)?;
            Ok(Some((head, body)))
        }
        None => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
