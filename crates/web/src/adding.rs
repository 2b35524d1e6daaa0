//! New tasks: the words of a request become rows, or none does and the request says why.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::StatusCode;
use journeyman_actors::context::Mode;
use journeyman_domain::files;
use journeyman_domain::ids::{AgentId, CodebaseId, TaskId};
use journeyman_domain::status::{AfterFailure, Delivery, DriverKind, Priority, UnknownWord};
use journeyman_store::NewTask as Row;
use journeyman_telemetry::TraceContext;
use journeyman_workspace::{RepositoryFacts, resolve};

use crate::api::Shared;
use crate::codebase;
use crate::problem::Refusal;
use crate::types::NewTask;

/// Characters of a title.
const TITLE: usize = 120;
/// Patterns of files of a task.
const FILES: usize = 100;
/// Tasks of one request: its size would bound them too, but not their statement.
const MOST: usize = 200_000;

/// Adds these tasks; in the order of the request.
pub(crate) async fn add(
    shared: &Shared,
    tasks: Vec<NewTask>,
) -> Result<Vec<journeyman_store::Task>, Refusal> {
    if tasks.is_empty() {
        return Err(Refusal::usage("the request has no task"));
    }
    if tasks.len() > MOST {
        return Err(Refusal::usage(format!("a request may have {MOST} tasks at the most")));
    }
    check_keys(&tasks)?;
    check_order(&tasks)?;
    let first = shared.take_first_task();
    let added = async {
        let rows = Adding::new(shared, &tasks, first).rows(&tasks).await?;
        Ok(shared.scheduler.add(rows).await?)
    }
    .await;
    if added.is_err() {
        shared.keep_first_task(first);
    }
    added
}

/// What a schedule adds each time, and to which codebase. The codebase is registered when it is new.
pub(crate) async fn template(
    shared: &Shared,
    task: &NewTask,
) -> Result<(Row, CodebaseId), Refusal> {
    if !task.after.is_empty() || task.parent.is_some() || task.key.is_some() || task.due.is_some() {
        return Err(Refusal::usage(
            "a task that a schedule adds has no key, no due time and no parent, and waits for no other",
        ));
    }
    let tasks = std::slice::from_ref(task);
    let mut rows = Adding::new(shared, tasks, None).rows(tasks).await?;
    let Some((row, _)) = rows.pop() else { return Err(Refusal::usage("the schedule has no task")) };
    let Some(codebase) = row.codebase_id else {
        return Err(Refusal::usage("the schedule has no repository"));
    };
    // Each task begins from what the branch is then.
    Ok((Row { base_ref: task.base.clone(), traceparent: None, ..row }, codebase))
}

/// Says which task a refusal is about, where there are several.
fn named(refusal: Refusal, tasks: &[NewTask], index: usize) -> Refusal {
    match (&tasks[index].key, tasks.len()) {
        (_, 1) => refusal,
        (Some(key), _) => refusal.about(&format!("task {} ('{key}')", index + 1)),
        (None, _) => refusal.about(&format!("task {}", index + 1)),
    }
}

/// No two tasks of a request have one key, nor one unique key.
fn check_keys(tasks: &[NewTask]) -> Result<(), Refusal> {
    let (mut keys, mut uniques) = (HashSet::new(), HashSet::new());
    for (index, task) in tasks.iter().enumerate() {
        let taken = match (&task.key, &task.unique) {
            (Some(key), _) if !keys.insert(key) => format!("another task has the key '{key}'"),
            (_, Some(key)) if !uniques.insert(key) => {
                format!("another task has the unique key '{key}'")
            }
            _ => continue,
        };
        return Err(named(Refusal::usage(taken), tasks, index));
    }
    Ok(())
}

