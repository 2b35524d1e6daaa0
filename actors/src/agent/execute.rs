//! The executor of a run: asks the journal what is next, does it, writes it down, asks again.
//!
//! It decides nothing. When it is stopped or killed anywhere, another one goes on from the rows.

use std::sync::Arc;
use std::time::Instant;

use journeyman_domain::driver::{Action, Observation};
use journeyman_domain::failure::{Evidence, sentence};
use journeyman_domain::limits::Limits;
use journeyman_domain::model::ModelSettings;
use journeyman_domain::run::{Aside, Next, Wishes};
use journeyman_domain::status::DriverKind;
use journeyman_domain::step::{Entry, Outcome};
use journeyman_domain::tool::EffectClass;
use journeyman_store::StoreError;
use journeyman_telemetry::names;
use journeyman_workspace::WorkspaceError;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::claimed::{Claimed, wish_of};
use super::conclude::conclude;
use super::journal::Journal;
use super::messages::StopReason;
use super::scene::Scene;
use super::{ask, call, deliver, prepare, restored, verify};
use crate::classifier::{Classified, ClassifierHandle, Failure};
use crate::context::{Change, Runtime};
use crate::gateway::GatewayHandle;
use crate::learner::LearnerHandle;
use crate::outbox::OutboxHandle;
use crate::support::AskError;

/// Everything that a run works with.
pub(super) struct Work {
    pub(super) runtime: Runtime,
    pub(super) held: Claimed,
    pub(super) classifier: ClassifierHandle,
    pub(super) learner: LearnerHandle,
    pub(super) gateway: GatewayHandle,
    pub(super) outbox: OutboxHandle,
    /// Cancelled when the run shall stop where it is; kills what it has started.
    pub(super) stop: CancellationToken,
    /// Why, once it is cancelled.
    pub(super) reason: Arc<std::sync::OnceLock<StopReason>>,
    /// What the run does now, for people.
    pub(super) now: Arc<std::sync::Mutex<String>>,
    pub(super) journal: Journal,
}

/// How an executor left its run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Left {
    /// The run ended.
    Ended(Outcome),
    /// Nothing could check the change: the user decides.
    AwaitingApproval,
    /// It goes on later.
    Aside(Aside),
}

/// Why a run cannot go on by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The store refused; a lost lease among others.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workspace could not be made, read or written.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The machine refuses, now, what the run needs; no fault of the work.
    #[error("{0}")]
    Refused(String),
    /// The task itself cannot be done as it is given.
    #[error("{0}")]
    Task(String),
    /// What the run would go on from cannot be trusted, or is gone: a person must look.
    #[error("{0}")]
    Damaged(String),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl Work {
    /// Says what the run does now.
    pub(super) fn say(&self, now: impl Into<String>) {
        let now = now.into();
        if let Ok(mut shown) = self.now.lock() {
            shown.clone_from(&now);
        }
        // Nobody need be watching.
        let _ = self.runtime.changes.send(Change { task: self.held.task.id, now: Some(now) });
    }

    /// The run's folder, whether it stands or not.
    pub(super) fn folder(&self) -> std::path::PathBuf {
        self.runtime.settings.runs.join(self.held.run.id.to_string())
    }

    /// How the agent acts.
    pub(super) fn driver(&self) -> DriverKind {
        // What the run began with stands, whatever the settings say by now.
        self.journal.run.driver().unwrap_or_else(|| self.held.driver(&self.runtime.models))
    }

    /// Has a failure judged and reported; none where it cannot be. A run that is told to stop meanwhile stops: whoever
    /// goes on with it has the failure judged.
    pub(super) async fn judged(&self, evidence: Evidence) -> Result<Option<Classified>, RunError> {
        let failure = Failure {
            task: self.held.task.id,
            codebase: self.held.task.codebase_id,
            run: self.held.run.id,
            round: self.journal.run.round(),
            evidence,
        };
        match self.classifier.classify(failure, &self.stop).await {
            Ok(answer) => Ok(Some(answer)),
            Err(_) if self.stop.is_cancelled() => Err(RunError::Stopped),
            Err(AskError::Gone(_)) => Err(RunError::Stopped),
            Err(error) => {
                tracing::warn!(error = %sentence(&error), "a failure was not classified");
                Ok(None)
            }
        }
    }

    /// Stops here where the user wishes so by now: nothing leaves against their word. Whoever works on the task is told
    /// of a wish, but the word may be on its way.
    async fn heed(&self) -> Result<(), RunError> {
        let task = self.runtime.store.tasks().get(self.held.task.id).await?;
        let Some(wish) = wish_of(&task) else { return Ok(()) };
        // The first reason stands.
        let _ = self.reason.set(wish);
        self.stop.cancel();
        Err(RunError::Stopped)
    }

    fn wishes(&self) -> Wishes {
        let settings = self.runtime.settings.allow_unverified;
        Wishes { allow_unverified: settings || self.held.task.allow_unverified }
    }
}

