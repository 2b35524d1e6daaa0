//! The order of start: settings, database, recovery, tree. One function a step.

mod database;
mod environment;
mod forge;
mod limits;
mod litter;
mod models;
mod node;
pub mod seen;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;

use journeyman_actors::agent::Fetched;
use journeyman_actors::auditor::Recorder;
use journeyman_actors::context::{self, Runtime};
use journeyman_actors::leases::Leases;
use journeyman_actors::scheduler::SchedulerHandle;
use journeyman_actors::support::{Lives, TrackedTasks};
use journeyman_domain::failure::sentence;
use journeyman_domain::ids::TaskId;
use journeyman_store::cluster::Cluster;
use journeyman_supervision::{Directory, RunningTree};
use journeyman_web::{Api, ApiState};
use journeyman_workspace::process::Runner;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::session::Context;
use crate::tree;

use database::Opened;
pub use database::{
    configured as configured_database, connect as connect_database, is_away as is_database_away,
    is_lost as is_database_lost, open as open_database, private as private_cluster,
};
pub use forge::describe as describe_forge;

/// What this process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything, until a signal.
    Daemon,
    /// The first task that is added.
    Foreground,
    /// One command that reads or adds.
    Observer,
}

/// A runtime in this process.
pub struct Running {
    runtime: Runtime,
    tree: RunningTree,
    api: Api,
    database: String,
    socket: Option<PathBuf>,
    /// What this process does beside its tree; it ends with it.
    background: TrackedTasks,
    /// Of a daemon: where it writes down how far it has seen the database.
    seen: Option<seen::File>,
    /// Dropped last: the private cluster stops with its last user.
    _cluster: Option<Cluster>,
    /// Held for as long as a daemon runs: one for each data folder.
    _only: Option<std::fs::File>,
}

/// Starts a runtime.
pub async fn start(context: &Context, mode: Mode) -> Result<Running, Failure> {
    prepare_folders(context)?;
    let only = match mode {
        Mode::Daemon => Some(node::only_daemon(&context.paths.data).await?),
        Mode::Foreground | Mode::Observer => None,
    };
    let opened = database::open(context).await?;
    start_on(opened, only, context, mode).await.map_err(database::lost)
}

/// Starts a runtime on an open database.
async fn start_on(
    opened: Opened,
    only: Option<std::fs::File>,
    context: &Context,
    mode: Mode,
) -> Result<Running, Failure> {
    let background = TrackedTasks::default();
    let store = opened.store;
    let configured = database::settings(context, &store).await?;
    let limits = limits::Limits::new(&configured);
    let settings = settings::actors(context, &configured, mode != Mode::Observer)?;
    let first_task = TaskId::from_uuid(uuid::Uuid::now_v7());
    let (node, place) = node::register(&store, context, mode, first_task).await?;
    if mode == Mode::Daemon
        && let Some(place) = place
    {
        node::bury_the_dead(&store, &place, node).await?;
        let seen = seen::File::of(&context.paths.data);
        let is_older = seen.is_ahead_of(&store).await?;
        let (store, runs) = (store.clone(), context.paths.runs());
        // It may take a while, and nothing waits for it. What is seen from now on counts when it is done: whoever
        // is killed before says it again.
        let tidy = async move {
            node::reap_the_rest(&store, &place).await;
            litter::clear(&store, &runs, is_older).await;
            if is_older {
                seen.note(&store).await;
            }
            tokio::join!(seen.follow(store.clone()), litter::follow(&store, &runs));
        };
        background.spawn(|stop| async move {
            let _ = stop.run_until_cancelled(tidy).await;
        });
    }
    let runtime = Runtime {
        store,
        node,
        mode: match mode {
            Mode::Daemon => context::Mode::Daemon,
            Mode::Foreground => context::Mode::Foreground(first_task),
            Mode::Observer => context::Mode::Observer,
        },
        settings: Arc::new(settings),
        leases: Leases::default(),
        schedule: limits.now(),
        models: Arc::new(models::load(context, &configured, mode != Mode::Observer)?),
        runner: Runner::new(&context.program).map_err(Failure::from_error)?,
        fetched: Fetched::default(),
        changes: tokio::sync::broadcast::channel(256).0,
    };
    if mode == Mode::Daemon {
        let (context, store) = (context.clone(), runtime.store.clone());
        background.spawn(|stop| limits.watch(context, store, stop));
    }
    let directory = Directory::default();
    let spec = own_tree(context)?;
    let starter = tree::Starter { runtime: runtime.clone(), lives: Lives::default() };
    let tree = RunningTree::start_in(directory.clone(), spec, starter)
        .await
        .map_err(|error| database::start_failure(&error))?;
    let api = Api::new(ApiState { runtime: runtime.clone(), directory });
    Ok(Running {
        runtime,
        tree,
        api,
        database: opened.description,
        socket: context.socket(),
        background,
        seen: (mode == Mode::Daemon).then(|| seen::File::of(&context.paths.data)),
        _cluster: opened.cluster,
        _only: only,
    })
}

