//! What a delivery as a pull request decides: the push of its branch, and what follows that.

use std::path::Path;

use journeyman_domain::forge;
use journeyman_domain::outbox::{Effect, Push, draft};
use journeyman_domain::step::Entry;
use journeyman_store::NewEffect;
use journeyman_telemetry::TraceContext;
use journeyman_workspace::ObjectId;

use super::words::Words;
use crate::agent::execute::{RunError, Work};
use crate::support::recordable;

/// The effect that a delivered branch leads to. Nothing foreign is asked here, and nothing that has changed since
/// the task was added keeps the branch from being delivered: its sender says what is wrong.
pub(super) async fn effect(
    work: &Work,
    repository: &Path,
    branch: &str,
    commit: &ObjectId,
    base: &ObjectId,
) -> Result<NewEffect, RunError> {
    let remote = journeyman_workspace::remote(repository).await.ok().flatten();
    let base = match &remote {
        Some(remote) => {
            let found = journeyman_workspace::base_branch(repository, &remote.name, base).await;
            found.ok().flatten()
        }
        None => None,
    };
    let target = remote
        .map_or_else(|| repository.display().to_string(), |remote| forge::shown(&remote.address));
    let task = &work.held.task;
    let verdict = work.journal.steps.iter().rev().find_map(|step| {
        let Entry::Verification { verdict, .. } = &step.entry else { return None };
        Some(verdict)
    });
    let checks = verdict.map_or(&[][..], |verdict| verdict.checks.as_slice());
    // It leaves the machine: what the user wrote down without thought must not.
    let checks: Vec<_> =
        checks.iter().map(|(check, became)| (recordable(check), *became)).collect();
    let Words { title, prompt } = Words::of(work);
    let effect = Effect::Push(Push {
        repository: repository.display().to_string(),
        branch: branch.to_owned(),
        commit: commit.to_string(),
        then: Some(draft(title, &prompt, &checks, base)),
    });
    Ok(NewEffect {
        id: uuid::Uuid::now_v7().into(),
        kind: effect.kind().to_string(),
        target,
        idempotency_key: effect.idempotency_key(work.held.run.id),
        payload: serde_json::to_value(&effect)
            .map_err(|error| RunError::Task(format!("an effect cannot be written: {error}")))?,
        task_id: Some(task.id),
        host: Some(work.runtime.settings.host.clone()),
        traceparent: TraceContext::current().map(|context| context.to_string()),
    })
}
