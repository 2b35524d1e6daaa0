//! Where a run plays: its workspace, its driver, and what was prepared for its checks.

use std::path::PathBuf;

use journeyman_domain::check::CheckPlan;
use journeyman_domain::driver::{Assignment, Driver};
use journeyman_domain::limits::Limits;
use journeyman_domain::model::ModelSettings;
use journeyman_domain::run::observation;
use journeyman_domain::status::DriverKind;
use journeyman_domain::step::Entry;
use journeyman_workspace::{ObjectId, Snapshot, Workspace};

use super::execute::{RunError, Work};
use super::journal::Recorded;
use super::{deliver, dependencies, prepare, restored};

/// Where a run plays.
pub(super) struct Scene {
    pub(super) workspace: Workspace,
    pub(super) driver: Box<dyn Driver>,
    /// The model that it asks, where it has one.
    pub(super) model: Option<ModelSettings>,
    pub(super) plan: CheckPlan,
    pub(super) limits: Limits,
    /// The snapshot of the workspace as it is.
    pub(super) current: Snapshot,
    /// Folders that were prepared: their name in a checkout, and where they are.
    pub(super) prepared: Vec<(String, PathBuf)>,
}

impl Scene {
    /// Sets it for a run that has not begun; appends `Started`.
    pub(super) async fn first(work: &mut Work) -> Result<Self, RunError> {
        prepare::first(work).await
    }

    /// Sets it again from the journal: the workspace as it was after the last step, the driver as
    /// far as it was.
    pub(super) async fn set(work: &mut Work) -> Result<Self, RunError> {
        let Some(Start { driver, assignment, plan, limits, base }) = started(&work.journal.steps)
        else {
            return Err(RunError::Task("the journal has no start".to_owned()));
        };
        let base: ObjectId = base.parse().map_err(|_| {
            RunError::Task(format!("the journal's base commit '{base}' is no commit"))
        })?;
        work.say("restoring the workspace");
        let (workspace, current) = restored::workspace(work, &base, &plan).await?;
        let prepared = dependencies::dependencies(work, &workspace, &plan).await?;
        let model = assignment.model.clone();
        let mut driver = journeyman_drivers::build(driver, assignment, &limits);
        for step in &work.journal.steps {
            if let Some(seen) = observation(&step.entry, whole_output(work, step).await?) {
                // As it was: asked, then told.
                let _ = driver.next();
                driver.observe(seen);
            }
        }
        // What was consented to since.
        let limits = work.journal.run.limits().cloned().unwrap_or(limits);
        let mut scene = Self { workspace, driver, model, plan, limits, current, prepared };
        deliver::adopt(work, &mut scene).await?;
        Ok(scene)
    }

    /// The caches' names, as a restore takes them.
    pub(super) fn caches(&self) -> Vec<&str> {
        self.plan.caches.iter().map(String::as_str).collect()
    }
}

/// A commit's name out of a row.
pub(super) fn object(name: &str) -> Result<ObjectId, RunError> {
    name.parse().map_err(|_| RunError::Task(format!("'{name}' is no object of git")))
}

async fn whole_output(work: &Work, step: &Recorded) -> Result<String, RunError> {
    let Entry::ToolResult { result } = &step.entry else { return Ok(String::new()) };
    if result.tail.is_none() {
        return Ok(result.head.clone());
    }
    Ok(String::from_utf8_lossy(&work.journal.output(step).await?).into_owned())
}

/// What the run started with.
struct Start {
    driver: DriverKind,
    assignment: Assignment,
    plan: CheckPlan,
    limits: Limits,
    base: String,
}

fn started(steps: &[Recorded]) -> Option<Start> {
    steps.iter().find_map(|step| {
        let Entry::Started { driver, assignment, plan, limits, base_commit, .. } = &step.entry
        else {
            return None;
        };
        Some(Start {
            driver: *driver,
            assignment: assignment.as_ref().clone(),
            plan: plan.clone(),
            limits: limits.clone(),
            base: base_commit.clone(),
        })
    })
}