/// No task of a request waits for itself over others of the request. The store would refuse that
/// too, but could name the tasks only by ids that nobody has seen.
fn check_order(tasks: &[NewTask]) -> Result<(), Refusal> {
    let in_order = || tasks.iter().filter_map(|task| Some((task.key.as_deref()?, task)));
    let keyed: HashMap<&str, &NewTask> = in_order().collect();
    let mut seen = HashSet::new();
    let mut on_path = HashSet::new();
    for (start, task) in in_order() {
        if !seen.insert(start) {
            continue;
        }
        on_path.insert(start);
        // Depth first without recursion: a request may be one long chain.
        let mut path = vec![(start, task.after.iter())];
        while let Some((key, rest)) = path.last_mut() {
            let Some(next) = rest.next() else {
                on_path.remove(key);
                path.pop();
                continue;
            };
            let Some((next, task)) = keyed.get_key_value(next.as_str()) else { continue };
            if on_path.contains(next) {
                let keys = path.iter().map(|(key, _)| *key).skip_while(|key| key != next);
                let cycle: Vec<_> = keys.chain([*next]).collect();
                return Err(cyclic(&cycle));
            }
            if seen.insert(*next) {
                on_path.insert(*next);
                path.push((*next, task.after.iter()));
            }
        }
    }
    Ok(())
}

fn cyclic(keys: &[&str]) -> Refusal {
    let message = format!("the tasks wait for each other: {}", keys.join(" -> "));
    Refusal::new(StatusCode::BAD_REQUEST, "cycle", message).hint("nothing was added")
}

/// The words of one task, understood.
#[derive(Debug, PartialEq)]
struct Words {
    title: String,
    driver: Option<DriverKind>,
    priority: Priority,
    deliver: Delivery,
    after_failure: AfterFailure,
    time_limit_s: Option<i32>,
}

fn understand(task: &NewTask) -> Result<Words, Refusal> {
    let title = title(&task.prompt)?;
    let mut driver: Option<DriverKind> = task.driver.as_deref().map(str::parse).transpose()?;
    if !task.command.is_empty() {
        if driver.is_some_and(|driver| driver != DriverKind::Command) {
            return Err(Refusal::usage("a command is given, which only the driver 'command' runs"));
        }
        driver = Some(DriverKind::Command);
    } else if driver == Some(DriverKind::Command) && task.agent.is_none() {
        return Err(Refusal::usage("the driver 'command' needs a program; give it as command"));
    }
    if driver == Some(DriverKind::None) && (task.agent.is_some() || !task.check.is_empty()) {
        return Err(Refusal::usage("the driver 'none' has no agent and checks nothing"));
    }
    if let (
        Some(driver @ (DriverKind::Mechanic | DriverKind::Command | DriverKind::None)),
        Some(_),
    ) = (driver, &task.model)
    {
        return Err(Refusal::usage(format!(
            "a model is given, and the driver '{driver}' uses none"
        )));
    }
    files(task, driver)?;
    if task.unique.as_deref().is_some_and(|key| key.trim().is_empty()) {
        return Err(Refusal::usage("the unique key is empty"));
    }
    if task.check.iter().any(|check| check.trim().is_empty()) {
        return Err(Refusal::usage("a check is empty"));
    }
    budget(task.budget_usd)?;
    let time_limit_s = time_limit(task.time_limit_s)?;
    if task.model.as_deref().is_some_and(|model| model.trim().is_empty()) {
        return Err(Refusal::usage("the model is empty; write it as provider/model"));
    }
    // PostgreSQL cannot store it, and would refuse the whole request without a name.
    let words = [&task.repo, &task.prompt].into_iter().chain(&task.command).chain(&task.check);
    let words = words
        .chain(&task.after)
        .chain(&task.parent)
        .chain(&task.key)
        .chain(&task.agent)
        .chain(&task.model);
    if words.chain(&task.unique).chain(&task.base).any(|text| text.contains('\0')) {
        return Err(Refusal::usage("a text of the task has a zero byte"));
    }
    Ok(Words {
        title,
        driver,
        priority: parsed(task.priority.as_deref(), Priority::Normal)?,
        deliver: parsed(task.deliver.as_deref(), Delivery::Branch)?,
        after_failure: parsed(task.on_failure.as_deref(), AfterFailure::Wait)?,
        time_limit_s,
    })
}

