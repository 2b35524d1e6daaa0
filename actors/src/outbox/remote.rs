//! The looks and the acts of each kind of effect: what is asked of git and of the forge.

use std::path::Path;

use journeyman_domain::failure::sentence;
use journeyman_domain::forge;
use journeyman_domain::ids::NodeId;
use journeyman_domain::outbox::{
    Acted, Effect, Fault, Found, PullRequest, Push, follow_up, git, marker,
};
use journeyman_store::{NewEffect, Outgoing};
use journeyman_telemetry::TraceContext;
use journeyman_workspace::{GitError, ObjectId, Pushing, Remote};

use crate::context::{Forge, Runtime};

/// An effect in the hands of its sender.
pub(super) struct Sending {
    node: NodeId,
    forge: Forge,
    effect: Effect,
    key: String,
    row: Outgoing,
    /// The remote, once it was looked at.
    remote: Option<Remote>,
    /// What follows a push, once it is known where it goes.
    then: Option<NewEffect>,
}

impl Sending {
    pub(super) fn new(runtime: &Runtime, row: &Outgoing, effect: Effect) -> Self {
        Self {
            node: runtime.node,
            forge: runtime.settings.forge.clone(),
            effect,
            key: row.idempotency_key.clone(),
            row: row.clone(),
            remote: None,
            then: None,
        }
    }

    /// Whether it is there.
    pub(super) async fn look(&mut self) -> Result<Found, Fault> {
        match self.effect.clone() {
            Effect::Push(push) => self.look_for_branch(&push).await,
            Effect::PullRequest(wanted) => {
                let client = self.forge.client.as_ref().map_err(Fault::lasting)?;
                client.pull_request(&wanted, &marker(&self.key)).await
            }
        }
    }

    /// Does it.
    pub(super) async fn act(&mut self) -> Result<Acted, Fault> {
        match &self.effect {
            Effect::Push(push) => self.push(push).await,
            Effect::PullRequest(wanted) => {
                let client = self.forge.client.as_ref().map_err(Fault::lasting)?;
                client.open_pull_request(wanted).await
            }
        }
    }

    /// What is decided with its end.
    pub(super) fn follow_up(&self) -> Option<NewEffect> {
        self.then.clone()
    }

    async fn look_for_branch(&mut self, push: &Push) -> Result<Found, Fault> {
        let repository = Path::new(&push.repository);
        let remote = journeyman_workspace::remote(repository).await;
        let remote = remote.map_err(|error| Fault::lasting(sentence(&error)))?;
        let Some(remote) = remote else {
            return Err(Fault::lasting(format!(
                "{} has no remote that a branch could be pushed to",
                push.repository
            )));
        };
        if let Some(secret) = forge::secret_of(&remote.address) {
            journeyman_telemetry::redact::register(secret);
        }
        let target = forge::shown(&remote.address);
        let (node, destination) = (self.node, &remote.destination);
        let found =
            journeyman_workspace::remote_branch(node, repository, destination, &push.branch).await;
        let found = found.map_err(|error| unreachable(&target, &error))?;
        if push.then.is_some() {
            let forge = forge::repository(&remote.address, &self.forge.host)
                .map_err(|error| Fault::lasting(error.to_string()))?;
            let then = follow_up(push, &self.key, forge, found.default.as_deref());
            self.then =
                then.map_err(Fault::lasting)?.map(|then| self.effect_of(then)).transpose()?;
        }
        self.remote = Some(remote);
        Ok(match found.commit {
            None => Found::Nothing,
            Some(commit) if commit.as_str() == push.commit => {
                Found::Ours { remote_id: push.commit.clone() }
            }
            Some(commit) => Found::Foreign {
                reason: format!(
                    "the branch {} is on {target} already, with another commit ({}); nothing was pushed over it",
                    push.branch,
                    commit.as_str().get(..12).unwrap_or(commit.as_str())
                ),
            },
        })
    }

    async fn push(&self, push: &Push) -> Result<Acted, Fault> {
        let Some(remote) = &self.remote else {
            return Err(Fault::passing("the remote was not looked at"));
        };
        let commit: ObjectId = push
            .commit
            .parse()
            .map_err(|_| Fault::lasting(format!("'{}' is no commit", push.commit)))?;
        let pushing =
            Pushing { destination: &remote.destination, branch: &push.branch, commit: &commit };
        let target = forge::shown(&remote.address);
        let repository = Path::new(&push.repository);
        match journeyman_workspace::push(self.node, repository, pushing).await {
            Ok(()) => Ok(Acted::Done { remote_id: push.commit.clone() }),
            Err(GitError::Failed { message, .. }) => git::push_refused(&target, &message),
            Err(error) => Err(unreachable(&target, &error)),
        }
    }

    /// The row of what follows.
    fn effect_of(
        &self,
        (idempotency_key, wanted): (String, PullRequest),
    ) -> Result<NewEffect, Fault> {
        let target = wanted.repository.to_string();
        let effect = Effect::PullRequest(wanted);
        Ok(NewEffect {
            id: uuid::Uuid::now_v7().into(),
            kind: effect.kind().to_string(),
            target,
            idempotency_key,
            payload: serde_json::to_value(&effect)
                .map_err(|error| Fault::lasting(format!("an effect cannot be written: {error}")))?,
            task_id: self.row.task_id,
            host: None,
            traceparent: TraceContext::current().map(|context| context.to_string()),
        })
    }
}

/// Why git did not come to a remote.
fn unreachable(target: &str, error: &GitError) -> Fault {
    match error {
        GitError::Failed { message, .. } => git::unreachable(target, message),
        GitError::NotStarted(_) | GitError::TimedOut(_) | GitError::Answer { .. } => {
            Fault::passing(format!("{target} was not reached: {}", sentence(error)))
        }
    }
}
