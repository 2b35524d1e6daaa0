//! A forge on loopback: GitHub's REST API as far as pull requests are listed and opened.
//!
//! It is a real HTTP server with the answers of the real one, judges what it is asked as strictly, and counts it.
//! It owns the pull requests, which outlive any restart of the other side. It must never share code with the
//! client: it is the other side of the wire.

mod serve;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// From 1.
    pub number: usize,
    /// Whose repository, and which: `acme/notes`.
    pub repository: String,
    /// The branch to merge.
    pub head: String,
    /// The branch to merge into.
    pub base: String,
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// open or closed.
    pub state: &'static str,
}

/// What the forge does instead of answering the next request that opens a pull request rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It opens it and drops the connection.
    DropAfterWork,
    /// It drops the connection and does nothing.
    DropBeforeWork,
    /// It opens it and answers with this status.
    StatusAfterWork(u16),
    /// It answers with this status and does nothing.
    Status(u16),
    /// It opens it, and answers that there is one already.
    AlreadyExists,
    /// It opens it and answers only after this time.
    SlowAfterWork(Duration),
    /// It does nothing and answers nothing until [`Forge::release`].
    HoldBeforeWork,
    /// It opens it and answers nothing until [`Forge::release`].
    HoldAfterWork,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path, its query included.
    pub path: String,
}

/// The running forge; it ends when it is dropped.
#[derive(Debug)]
pub struct Forge {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    token: String,
    address: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    pulls: Vec<Pull>,
    asked: Vec<Asked>,
    faults: VecDeque<Fault>,
    violations: Vec<String>,
    is_released: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl Forge {
    /// Starts it on a free port of loopback; it lets this token in.
    pub fn start(token: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            token: token.to_owned(),
            address,
            state: Mutex::default(),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &of_thread));
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// The value for `github.api_url`.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All pull requests, in order.
    pub fn pulls(&self) -> Vec<Pull> {
        self.shared.state().pulls.clone()
    }

    /// The address of the pull request of this number.
    pub fn address_of(&self, number: usize) -> String {
        serve::html_url(&self.shared, number)
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// How often a pull request was to be opened.
    pub fn opened(&self) -> usize {
        self.asked().iter().filter(|asked| asked.method == "POST").count()
    }

    /// What it found wrong with what it was sent.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Misbehaves at the next request that opens one; further faults come after each other.
    pub fn fail_next(&self, fault: Fault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Has a pull request there that somebody else opened.
    pub fn put(&self, pull: Pull) {
        self.shared.state().pulls.push(pull);
    }

    /// Lets what is held go on.
    pub fn release(&self) {
        self.shared.state().is_released = true;
        self.shared.changed.notify_all();
    }

    /// Waits until a pull request was to be opened so often; `false` if that does not come about in time.
    pub fn wait_for_opened(&self, count: usize, limit: Duration) -> bool {
        let enough = |state: &mut State| {
            state.asked.iter().filter(|asked| asked.method == "POST").count() < count
        };
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), limit, enough);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.release();
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.is_stopping() {
            break;
        }
        let shared = Arc::clone(shared);
        // It ends with its connection; an asker that breaks off is its own affair.
        std::thread::spawn(move || drop(serve::connection(&stream, &shared)));
    }
}
