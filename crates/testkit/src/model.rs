//! A scripted model on loopback, for every wire format that Journeyman speaks.
//!
//! It is a real HTTP server with the events, ids and errors of the real ones, and it judges what it
//! is asked as strictly as they do. It owns the script and the book of what was asked and answered,
//! which outlives any restart of the other side. It must never share code with the client of the
//! models: it is the other side of the wire.
//!
//! ```
//! use journeyman_testkit::model::{Misbehaviour, ModelServer, Reply, Script};
//!
//! let script = Script::turns([
//!     Reply::call("read", &serde_json::json!({ "path": "a.txt" })),
//!     Reply::text("It is empty."),
//! ]);
//! let server = ModelServer::start(script.misbehave_at(1, Misbehaviour::overloaded()))?;
//! # drop(server);
//! # Ok::<(), std::io::Error>(())
//! ```

mod anthropic;
mod chat;
mod dialect;
pub(crate) mod http;
mod ledger;
mod misbehaviour;
mod refusal;
mod reply;
mod responses;
mod script;
mod seen;
mod serve;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use journeyman_domain::model::Wire;

use self::ledger::Ledger;
pub use self::ledger::conversation_of;
pub use self::misbehaviour::{ErrorBody, Misbehaviour, StreamError};
pub use self::refusal::ProviderError;
pub use self::reply::{Ending, Reply};
pub use self::script::Script;
pub use self::seen::Seen;

/// The scripted model. Dropping it stops it and breaks off every answer.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the threads of the connections share.
#[derive(Debug)]
struct Shared {
    script: Script,
    ledger: Mutex<Ledger>,
    changed: Condvar,
    stopping: AtomicBool,
    connections: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl ModelServer {
    /// Starts it on a free port of loopback, with threads of its own.
    pub fn start(script: Script) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script,
            ledger: Mutex::default(),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &of_thread));
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// What belongs into the provider's `base_url`.
    pub fn base_url(&self, wire: Wire) -> String {
        match wire {
            Wire::OpenAiChat | Wire::OpenAiResponses => format!("http://{}/v1", self.address),
            Wire::AnthropicMessages => format!("http://{}", self.address),
        }
    }

    /// Every request of a model so far, in order; those that were refused too.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.ledger().seen.iter().map(|seen| Seen::clone(seen)).collect()
    }

    /// How often a turn was answered completely, and thereby paid. An answer that its asker did not
    /// live to read counts too.
    pub fn answered(&self, conversation: &str, turn: usize) -> usize {
        self.shared.ledger().answered(conversation, turn)
    }

    /// How often each turn of each conversation was answered completely.
    pub fn all_answered(&self) -> BTreeMap<(String, usize), usize> {
        let ledger = self.shared.ledger();
        ledger.all_answered().iter().map(|(turn, came)| (turn.clone(), came.len())).collect()
    }

    /// When those requests came that were answered completely, each with its turn.
    pub fn paid(&self) -> Vec<(usize, SystemTime)> {
        let ledger = self.shared.ledger();
        let of_turn = |((_, turn), came): (&(String, usize), &Vec<SystemTime>)| {
            came.iter().map(|at| (*turn, *at)).collect::<Vec<_>>()
        };
        ledger.all_answered().iter().flat_map(of_turn).collect()
    }

    /// What the server found wrong with what it was sent: conversation, turn and words.
    pub fn violations(&self) -> Vec<String> {
        self.shared.ledger().violations.clone()
    }

    /// How many hanging answers were broken off by their asker.
    pub fn hung_up(&self) -> usize {
        self.shared.ledger().hung_up
    }

    /// Waits until this is true of the requests so far; `false` if it does not come true in time.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&[Arc<Seen>]) -> bool,
    ) -> bool {
        let ledger = self.shared.ledger();
        let waiting = |ledger: &mut Ledger| !done(&ledger.seen);
        let waited = self.shared.changed.wait_timeout_while(ledger, timeout, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Misbehaves once more, at the next request of this turn.
    pub fn misbehave_at(&self, turn: usize, misbehaviour: Misbehaviour) {
        self.shared.script.plan(1, misbehaviour, move |seen| seen.turn == turn);
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        for connection in self.shared.connections().values() {
            // One that is closed already is what is wanted.
            drop(connection.shutdown(std::net::Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in (0..).zip(listener.incoming().map_while(Result::ok)) {
        if shared.is_stopping() {
            break;
        }
        if let Ok(kept) = stream.try_clone() {
            shared.connections().insert(number, kept);
        }
        let shared = Arc::clone(shared);
        // It ends with its connection; an asker that breaks off is its own affair.
        std::thread::spawn(move || {
            // The copy goes first: a reset takes place when the last one is closed.
            let served = serve::connection(&stream, &shared);
            shared.connections().remove(&number);
            drop(served);
        });
    }
}
