//! A real server on a real socket that answers each request with the next scripted bytes. A script
//! that is used up stays silent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Marks, at the end of a reply, that the server closes the connection behind it.
const CLOSE: &[u8] = b"\0close";
/// Marks, at the end of a reply, that what stands behind it comes again and again.
const AGAIN: &[u8] = b"\0again";
/// The pause between two times.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    closed: Notify,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Vec<u8>>,
    requests: Vec<String>,
    connections: usize,
}

impl Server {
    pub(super) async fn start(replies: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().replies = replies.into();
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    shared.state.lock().unwrap().connections += 1;
                    tokio::spawn(serve(stream, Arc::clone(&shared)));
                }
            }
        });
        Self { address, shared, task }
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// Waits until a client closed its connection.
    pub(super) async fn closed(&self) {
        self.shared.closed.notified().await;
    }

    /// Stops listening.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        (&mut self.task).await.unwrap_err();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Some(request) = read_request(&mut stream).await {
        let reply = {
            let mut state = shared.state.lock().unwrap();
            state.requests.push(request);
            state.replies.pop_front()
        };
        let Some(reply) = reply else { continue };
        if let Some(at) = reply.windows(AGAIN.len()).position(|bytes| bytes == AGAIN) {
            let (start, again) = (&reply[..at], &reply[at + AGAIN.len()..]);
            let mut more = stream.write_all(start).await;
            while more.is_ok() {
                more = stream.write_all(again).await;
                tokio::time::sleep(PAUSE).await;
            }
            break;
        }
        let bytes = reply.strip_suffix(CLOSE).unwrap_or(&reply);
        if stream.write_all(bytes).await.is_err() || bytes.len() < reply.len() {
            break;
        }
    }
    shared.closed.notify_one();
}

/// A request with its body; `None` where the client closed the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:").map(|value| value.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// A reply whose length is told.
pub(super) fn plain(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    (head + body).into_bytes()
}

/// A reply in chunks.
pub(super) fn chunked(status: &str, headers: &str, chunks: &[&str]) -> Vec<u8> {
    let mut reply = format!("HTTP/1.1 {status}\r\n{headers}transfer-encoding: chunked\r\n\r\n");
    for chunk in chunks {
        reply += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    (reply + "0\r\n\r\n").into_bytes()
}

/// A stream that says this and then nothing.
pub(super) fn stalled(start: &str) -> Vec<u8> {
    let mut reply = chunked("200 OK", "content-type: text/event-stream\r\n", &[start]);
    reply.truncate(reply.len() - "0\r\n\r\n".len());
    reply
}

/// A stream that says this and then breaks.
pub(super) fn broken(start: &str) -> Vec<u8> {
    [stalled(start).as_slice(), CLOSE].concat()
}

/// A stream that says this, then that again and again, and never ends.
pub(super) fn endless(start: &str, again: &str) -> Vec<u8> {
    let piece = format!("{:x}\r\n{again}\r\n", again.len());
    [stalled(start).as_slice(), AGAIN, piece.as_bytes()].concat()
}