/// Works until the run ended or cannot go on; the rows then say how.
pub(super) async fn execute(mut work: Work) {
    let span = tracing::info_span!(
        parent: None,
        "execute_task",
        otel.name = names::SPAN_EXECUTE_TASK,
        task.id = %work.held.task.id,
        execution.id = %work.held.execution.id,
        execution.attempt = work.held.execution.attempt,
        queue.wait_ms = work.held.execution.wait_ms(),
        run.id = %work.held.run.id,
        driver = %work.driver(),
        execution.outcome = tracing::field::Empty,
        verified = tracing::field::Empty,
        error.type = tracing::field::Empty,
    );
    let cause =
        work.held.execution.traceparent.as_deref().or(work.held.task.traceparent.as_deref());
    let cause = cause.and_then(|text| text.parse().ok());
    journeyman_telemetry::attach(&span, cause, journeyman_telemetry::Relation::Link);
    let began = Instant::now();
    async {
        work.remember_trace().await;
        let left = work.go().await;
        let outcome = conclude(&mut work, left).await;
        Span::current().record("execution.outcome", outcome);
        let driver = work.driver().as_str();
        journeyman_telemetry::metrics().execution_ended(driver, outcome, began.elapsed());
    }
    .instrument(span)
    .await;
}

impl Work {
    /// Whoever goes on with the execution links its trace to this one.
    async fn remember_trace(&self) {
        let Some(trace) = journeyman_telemetry::TraceContext::current() else { return };
        let executions = self.runtime.store.executions();
        let acting = journeyman_store::Acting::now("run");
        if let Err(error) = executions.set_trace(&acting, self.held.fence, trace).await {
            tracing::debug!(error = %sentence(&error), "the trace was not recorded");
        }
    }

    /// Plays the run; a workspace that breaks under it is mended once, as if the process had died there.
    async fn go(&mut self) -> Result<Left, RunError> {
        let mut is_mended = false;
        loop {
            prepare::reap(&self.runtime, &self.held).await?;
            match self.play().await {
                Err(RunError::Workspace(error)) if !is_mended && self.is_broken().await => {
                    is_mended = true;
                    restored::say_remade(self, &error);
                    journeyman_workspace::discard(&self.folder()).await?;
                }
                left => return left,
            }
        }
    }

    /// Whether the workspace of a run that has begun does not hold what it must.
    async fn is_broken(&self) -> bool {
        if self.journal.run.driver().is_none() || self.stop.is_cancelled() {
            return false;
        }
        match journeyman_workspace::open(prepare::owner(&self.held), &self.folder()).await {
            Ok(workspace) => journeyman_workspace::faults(&workspace).await.is_err(),
            Err(_) => true,
        }
    }

    async fn play(&mut self) -> Result<Left, RunError> {
        let mut scene: Option<Scene> = None;
        // Of the agent's turn, which is all that it does between two judgements.
        let mut turn: Option<Span> = None;
        loop {
            if self.stop.is_cancelled() {
                return Err(RunError::Stopped);
            }
            let next = self.journal.run.next(self.journal.elapsed_ms(), self.wishes());
            if !matches!(next, Next::Prepare | Next::Ended(_) | Next::Conclude(_))
                && scene.is_none()
            {
                scene = Some(Scene::set(self).await?);
            }
            if matches!(next, Next::Act | Next::Stop(_))
                && let (Some(scene), Some(limits)) = (&mut scene, prepare::other_limits(self))
            {
                self.go_on_within(scene, limits).await?;
                continue;
            }
            match (next, &mut scene) {
                (Next::Prepare, _) => scene = Some(Scene::first(self).await?),
                (Next::Ended(outcome), _) => return Ok(Left::Ended(outcome)),
                (Next::PutAside(aside), Some(scene)) => {
                    let Some(limits) = prepare::goes_on(self, &aside) else {
                        return Ok(Left::Aside(aside));
                    };
                    self.go_on_within(scene, limits).await?;
                }
                (Next::AwaitApproval, _) if self.held.task.approved_at.is_none() => {
                    return Ok(Left::AwaitingApproval);
                }
                (Next::AwaitApproval, _) => self.journal.append(Entry::Approved).await?,
                (Next::Conclude(outcome), _) => {
                    self.journal.append(Entry::Outcome { outcome }).await?;
                }
                (next @ (Next::Act | Next::Recover { .. }), Some(scene)) => {
                    let model = scene.model.as_ref();
                    let span = turn.get_or_insert_with(|| self.invoke_agent(model)).clone();
                    self.advance(scene, next).instrument(span).await?;
                }
                (next, Some(scene)) => {
                    turn = None;
                    self.advance(scene, next).await?;
                }
                (_, None) => return Err(RunError::Task("the workspace is missing".to_owned())),
            }
        }
    }

