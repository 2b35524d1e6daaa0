//! The router, and the call into it from within this process.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Response, StatusCode};
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::Full;
use journeyman_actors::agent::AgentsHandle;
use journeyman_actors::context::{Mode, Runtime};
use journeyman_actors::outbox::OutboxHandle;
use journeyman_actors::scheduler::SchedulerHandle;
use journeyman_domain::ids::TaskId;
use journeyman_supervision::Directory;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::Body;
use crate::problem::Refusal;
use crate::routes::{
    agents, audit, codebases, deps, drain, errors, health, schedules, settings, stats, steps,
    tasks, tree,
};
use crate::span;

/// Bytes of a request's body.
const BODY_LIMIT: usize = 8 << 20;
/// The same for adding tasks: a file of 100,000 of them.
const TASKS_LIMIT: usize = 64 << 20;

/// What the API works with.
pub struct ApiState {
    /// The runtime; in [`Mode::Foreground`] the first task that is added gets the id of the mode,
    /// and is reserved for this node.
    pub runtime: Runtime,
    /// Where the actors are.
    pub directory: Directory,
}

/// The API. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Api {
    router: Router,
}

/// What the handlers share.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) directory: Directory,
    pub(crate) scheduler: SchedulerHandle,
    pub(crate) agents: AgentsHandle,
    pub(crate) outbox: OutboxHandle,
    /// The id that the first task gets, until one has it.
    first_task: Mutex<Option<TaskId>>,
}

/// What a handler is given.
pub(crate) type State = axum::extract::State<Arc<Shared>>;

impl Shared {
    /// Takes the id that is kept for the first task.
    pub(crate) fn take_first_task(&self) -> Option<TaskId> {
        self.first_task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives it back: the task was not added.
    pub(crate) fn keep_first_task(&self, id: Option<TaskId>) {
        *self.first_task.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }
}

impl Api {
    /// The API of a runtime.
    pub fn new(state: ApiState) -> Self {
        let ApiState { runtime, directory } = state;
        let first_task = match runtime.mode {
            Mode::Foreground(task) => Some(task),
            Mode::Daemon | Mode::Observer => None,
        };
        let shared = Shared {
            scheduler: SchedulerHandle::new(directory.clone(), "api"),
            agents: AgentsHandle::new(directory.clone()),
            outbox: OutboxHandle::new(directory.clone(), "api"),
            first_task: Mutex::new(first_task),
            runtime,
            directory,
        };
        Self { router: router(Arc::new(shared)) }
    }

    /// The routes, with what they work with.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Answers a request within this process.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Response<Body> {
        let answer: Result<_, Infallible> =
            self.router.clone().oneshot(request.map(Body::new)).await;
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .route(
            "/tasks",
            get(tasks::list).post(tasks::add).layer(DefaultBodyLimit::max(TASKS_LIMIT)),
        )
        .route("/tasks/{task}", get(tasks::show))
        .route("/tasks/{task}/cancel", post(tasks::cancel))
        .route("/tasks/{task}/pause", post(tasks::pause))
        .route("/tasks/{task}/resume", post(tasks::resume))
        .route("/tasks/{task}/approve", post(tasks::approve))
        .route("/tasks/{task}/retry", post(tasks::retry))
        .route("/tasks/{task}/resend", post(tasks::resend))
        .route("/tasks/{task}/answer", post(tasks::answer))
        .route("/tasks/{task}/events", get(tasks::events))
        .route("/tasks/{task}/logs", get(tasks::logs))
        .route("/tasks/{task}/diff", get(steps::diff))
        .route("/tasks/{task}/restore", post(steps::restore))
        .route("/tasks/{task}/apply", post(tasks::apply))
        .route("/tasks/{task}/deps", get(deps::show))
        .route("/codebases", get(codebases::list).post(codebases::add))
        .route("/codebases/{codebase}", post(codebases::set))
        .route("/agents", get(agents::list))
        .route("/agents/{agent}", get(agents::show).post(agents::set))
        .route("/agents/{agent}/test", post(agents::test))
        .route("/schedules", get(schedules::list).post(schedules::add))
        .route("/schedules/{schedule}", get(schedules::show))
        .route("/schedules/{schedule}/pause", post(schedules::pause))
        .route("/schedules/{schedule}/resume", post(schedules::resume))
        .route("/schedules/{schedule}/remove", post(schedules::remove))
        .route("/drain", get(drain::show).post(drain::set))
        .route("/stats", get(stats::show))
        .route("/stats/queue", get(stats::queue))
        .route("/errors", get(errors::list))
        .route("/errors/{error}", get(errors::show))
        .route("/errors/{error}/resolve", post(errors::resolve))
        .route("/audit", get(audit::list))
        .route("/audit/{entry}", get(audit::show))
        .route("/audit-chain", get(audit::chain))
        .route("/tree", get(tree::show))
        .route("/health", get(health::show))
        .route("/settings", get(settings::list))
        .route("/settings/{key}", post(settings::set));
    Router::new()
        .route("/healthz", get(alive))
        .nest("/api/v1", api)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(span::trace))
        .fallback(no_such_route)
        .with_state(shared)
}

async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn no_such_method() -> Refusal {
    let message = "this route does not take this method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "usage", message)
}

async fn no_such_route() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such route")
}
