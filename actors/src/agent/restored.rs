//! The workspace of a run that goes on: what the journal says, whatever became of the folder meanwhile.
//!
//! The folder of an earlier life is a convenience, never the truth. Where it is not sound it is made
//! anew, from the base commit and the packs in the journal.

use journeyman_domain::check::CheckPlan;
use journeyman_faults::{Mechanism, around, is_out, points};
use journeyman_workspace::{
    GitError, ObjectId, Snapshot, StoredSnapshot, Workspace, WorkspaceError,
};

use super::execute::{RunError, Work};
use super::journal::damaged;
use super::prepare;
use super::scene::object;

/// The workspace with the files of the journal's last snapshot.
pub(super) async fn workspace(
    work: &Work,
    base: &ObjectId,
    plan: &CheckPlan,
) -> Result<(Workspace, Snapshot), RunError> {
    let folder = work.folder();
    let stood = tokio::fs::symlink_metadata(&folder).await.is_ok();
    let kept = match journeyman_workspace::open(prepare::owner(&work.held), &folder).await {
        Ok(workspace) => workspace.base().commit == *base,
        Err(_) => false,
    };
    if kept {
        let workspace = made(work, base).await?;
        match restore(work, &workspace, plan, true).await {
            Err(RunError::Workspace(error)) => say_remade(work, &error),
            restored => return Ok((workspace, restored?)),
        }
    } else if stood {
        say_remade(work, &WorkspaceError::Incomplete(folder.clone()));
    } else {
        let run = work.held.run.id;
        tracing::info!(run.id = %run, "the workspace of a run is not here; it is made anew");
    }
    journeyman_workspace::discard(&folder).await?;
    let workspace = made(work, base).await?;
    let current = match restore(work, &workspace, plan, false).await {
        Err(RunError::Workspace(error)) if is_of_the_content(&error) => {
            let cause = journeyman_domain::failure::sentence(&error);
            let what = format!("its snapshots do not make a workspace ({cause})");
            return Err(damaged(work.held.run.id, &what));
        }
        restored => restored?,
    };
    Ok((workspace, current))
}

pub(super) fn say_remade(work: &Work, error: &WorkspaceError) {
    let cause = journeyman_domain::failure::sentence(error);
    let run = work.held.run.id;
    tracing::warn!(run.id = %run, cause, "the workspace of a run was damaged; it is made anew");
    work.say("making the workspace anew");
}

/// The workspace, made where it does not stand; without the base nothing can be made.
async fn made(work: &Work, base: &ObjectId) -> Result<Workspace, RunError> {
    let made = prepare::workspace(work, base).await;
    let Err(RunError::Workspace(error)) = made else { return made };
    let repository = prepare::repository(work)?;
    let is_base_gone = matches!(error, WorkspaceError::NoSuchRevision { .. })
        || journeyman_workspace::inspect(&repository).await.is_err();
    if !is_base_gone {
        return Err(error.into());
    }
    Err(RunError::Damaged(format!(
        "the base commit {base} of run {} is gone from {}; put it back and try again",
        work.held.run.id,
        repository.display(),
    )))
}

/// Whether what git was given was not right, rather than the machine or the folder.
fn is_of_the_content(error: &WorkspaceError) -> bool {
    if matches!(error, WorkspaceError::Git(GitError::Failed { .. })) {
        return !error.is_of_the_machine() && !error.is_of_the_folder();
    }
    matches!(error, WorkspaceError::NotRestored { .. })
}

/// Brings the files to the last snapshot of the journal. `keep` says that the files are those of an
/// earlier life, which an interrupted call may have changed.
async fn restore(
    work: &Work,
    workspace: &Workspace,
    plan: &CheckPlan,
    keep: bool,
) -> Result<Snapshot, RunError> {
    let mut last = workspace.base().commit;
    for step in &work.journal.steps {
        if let (Some(commit), Some(_)) = (&step.snapshot, &step.pack) {
            // One by one: all packs of a long run need not fit into memory.
            let pack = work.journal.pack(step).await?;
            let (seq, commit) = (u64::try_from(step.seq).unwrap_or_default(), object(commit)?);
            let stored = StoredSnapshot { seq, commit: commit.clone(), pack };
            journeyman_workspace::import(workspace, &[stored]).await?;
            last = commit;
        }
    }
    let last = journeyman_workspace::verify(workspace, &last).await?;
    if keep && work.journal.run.is_open_call_interrupted() {
        // What it did stays, and is told to the agent.
        journeyman_workspace::release_locks(workspace).await?;
    } else if !is_out(Mechanism::Restore) {
        let caches: Vec<_> = plan.caches.iter().map(String::as_str).collect();
        let restored = journeyman_workspace::restore_to(workspace, &last, &caches);
        let was_other = around(points::RESTORE, restored).await?;
        // A call that was cut off leaves whatever it had done by then, and a start what it took over.
        let has_begun = work.journal.steps.len() > 1;
        if keep && was_other && has_begun && !work.journal.run.has_open_call() {
            let run = work.held.run.id;
            tracing::warn!(run.id = %run, "the files of a run were not those of its journal; they are brought back");
        }
    }
    Ok(last)
}