fn prepare_folders(context: &Context) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let data = &context.paths.data;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| {
        Failure::missing(
            format!("the data folder {} cannot be made: {error}", data.display()),
            "set JOURNEYMAN_DATA to a folder that you can write",
        )
    })
}

fn own_tree(context: &Context) -> Result<journeyman_supervision::TreeSpec, Failure> {
    let file = context.paths.config.join("supervisor.toml");
    let own = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::from_error(error)),
    };
    tree::spec(own.as_deref()).map_err(|error| {
        let place = if own.is_some() { file.display().to_string() } else { String::new() };
        Failure::new(Exit::Usage, "config", format!("{place}: {error}"))
    })
}

/// How long the database may take for each of the last things that are asked of it, and connections to end.
const CLOSE_LIMIT: std::time::Duration = std::time::Duration::from_secs(3);
/// How long what runs beside the tree may take to end.
const BACKGROUND_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// A socket that answers.
pub struct Server {
    socket: PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Where it answers.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Ends it; open streams end too.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::debug!(error = %sentence(&error), "the API did not end in order");
        }
        // Without a file there is nothing to connect to.
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Running {
    /// The API of this runtime.
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// Where the data is, without a password.
    pub fn database_description(&self) -> &str {
        &self.database
    }

    /// Answers on the daemon's socket.
    pub fn serve(&self) -> Result<Server, Failure> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(socket) = self.socket.clone() else {
            return Err(Failure::missing(
                "there is no folder for the daemon's socket",
                "set XDG_RUNTIME_DIR to a folder of yours",
            ));
        };
        // The lock on the data folder says that nobody listens on an old one.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(Failure::from_error)?;
        let only_ours = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&socket, only_ours).map_err(Failure::from_error)?;
        let stop = CancellationToken::new();
        let serving = journeyman_web::serve(self.api.clone(), listener, stop.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(error = %sentence(&error), "the API ended");
            }
        });
        Ok(Server { socket, stop, task })
    }

    /// Waits until the tree gives up, and says why.
    pub async fn ended(&self) -> String {
        match self.tree.wait().await {
            journeyman_supervision::Ending::GaveUp(reason) => reason.to_string(),
            journeyman_supervision::Ending::Stopped
            | journeyman_supervision::Ending::AutoShutdown => "the tree was stopped".to_owned(),
            journeyman_supervision::Ending::Failed => "the root supervisor failed".to_owned(),
        }
    }

    /// Writes down what the auditor could not: its own end, that of the root, and what came while the database was
    /// away.
    async fn record_the_end(&self) {
        let Runtime { store, node, mode, .. } = self.runtime.clone();
        let recorder = Recorder { store, node, mode, ledger: self.tree.ledger().clone() };
        let lost = match tokio::time::timeout(CLOSE_LIMIT, recorder.write_rest()).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the database did not answer in time".to_owned(),
        };
        let records = self.tree.ledger().waiting();
        tracing::warn!(error = lost, records, "the last supervision records are not in the audit");
    }

    /// Stops everything in order.
    pub async fn stop(self) {
        let scheduler = SchedulerHandle::new(self.tree.directory().clone(), "shutdown");
        if self.runtime.mode != context::Mode::Observer
            && let Err(error) = scheduler.drain().await
        {
            tracing::debug!(error = %sentence(&error), "the scheduler did not drain");
        }
        self.tree.stop().await;
        self.background.stop(BACKGROUND_LIMIT).await;
        self.record_the_end().await;
        let leave = async {
            node::leave(&self.runtime).await;
            if let Some(seen) = &self.seen {
                seen.note(&self.runtime.store).await;
            }
        };
        if tokio::time::timeout(CLOSE_LIMIT, leave).await.is_err() {
            tracing::warn!(
                "the end of this node is not recorded: the database did not answer in time"
            );
        }
        // A statement that still runs on a connection shall not hold the end up.
        let closed = tokio::time::timeout(CLOSE_LIMIT, self.runtime.store.close()).await;
        if closed.is_err() {
            tracing::warn!("connections to the database were still busy at the end");
        }
    }
}
