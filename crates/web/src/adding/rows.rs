//! What is looked up for a request, and the rows that come of it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use journeyman_actors::context::Mode;
use journeyman_domain::ids::{AgentId, CodebaseId, TaskId};
use journeyman_domain::status::{AfterFailure, Delivery, DriverKind, Status};
use journeyman_store::NewTask as Row;
use journeyman_telemetry::TraceContext;
use journeyman_workspace::{RepositoryFacts, resolve};

use super::words::understand;
use super::{forge, named};
use crate::api::Shared;
use crate::codebase;
use crate::problem::Refusal;
use crate::types::NewTask;

/// Refuses to wait for what was lost before: nobody would ever begin, or it would be over at once.
fn comes_about(id: TaskId, status: Status, after_failure: AfterFailure) -> Result<(), Refusal> {
    let is_lost = matches!(status, Status::Failed | Status::Cancelled | Status::Timeout);
    if !is_lost || after_failure == AfterFailure::Run {
        return Ok(());
    }
    let id = id.short();
    Err(Refusal::conflict(format!("task {id}, which it shall come after, is {status}")).hint(
        format!(
            "try that again first with: journeyman task retry {id}; \
         or add this one with --on-failure run"
        ),
    ))
}
/// What was looked up for a request, so that a repository of many tasks is looked at once.
pub(super) struct Adding<'a> {
    shared: &'a Shared,
    keys: HashMap<&'a str, TaskId>,
    ids: Vec<TaskId>,
    first: Option<TaskId>,
    repositories: HashMap<&'a str, RepositoryFacts>,
    /// Repositories for which pull requests can be opened.
    forges: HashSet<&'a str>,
    registered: HashMap<PathBuf, CodebaseId>,
    commits: HashMap<(&'a str, &'a str), String>,
    agents: HashMap<&'a str, AgentId>,
    awaited: HashMap<&'a str, (TaskId, Status)>,
}

impl<'a> Adding<'a> {
    pub(super) fn new(shared: &'a Shared, tasks: &'a [NewTask], first: Option<TaskId>) -> Self {
        let mut ids: Vec<_> =
            tasks.iter().map(|_| TaskId::from_uuid(uuid::Uuid::now_v7())).collect();
        if let (Some(first), Some(id)) = (first, ids.first_mut()) {
            *id = first;
        }
        let keys = tasks.iter().zip(&ids);
        let keys = keys.filter_map(|(task, id)| Some((task.key.as_deref()?, *id)));
        Self {
            shared,
            keys: keys.collect(),
            ids,
            first,
            repositories: HashMap::new(),
            forges: HashSet::new(),
            registered: HashMap::new(),
            commits: HashMap::new(),
            agents: HashMap::new(),
            awaited: HashMap::new(),
        }
    }