/// Refuses files that are none.
fn files(task: &NewTask, driver: Option<DriverKind>) -> Result<(), Refusal> {
    if driver == Some(DriverKind::None) && !task.files.is_empty() {
        return Err(Refusal::usage("the driver 'none' works on no files"));
    }
    if task.files.len() > FILES {
        return Err(Refusal::usage(format!(
            "a task may have {FILES} patterns of files at the most"
        )));
    }
    for pattern in &task.files {
        if let Some(fault) = files::fault(pattern) {
            return Err(Refusal::usage(format!("the pattern of files '{pattern}' {fault}")));
        }
    }
    Ok(())
}

/// Refuses a budget that is none.
pub(crate) fn budget(dollars: Option<f64>) -> Result<(), Refusal> {
    if dollars.is_some_and(|budget| !budget.is_finite() || budget <= 0.0) {
        return Err(Refusal::usage("the budget must be more than 0 dollars"));
    }
    Ok(())
}

/// A time limit as rows have it.
pub(crate) fn time_limit(seconds: Option<u64>) -> Result<Option<i32>, Refusal> {
    let Some(seconds) = seconds else { return Ok(None) };
    match i32::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(Some(seconds)),
        _ => Err(Refusal::usage(format!(
            "the time limit must be 1 to {} seconds, not {seconds}",
            i32::MAX
        ))),
    }
}

/// A word of a closed vocabulary, or what holds where none is given.
pub(crate) fn parsed<T: FromStr<Err = UnknownWord>>(
    word: Option<&str>,
    default: T,
) -> Result<T, UnknownWord> {
    word.map_or(Ok(default), str::parse)
}

/// The first line that says something.
fn title(prompt: &str) -> Result<String, Refusal> {
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty());
    let Some(line) = line else {
        return Err(Refusal::usage("the prompt is empty"));
    };
    if line.chars().count() <= TITLE {
        return Ok(line.to_owned());
    }
    let cut: String = line.chars().take(TITLE - 1).collect();
    Ok(format!("{}…", cut.trim_end()))
}

/// What was looked up for a request, so that a repository of many tasks is looked at once.
struct Adding<'a> {
    shared: &'a Shared,
    keys: HashMap<&'a str, TaskId>,
    ids: Vec<TaskId>,
    first: Option<TaskId>,
    repositories: HashMap<&'a str, RepositoryFacts>,
    registered: HashMap<PathBuf, CodebaseId>,
    commits: HashMap<(&'a str, &'a str), String>,
    agents: HashMap<&'a str, AgentId>,
    awaited: HashMap<&'a str, TaskId>,
}

