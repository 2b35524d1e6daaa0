//! A running tree from outside.

use std::sync::{Arc, OnceLock};

use ractor::{Actor, ActorCell};
use tokio::sync::{broadcast, watch};

use crate::{
    child::{StartChild, StartFailure},
    directory::{Directory, snapshot::TreeNode},
    exit::{Ending, Exit, SHUTDOWN},
    ledger::Ledger,
    path::ChildPath,
    record::{Change, SupervisionRecord},
    shared::Shared,
    spec::{ROOT, Start, TreeSpec},
    supervisor::{Arguments, Supervisor, root_ended},
};

/// A tree that runs. When it is dropped, the tree is asked to stop, without waiting for it.
pub struct RunningTree {
    shared: Arc<Shared>,
    root: ActorCell,
    ending: watch::Receiver<Option<Ending>>,
}

/// A tree did not start; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spec names a worker that the code does not have.
    #[error("supervisor [{supervisor}]: `{kind}` is no kind of child")]
    UnknownKind {
        /// The table of the supervisor.
        supervisor: String,
        /// The unknown kind.
        kind: String,
    },
    /// A child did not start; those before it were stopped in reverse order.
    #[error(transparent)]
    Child(#[from] StartFailure),
}

impl RunningTree {
    /// Starts a tree and returns when every child of its spec runs.
    pub async fn start(spec: TreeSpec, starter: impl StartChild) -> Result<Self, StartError> {
        Self::start_in(Directory::default(), spec, starter).await
    }

    /// As [`start`](Self::start), in a directory that handles were already made for.
    pub async fn start_in(
        directory: Directory,
        spec: TreeSpec,
        starter: impl StartChild,
    ) -> Result<Self, StartError> {
        let starter: Box<dyn crate::child::Starter> = Box::new(starter);
        for (name, supervisor) in spec.supervisors() {
            for child in &supervisor.children {
                if let Start::Worker(kind) = &child.start
                    && !starter.knows(kind)
                {
                    return Err(StartError::UnknownKind {
                        supervisor: name.to_owned(),
                        kind: kind.clone(),
                    });
                }
            }
        }
        let root = spec.root().clone();
        let shared = Arc::new(Shared::new(spec, starter, directory));
        let path = ChildPath::root();
        shared.directory.declare(&path, Some(&root), root.period);
        shared.directory.next_generation(&path);
        let reason = Arc::new(OnceLock::new());
        let arguments = Arguments {
            shared: Arc::clone(&shared),
            path: path.clone(),
            spec: root,
            ending: Some(Arc::clone(&reason)),
        };
        let (actor, life) = Actor::spawn(None, Supervisor, arguments)
            .await
            .map_err(|error| StartFailure::from_spawn(&path, error))?;
        shared.directory.register(&path, actor.get_cell());
        shared.record(&path, Change::Started);

        let (ended, ending) = watch::channel(None);
        let watched = Arc::clone(&shared);
        tokio::spawn(async move {
            // An aborted root is a failed root; `reason` is then empty.
            let _ = life.await;
            let ending = reason.get().cloned().unwrap_or(Ending::Failed);
            let exit = match &ending {
                Ending::Stopped | Ending::AutoShutdown => Exit::Shutdown,
                Ending::GaveUp(reason) => Exit::Failed(reason.to_string()),
                Ending::Failed => Exit::Killed,
            };
            root_ended(&watched, &path, exit).await;
            ended.send_replace(Some(ending));
        });
        Ok(Self { shared, root: actor.get_cell(), ending })
    }

    /// Stops every child in order, each within its own limit, and returns when all are gone.
    pub async fn stop(&self) -> Ending {
        self.root.stop(Some(SHUTDOWN.to_owned()));
        self.wait().await
    }

    /// Returns when the tree has ended, and why it did.
    pub async fn wait(&self) -> Ending {
        let mut ending = self.ending.clone();
        match ending.wait_for(Option::is_some).await {
            Ok(ending) => ending.clone().unwrap_or(Ending::Failed),
            // The watching task was aborted, so its runtime is shutting down.
            Err(_) => Ending::Failed,
        }
    }

    /// The tree as it is now.
    pub fn snapshot(&self) -> Option<TreeNode> {
        self.shared.directory.tree(ROOT)
    }

    /// All records from now on. A reader that falls behind by more than 1024 loses the oldest and is told so.
    pub fn records(&self) -> broadcast::Receiver<SupervisionRecord> {
        self.shared.records.subscribe()
    }

    /// All records that are not written down yet, also after the tree has ended.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Where the children are found.
    pub fn directory(&self) -> &Directory {
        &self.shared.directory
    }
}

impl Drop for RunningTree {
    fn drop(&mut self) {
        self.root.stop(Some(SHUTDOWN.to_owned()));
    }
}
