//! `journeyman task add`: one task from the command line, or many from JSON lines.

use std::io::Read as _;
use std::path::Path;

use journeyman_web::types::{AddTasks, NewTask, Tasks};

use super::show;
use crate::cli;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;

/// Adds what the command says.
pub(super) async fn execute(
    context: &Context,
    client: &Client,
    command: cli::Add,
) -> Result<Exit, Failure> {
    let cli::Add { prompt, options, after, on_failure, parent, priority, due, unique, file } =
        command;
    let tasks = match (file, prompt) {
        (Some(file), _) => read_lines(&file)?,
        (None, Some(prompt)) => {
            let due = due
                .map(|text| {
                    chrono::DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc()).map_err(
                        |_| {
                            Failure::usage(format!(
                                "'{text}' is no time; one looks like 2026-01-31T17:00:00Z"
                            ))
                        },
                    )
                })
                .transpose()?;
            vec![NewTask {
                after,
                on_failure,
                parent,
                priority,
                due,
                unique,
                ..request(&prompt, &options)?
            }]
        }
        (None, None) => return Err(Failure::usage("a prompt or --file is needed")),
    };
    let added: Tasks = client.post("/api/v1/tasks", &AddTasks { tasks }).await?;
    output::either(context.json, &added, || {
        let line = |task: &journeyman_web::types::Task| {
            format!("{}  {}  {}\n", show::short(&task.id), show::state(task), task.title)
        };
        added.tasks.iter().map(line).collect()
    })?;
    Ok(Exit::Done)
}

/// The task that a prompt and its options mean.
pub fn request(prompt: &str, options: &cli::TaskOptions) -> Result<NewTask, Failure> {
    if prompt.trim().is_empty() {
        return Err(Failure::usage("the prompt is empty"));
    }
    let repo = options.repo.clone().unwrap_or_else(|| ".".into());
    let command = match &options.command {
        Some(line) => split(line)?,
        None => Vec::new(),
    };
    let driver = options.driver.clone().or_else(|| (!command.is_empty()).then(|| "command".into()));
    Ok(NewTask {
        repo: absolute(&repo)?,
        prompt: prompt.to_owned(),
        agent: options.agent.clone(),
        model: options.model.clone(),
        budget_usd: options.budget,
        driver,
        command,
        check: options.checks.clone(),
        time_limit_s: options.time,
        base: options.base.clone(),
        deliver: Some(
            match options.deliver {
                cli::Deliver::Branch => "branch",
                cli::Deliver::Pr => "pr",
                cli::Deliver::Patch => "patch",
                cli::Deliver::None => "none",
            }
            .to_owned(),
        ),
        allow_unverified: options.allow_unverified,
        files: options.files.clone(),
        ..NewTask::default()
    })
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(Failure::from_error)?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(format!("the path {} is not valid UTF-8", path.to_string_lossy()))
    })
}

fn read_lines(file: &Path) -> Result<Vec<NewTask>, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let name = file.display();
    let text = text.map_err(|error| Failure::usage(format!("{name} cannot be read: {error}")))?;
    let mut tasks = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut task: NewTask = serde_json::from_str(line).map_err(|error| {
            // To the parser each line is a document; its line 1 would contradict ours.
            let error = error.to_string().replace(" at line 1 column ", " at column ");
            Failure::usage(format!("{name}, line {}: {error}; nothing was added", number + 1))
        })?;
        task.repo = absolute(Path::new(&task.repo))?;
        tasks.push(task);
    }
    Ok(tasks)
}

/// Splits a line as a shell would, quotes and backslashes included, and runs nothing.
fn split(line: &str) -> Result<Vec<String>, Failure> {
    shlex::split(line).ok_or_else(|| Failure::usage(format!("a quote is open in: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_splits_it() {
        assert_eq!(
            split(r#"python3 "my agent.py" --say '{prompt} "now"' a\ b ''"#).unwrap(),
            ["python3", "my agent.py", "--say", "{prompt} \"now\"", "a b", ""]
        );
        assert!(split("it's").is_err());
    }
}