impl<'a> Adding<'a> {
    fn new(shared: &'a Shared, tasks: &'a [NewTask], first: Option<TaskId>) -> Self {
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
            registered: HashMap::new(),
            commits: HashMap::new(),
            agents: HashMap::new(),
            awaited: HashMap::new(),
        }
    }

    async fn rows(mut self, tasks: &'a [NewTask]) -> Result<Vec<(Row, Vec<TaskId>)>, Refusal> {
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
        let mut after = Vec::with_capacity(task.after.len());
        for text in &task.after {
            after.push(self.awaited(text).await?);
        }
        let parent = match &task.parent {
            Some(text) => Some(self.awaited(text).await?),
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

    /// A key of this request, else a task that exists.
    async fn awaited(&mut self, text: &'a str) -> Result<TaskId, Refusal> {
        if let Some(id) = self.keys.get(text).or_else(|| self.awaited.get(text)) {
            return Ok(*id);
        }
        let id = self.shared.runtime.store.tasks().find(text).await?.id;
        self.awaited.insert(text, id);
        Ok(id)
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

    fn task() -> NewTask {
        NewTask {
            repo: "/repository".into(),
            prompt: "mend the build".into(),
            ..NewTask::default()
        }
    }

    fn refused(task: &NewTask) -> String {
        understand(task).unwrap_err().detail.message
    }

    #[test]
    fn a_foreign_word_is_answered_with_the_known_ones() {
        let task = |change: fn(&mut NewTask)| {
            let mut task = task();
            change(&mut task);
            refused(&task)
        };
        assert_eq!(
            task(|task| task.priority = Some("soon".into())),
            "'soon' is no priority; known are low, normal, high, urgent, critical"
        );
        assert_eq!(
            task(|task| task.driver = Some("magic".into())),
            "'magic' is no driver; known are mechanic, command, native, none"
        );
        assert_eq!(
            task(|task| task.deliver = Some("pr".into())),
            "'pr' is no delivery; known are branch, patch, none"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_written() {
        let wrong: [fn(&mut NewTask); 9] = [
            |task| task.prompt = " \n\t".into(),
            |task| task.prompt = "a\0b".into(),
            |task| task.driver = Some("command".into()),
            |task| (task.driver, task.command) = (Some("mechanic".into()), vec!["x".into()]),
            |task| task.check = vec!["make".into(), "  ".into()],
            |task| task.budget_usd = Some(f64::NAN),
            |task| task.budget_usd = Some(0.0),
            |task| task.time_limit_s = Some(0),
            |task| task.time_limit_s = Some(u64::MAX),
        ];
        for (index, change) in wrong.iter().enumerate() {
            let mut task = task();
            change(&mut task);
            assert!(understand(&task).is_err(), "case {index}: {task:?}");
        }
    }

    #[test]
    fn a_command_means_its_driver() {
        let task = NewTask { command: vec!["agent".into()], ..task() };
        assert_eq!(
            understand(&task).unwrap(),
            Words {
                title: "mend the build".into(),
                driver: Some(DriverKind::Command),
                priority: Priority::Normal,
                deliver: Delivery::Branch,
                after_failure: AfterFailure::Wait,
                time_limit_s: None,
            }
        );
    }

    #[test]
    fn a_title_is_the_first_line_that_says_something() {
        assert_eq!(title("\n  Mend it. \nMore.").unwrap(), "Mend it.");
        let long = title(&"ä".repeat(500)).unwrap();
        assert_eq!(long.chars().count(), TITLE);
    }

    #[test]
    fn a_cycle_is_named_by_its_keys() {
        let tasks = |order: &[(&str, &[&str])]| -> Vec<NewTask> {
            let keyed = |(key, after): &(&str, &[&str])| NewTask {
                key: Some((*key).to_owned()),
                after: after.iter().map(|after| (*after).to_owned()).collect(),
                ..task()
            };
            order.iter().map(keyed).collect()
        };
        let said = |order: &[(&str, &[&str])]| check_order(&tasks(order)).unwrap_err().detail;
        let itself = said(&[("a", &["a"])]);
        assert_eq!(itself.message, "the tasks wait for each other: a -> a");
        assert_eq!(itself.code, "cycle");
        let around = said(&[("x", &["a"]), ("a", &["b", "old"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(around.message, "the tasks wait for each other: a -> b -> c -> a");
        // Two ways to the same task are no cycle, and a chain may be as long as a request.
        let diamond = tasks(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert_eq!(check_order(&diamond), Ok(()));
        let link = |number: u32| NewTask {
            key: Some(number.to_string()),
            after: vec![(number + 1).to_string()],
            ..task()
        };
        let chain: Vec<_> = (0..100_000).map(link).collect();
        assert_eq!(check_order(&chain), Ok(()));
    }

    #[test]
    fn one_key_names_one_task() {
        let with = |key: Option<&str>, unique: Option<&str>| NewTask {
            key: key.map(str::to_owned),
            unique: unique.map(str::to_owned),
            ..task()
        };
        let refused = |tasks: &[NewTask]| check_keys(tasks).unwrap_err().detail.message;
        assert_eq!(
            refused(&[with(Some("a"), None), with(None, None), with(Some("a"), None)]),
            "task 3 ('a'): another task has the key 'a'"
        );
        assert_eq!(
            refused(&[with(None, Some("u")), with(None, Some("u"))]),
            "task 2: another task has the unique key 'u'"
        );
        assert!(check_keys(&[with(Some("a"), Some("a")), with(None, None)]).is_ok());
    }
}
