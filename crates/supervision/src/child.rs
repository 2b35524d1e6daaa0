//! What the assembler gives: the code that starts the children which a spec names.

use std::{future::Future, str::FromStr, sync::Arc};

use futures_util::future::BoxFuture;
use ractor::{
    ActorCell, ActorProcessingErr, ActorRef, Message, RpcReplyPort, SpawnErr, rpc::CallResult,
};

use tokio::sync::broadcast;

use crate::{
    directory::Directory,
    ledger::Ledger,
    path::ChildPath,
    record::{Change, SupervisionRecord},
};

/// Starts workers. The assembler implements it once, with one `match` over a closed enum of kinds.
pub trait StartChild: Send + Sync + 'static {
    /// The kinds of workers that exist; a spec with another one is refused before anything starts.
    type Kind: FromStr + Send;

    /// Starts one instance, linked to `context.supervisor`, and returns when it runs.
    ///
    /// It must not keep anything from an earlier instance: what a child knows, it reads in its `pre_start`. The future
    /// may be dropped at any await when its supervisor is stopped, and must not ask its own supervisor for anything.
    fn start(
        &self,
        kind: Self::Kind,
        context: ChildContext,
    ) -> impl Future<Output = Result<Child, SpawnErr>> + Send;

    /// Called once for each change in the life of a child, before it is recorded, by whoever makes the change: the
    /// place for metrics and traces, which then have no gap. The answer becomes the record's
    /// [`trace`](SupervisionRecord::trace).
    ///
    /// Changes of one child come in their order. It must return at once, and not panic.
    fn observe(&self, path: &ChildPath, generation: u64, change: &Change) -> Option<String> {
        let _ = (path, generation, change);
        None
    }
}

/// What a starting child is told about its place in the tree.
#[derive(Debug, Clone)]
pub struct ChildContext {
    /// Its address; the same over all restarts.
    pub path: ChildPath,
    /// Which instance it is, from 1.
    pub generation: u64,
    /// The actor to link it to, with `spawn_linked`.
    pub supervisor: ActorCell,
    /// Where it finds the others.
    pub directory: Directory,
    pub(crate) records: broadcast::Sender<SupervisionRecord>,
    pub(crate) ledger: Ledger,
}

impl ChildContext {
    /// All records of the tree from now on, as [`RunningTree::records`](crate::RunningTree::records).
    pub fn records(&self) -> broadcast::Receiver<SupervisionRecord> {
        self.records.subscribe()
    }

    /// All records of the tree that are not written down yet.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Records an actor that this child started itself.
    ///
    /// ractor kills the linked actors of a dead one without waiting for them; only recorded ones are waited for before
    /// the next instance of this child starts, so every actor with a name or another exclusive resource belongs here.
    pub fn adopt(&self, descendant: impl Into<ActorCell>) {
        self.directory.adopt(&self.path, self.generation, descendant.into());
    }
}

pub(crate) type Probe = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// A started instance of a child.
#[derive(Clone)]
pub struct Child {
    pub(crate) cell: ActorCell,
    pub(crate) probe: Option<Probe>,
}

impl Child {
    /// A child without a health probe.
    pub fn new(actor: impl Into<ActorCell>) -> Self {
        Self { cell: actor.into(), probe: None }
    }

    /// A child that answers a message of its own as its health probe, such as `Message::Ping { reply }`.
    ///
    /// It must ignore a failure of `reply.send(())`: the prober does not wait longer than the spec's `timeout`.
    pub fn with_ping<M: Message>(
        actor: ActorRef<M>,
        ping: impl Fn(RpcReplyPort<()>) -> M + Send + Sync + Clone + 'static,
    ) -> Self {
        let cell = actor.get_cell();
        Self::new(cell).with_probe(move || {
            let (actor, ping) = (actor.clone(), ping.clone());
            async move { matches!(actor.call(ping, None).await, Ok(CallResult::Success(()))) }
        })
    }

    /// Adds a health probe: true means healthy; the supervisor sets the time limit.
    #[must_use]
    pub fn with_probe<F, R>(mut self, probe: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = bool> + Send + 'static,
    {
        self.probe = Some(Arc::new(move || Box::pin(probe())));
        self
    }
}

/// A child did not start.
#[derive(Debug, thiserror::Error)]
#[error("{path} did not start")]
pub struct StartFailure {
    /// The child; within a failing supervisor, its child that was the cause.
    pub path: ChildPath,
    /// Why.
    #[source]
    pub source: ActorProcessingErr,
}

impl StartFailure {
    pub(crate) fn new(path: &ChildPath, source: impl Into<ActorProcessingErr>) -> Self {
        Self { path: path.clone(), source: source.into() }
    }

    /// Takes ractor's wrapping off; a failure from further down is passed on as it is.
    pub(crate) fn from_spawn(path: &ChildPath, error: SpawnErr) -> Self {
        match error {
            SpawnErr::StartupFailed(inner) => match inner.downcast::<Self>() {
                Ok(inner) => *inner,
                Err(source) => Self::new(path, source),
            },
            other @ (SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_)) => {
                Self::new(path, other)
            }
        }
    }
}

/// [`StartChild`] without its type of kinds.
pub(crate) trait Starter: Send + Sync {
    fn knows(&self, kind: &str) -> bool;
    fn start(&self, kind: &str, context: ChildContext) -> BoxFuture<'_, Result<Child, SpawnErr>>;
    fn observe(&self, path: &ChildPath, generation: u64, change: &Change) -> Option<String>;
}

impl<S: StartChild> Starter for S {
    fn knows(&self, kind: &str) -> bool {
        kind.parse::<S::Kind>().is_ok()
    }

    fn start(&self, kind: &str, context: ChildContext) -> BoxFuture<'_, Result<Child, SpawnErr>> {
        if let Ok(kind) = kind.parse::<S::Kind>() {
            return Box::pin(StartChild::start(self, kind, context));
        }
        let error = SpawnErr::StartupFailed(format!("`{kind}` is no kind of child").into());
        Box::pin(async { Err(error) })
    }

    fn observe(&self, path: &ChildPath, generation: u64, change: &Change) -> Option<String> {
        StartChild::observe(self, path, generation, change)
    }
}