    /// Goes on with other limits than before.
    async fn go_on_within(&mut self, scene: &mut Scene, limits: Limits) -> Result<(), RunError> {
        self.journal.append(Entry::Resumed { limits: limits.clone() }).await?;
        scene.limits = limits.clone();
        scene.driver.observe(Observation::Resumed { limits });
        Ok(())
    }

    fn invoke_agent(&self, model: Option<&ModelSettings>) -> Span {
        let agent = &self.held.agent;
        let provider = model.map_or(self.driver().as_str(), |model| &model.provider);
        tracing::info_span!(
            "invoke_agent",
            otel.name = format!("invoke_agent {}", agent.name),
            { names::ATTR_OPERATION } = "invoke_agent",
            { names::ATTR_PROVIDER } = provider,
            { names::ATTR_REQUEST_MODEL } = model.map(|model| model.model.as_str()),
            { names::ATTR_AGENT_ID } = %agent.id,
            { names::ATTR_AGENT_NAME } = agent.name,
            { names::ATTR_CONVERSATION } = %self.held.run.id,
        )
    }

    async fn advance(&mut self, scene: &mut Scene, next: Next) -> Result<(), RunError> {
        match next {
            Next::Recover { call, recovery } => {
                call::recover(self, scene, call, recovery).await?;
            }
            Next::Act => self.act(scene).await?,
            Next::Stop(hit) => {
                self.journal.append(Entry::LimitReached { hit }).await?;
            }
            Next::Verify => {
                let span = tracing::info_span!(
                    "verify",
                    otel.name = names::SPAN_VERIFY,
                    verified = tracing::field::Empty,
                    error.type = tracing::field::Empty,
                );
                verify::verify(self, scene).instrument(span).await?;
            }
            Next::NextRound { round, evidence } => {
                let told = Observation::RoundFailed { evidence: evidence.clone() };
                self.journal.append(Entry::RoundStarted { round, evidence }).await?;
                scene.driver.observe(told);
            }
            Next::Deliver => {
                self.heed().await?;
                let span = tracing::info_span!("deliver", otel.name = names::SPAN_DELIVER);
                deliver::deliver(self, scene).instrument(span).await?;
            }
            // These need no scene and are dealt with before.
            Next::Prepare
            | Next::Conclude(_)
            | Next::Ended(_)
            | Next::AwaitApproval
            | Next::PutAside(_) => {}
        }
        Ok(())
    }

    async fn act(&mut self, scene: &mut Scene) -> Result<(), RunError> {
        match scene.driver.next() {
            Action::Call(call) => {
                let effect = call.tool.effect_class(self.runtime.settings.sandbox.namespaces);
                let entry = Entry::ToolIntent { call: call.clone(), effect };
                if effect == EffectClass::Read {
                    self.journal.defer(entry)?;
                } else {
                    self.journal.append(entry).await?;
                }
                call::perform(self, scene, call, effect).await
            }
            Action::Reads { calls } => call::perform_reads(self, scene, calls).await,
            Action::Ask(request) => ask::ask(self, scene, request).await,
            Action::Exhausted { hit } => self.journal.append(Entry::LimitReached { hit }).await,
            Action::Finished { summary } => {
                self.journal.append(Entry::ClaimedDone { finished: true, summary }).await
            }
            Action::Stuck { reason } => {
                let entry = Entry::ClaimedDone { finished: false, summary: reason };
                self.journal.append(entry).await
            }
        }
    }
}
