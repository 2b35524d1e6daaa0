//! Delivery: the verified change leaves the runtime, once, however often this is repeated. What shall happen on
//! foreign systems is decided here, in the transaction of the entry, and brought about by the outbox.

mod pull_request;
mod words;

use journeyman_domain::failure::sentence;
use journeyman_domain::step::Entry;
use journeyman_faults::{around, points};
use journeyman_workspace::{Delivered, Delivery, Earlier, Signature, WorkspaceError};

use super::execute::{RunError, Work};
use super::journal::Beside;
use super::prepare;
use super::scene::Scene;
use words::Words;

/// Hands the change over as the task wants it, and journals how.
pub(super) async fn deliver(work: &mut Work, scene: &mut Scene) -> Result<(), RunError> {
    let wanted = work.held.task.deliver.clone();
    work.say("delivering");
    let mut beside = Beside::default();
    let entry = match wanted.as_str() {
        "none" => Entry::Delivered { branch: None, commit: None, patch: None },
        "patch" => patch(work, scene).await?,
        wanted => {
            let delivered = branch(work, scene).await?;
            if wanted == "pr" {
                let (repository, base) =
                    (prepare::repository(work)?, scene.workspace.base().commit);
                let Delivered { branch, commit } = &delivered;
                let effect = pull_request::effect(work, &repository, branch, commit, &base);
                beside.effect = Some(effect.await?);
            }
            Entry::Delivered {
                branch: Some(delivered.branch),
                commit: Some(delivered.commit.to_string()),
                patch: None,
            }
        }
    };
    let is_sent = beside.effect.is_some();
    work.journal.append_with(entry, beside).await?;
    if is_sent {
        work.outbox.hint();
    }
    Ok(())
}

/// What the repository has of this task although its rows know of no delivery: they may be of an
/// earlier day than the repository.
pub(super) async fn earlier(work: &Work) -> Result<Option<Earlier>, RunError> {
    let task = &work.held.task;
    if task.branch.is_some() || matches!(task.deliver.as_str(), "none" | "patch") {
        return Ok(None);
    }
    let repository = prepare::repository(work)?;
    let when = task.created_at.timestamp();
    Ok(journeyman_workspace::delivered_before(&repository, &Words::of(work).branch(task.id), when)
        .await?)
}

/// Where a run that has done nothing yet finds its task's work delivered, it takes that for its own:
/// it is judged anew, and not done anew.
pub(super) async fn adopt(work: &mut Work, scene: &mut Scene) -> Result<(), RunError> {
    let base = scene.workspace.base();
    if work.journal.steps.len() != 1 {
        return Ok(());
    }
    let Some(found) = earlier(work).await?.filter(|found| found.base == base.commit) else {
        return Ok(());
    };
    tracing::warn!(
        task.id = %work.held.task.id,
        branch = found.branch,
        "the work of a task is found delivered; it is judged, and not done again"
    );
    journeyman_workspace::restore(&scene.workspace, &found.commit, &scene.caches()).await?;
    scene.current = journeyman_workspace::take(&scene.workspace, 2, &base).await?;
    let beside = Beside {
        snapshot: Some(scene.current.commit.to_string()),
        pack: Some(scene.current.pack.clone()),
        ..Beside::default()
    };
    let summary = format!("found delivered on the branch {}", found.branch);
    work.journal.append_with(Entry::ClaimedDone { finished: true, summary }, beside).await
}

async fn branch(work: &Work, scene: &Scene) -> Result<Delivered, RunError> {
    let repository = prepare::repository(work)?;
    let author = match &work.runtime.settings.author {
        Some((name, email)) => Signature { name: name.clone(), email: email.clone() },
        None => journeyman_workspace::identity(&repository).await,
    };
    let (task, words) = (&work.held.task, Words::of(work));
    let delivery = Delivery {
        branch: words.branch(task.id),
        message: words.message(),
        committer: author.clone(),
        author,
        when: task.created_at.timestamp(),
    };
    let delivered =
        journeyman_workspace::deliver(&repository, &scene.workspace, &scene.current, &delivery);
    match around(points::DELIVER, delivered).await {
        Err(error @ WorkspaceError::DeliveredBefore(_)) => {
            Err(RunError::Damaged(error.to_string()))
        }
        delivered => Ok(delivered?),
    }
}

async fn patch(work: &Work, scene: &Scene) -> Result<Entry, RunError> {
    let base = scene.workspace.base().commit;
    let diff = journeyman_workspace::diff(&scene.workspace, &base, &scene.current.commit).await?;
    let folder = &work.runtime.settings.patches;
    let task = &work.held.task;
    let file = folder.join(format!("{}.patch", Words::of(work).name(task.id)));
    // What stands there was delivered by a life of which the rows know nothing.
    let before = tokio::fs::read(&file).await.ok();
    if before.is_some_and(|before| before != diff) {
        return Err(RunError::Damaged(format!(
            "{} has other work of this task, which this database does not know of; take that and cancel \
             the task, or remove the file and try again",
            file.display()
        )));
    }
    let written = around(points::PATCH, journeyman_workspace::write_durably(&file, diff)).await;
    written.map_err(|error| {
        if error.is_of_the_machine() {
            return error.into();
        }
        RunError::Task(format!("the patch cannot be written: {}", sentence(&error)))
    })?;
    Ok(Entry::Delivered { branch: None, commit: None, patch: Some(file.display().to_string()) })
}