    pub(super) async fn rows(
        mut self,
        tasks: &'a [NewTask],
    ) -> Result<Vec<(Row, Vec<TaskId>)>, Refusal> {
        let mut rows = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let row = self.row(index, task).await;
            rows.push(row.map_err(|refusal| named(refusal, tasks, index))?);
        }
        // Only now is anything written: a request that is refused registers no codebase.
        for (task, (row, _)) in tasks.iter().zip(&mut rows) {
            row.codebase_id = Some(self.codebase(&task.repo).await?);
        }
        Ok(rows)
    }

    async fn row(
        &mut self,
        index: usize,
        task: &'a NewTask,
    ) -> Result<(Row, Vec<TaskId>), Refusal> {
        let words = understand(task)?;
        self.model(task, words.driver)?;
        if !self.repositories.contains_key(task.repo.as_str()) {
            let facts = codebase::look(&task.repo).await?;
            self.repositories.insert(&task.repo, facts);
        }
        if words.deliver == Delivery::Pr && !self.forges.contains(task.repo.as_str()) {
            forge::check(&self.shared.runtime, &self.repositories[task.repo.as_str()].root).await?;
            self.forges.insert(&task.repo);
        }
        let mut after = Vec::with_capacity(task.after.len());
        for text in &task.after {
            after.push(self.awaited(text, words.after_failure).await?);
        }
        let parent = match &task.parent {
            Some(text) => Some(self.known(text).await?.0),
            None => None,
        };
        let row = Row {
            id: self.ids[index],
            parent_task_id: parent,
            files: task.files.clone(),
            description: Some(task.prompt.clone()),
            priority: words.priority,
            driver: words.driver.map(|driver| driver.to_string()),
            model: task.model.clone(),
            agent_id: match &task.agent {
                Some(agent) => Some(self.agent(agent).await?),
                None => None,
            },
            check_commands: task.check.clone(),
            command: task.command.clone(),
            base_ref: match &task.base {
                Some(base) => Some(self.commit(&task.repo, base).await?),
                None => None,
            },
            deliver: words.deliver.to_string(),
            allow_unverified: task.allow_unverified,
            budget_usd: task.budget_usd,
            time_limit_s: words.time_limit_s,
            unique_key: task.unique.clone(),
            reserved_for: (self.first == Some(self.ids[index])).then_some(self.shared.runtime.node),
            traceparent: TraceContext::current().map(|context| context.to_string()),
            due_date: task.due,
            after_failure: words.after_failure,
            ..Row::new(words.title)
        };
        Ok((row, after))
    }

    /// Refuses a model that cannot be asked, before it is a task that waits for it.
    fn model(&self, task: &NewTask, driver: Option<DriverKind>) -> Result<(), Refusal> {
        let runtime = &self.shared.runtime;
        // An agent's own model is the run's affair.
        let word = match (driver, &task.agent) {
            (Some(DriverKind::Mechanic | DriverKind::Command | DriverKind::None), _) => None,
            (_, Some(_)) => task.model.as_deref(),
            (_, None) => runtime.models.word(task.model.as_deref(), None),
        };
        let Some(word) = word else { return Ok(()) };
        let asked = runtime.models.resolve(word).and_then(|settings| match runtime.mode {
            // Who does not work need not have the keys.
            Mode::Observer => Ok(()),
            Mode::Daemon | Mode::Foreground(_) => runtime.models.usable(&settings),
        });
        asked.map_err(|reason| {
            Refusal::missing(reason).hint(
                "journeyman doctor  says what was found; journeyman config path  where settings go",
            )
        })
    }

    /// A key of this request, else a task that exists and may still complete.
    async fn awaited(
        &mut self,
        text: &'a str,
        after_failure: AfterFailure,
    ) -> Result<TaskId, Refusal> {
        let (id, status) = self.known(text).await?;
        if let Some(status) = status {
            comes_about(id, status, after_failure)?;
        }
        Ok(id)
    }

    /// A key of this request, else a task that exists and its state.
    async fn known(&mut self, text: &'a str) -> Result<(TaskId, Option<Status>), Refusal> {
        if let Some(id) = self.keys.get(text) {
            return Ok((*id, None));
        }
        if let Some((id, status)) = self.awaited.get(text) {
            return Ok((*id, Some(*status)));
        }
        let found = self.shared.runtime.store.tasks().find(text).await?;
        self.awaited.insert(text, (found.id, found.status));
        Ok((found.id, Some(found.status)))
    }

    async fn agent(&mut self, text: &'a str) -> Result<AgentId, Refusal> {
        if let Some(id) = self.agents.get(text) {
            return Ok(*id);
        }
        let agent = self.shared.runtime.store.agents().find(text).await?;
        if !agent.is_active {
            return Err(Refusal::usage(format!("agent {} is inactive", agent.name))
                .hint(format!("journeyman agent set '{}' active=true", agent.name)));
        }
        self.agents.insert(text, agent.id);
        Ok(agent.id)
    }

    /// The commit that the work starts from: of now, whatever becomes of the branch.
    async fn commit(&mut self, repo: &'a str, base: &'a str) -> Result<String, Refusal> {
        if let Some(commit) = self.commits.get(&(repo, base)) {
            return Ok(commit.clone());
        }
        let root = &self.repositories[repo].root;
        let commit = resolve(root, base).await?.to_string();
        self.commits.insert((repo, base), commit.clone());
        Ok(commit)
    }

    async fn codebase(&mut self, repo: &'a str) -> Result<CodebaseId, Refusal> {
        let facts = &self.repositories[repo];
        if let Some(id) = self.registered.get(&facts.root) {
            return Ok(*id);
        }
        let codebase = codebase::register(&self.shared.runtime.store, facts, None).await?;
        self.registered.insert(facts.root.clone(), codebase.id);
        Ok(codebase.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_before_is_not_waited_for() {
        let id: TaskId = "0193a2f0-1111-7abc-8def-000012345678".parse().unwrap();
        for status in Status::ALL {
            let is_lost = ["failed", "cancelled", "timeout"].contains(&status.as_str());
            for policy in AfterFailure::ALL {
                let is_refused = comes_about(id, *status, *policy).is_err();
                assert_eq!(
                    is_refused,
                    is_lost && *policy != AfterFailure::Run,
                    "{status} {policy}"
                );
            }
        }
        let refused = comes_about(id, Status::Cancelled, AfterFailure::Wait).unwrap_err();
        assert_eq!(
            refused.detail.message,
            "task 12345678, which it shall come after, is cancelled"
        );
    }
}
