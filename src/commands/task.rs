//! `journeyman task …`.

mod add;
mod deps;
mod show;

use journeyman_web::types::{Event, Task, Tasks};
use serde_json::{Value, json};

pub use add::request;
pub use show::{describe, short as short_id};

use crate::cli;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::live::{self, View};
use crate::output;
use crate::session::{Context, Session};

/// An event's place: its attempt times this, and the step.
const STEPS_OF_AN_ATTEMPT: i64 = 1_000_000;

/// Does it.
pub async fn execute(context: &Context, command: cli::Task) -> Result<Exit, Failure> {
    let session = Session::open(context).await?;
    let done = dispatch(context, &session.client, command).await;
    session.close().await;
    done
}

async fn dispatch(context: &Context, client: &Client, command: cli::Task) -> Result<Exit, Failure> {
    match command {
        cli::Task::Add(add) => add::execute(context, client, *add).await,
        cli::Task::List {
            status,
            waiting_for,
            codebase,
            parent,
            priority,
            agent,
            limit,
            cursor,
        } => {
            let query = query(&[
                ("status", status),
                ("waiting_for", waiting_for),
                ("codebase", codebase),
                ("parent", parent),
                ("priority", priority),
                ("agent", agent),
                ("limit", Some(limit.to_string())),
                ("cursor", cursor),
            ]);
            list(context, &client.get(&format!("/api/v1/tasks{query}")).await?)
        }
        cli::Task::Show(id) => show(context, client, &id.task).await,
        cli::Task::Watch(id) => watch(context, client, &id.task).await,
        cli::Task::Cancel(id) => steer(context, client, &id.task, "cancel").await,
        cli::Task::Retry(id) => steer(context, client, &id.task, "retry").await,
        cli::Task::Resend(id) => resend(context, client, &id.task).await,
        cli::Task::Pause(id) => steer(context, client, &id.task, "pause").await,
        cli::Task::Resume { task, budget, time } => {
            let more = json!({ "budget_usd": budget, "time_limit_s": time });
            steer_with(context, client, &task, "resume", &more).await
        }
        cli::Task::Approve(id) => steer(context, client, &id.task, "approve").await,
        cli::Task::Answer { task, text } => {
            let path = format!("/api/v1/tasks/{}/answer", segment(&task));
            let after: Task = client.post(&path, &json!({ "text": text })).await?;
            output::either(context.json, &after, || describe(&after))?;
            Ok(Exit::Done)
        }
        cli::Task::Logs { task, full } => logs(context, client, &task, full).await,
        cli::Task::Diff { task, step, from, attempt } => {
            let number = |number: Option<i32>| number.map(|number| number.to_string());
            let query = query(&[
                ("step", number(step)),
                ("from", number(from)),
                ("attempt", number(attempt)),
            ]);
            let path = format!("/api/v1/tasks/{}/diff{query}", segment(&task));
            let document: Value = client.get(&path).await?;
            output::either(context.json, &document, || {
                document["diff"].as_str().unwrap_or_default().to_owned()
            })?;
            Ok(Exit::Done)
        }
        cli::Task::Restore { task, step, to, attempt } => {
            let to = std::path::absolute(&to).map_err(Failure::from_error)?;
            let path = format!("/api/v1/tasks/{}/restore", segment(&task));
            let body = json!({ "step": step, "to": to, "attempt": attempt });
            let document: Value = client.post(&path, &body).await?;
            output::either(context.json, &document, || {
                document["message"].as_str().unwrap_or_default().to_owned()
            })?;
            Ok(Exit::Done)
        }
        cli::Task::Apply(id) => {
            let path = format!("/api/v1/tasks/{}/apply", segment(&id.task));
            let document: Value = client.post(&path, &json!({})).await?;
            output::either(context.json, &document, || {
                document["message"].as_str().unwrap_or_default().to_owned()
            })?;
            Ok(Exit::Done)
        }
        cli::Task::Deps(id) => deps::execute(context, client, &id.task).await,
    }
}

fn list(context: &Context, page: &Tasks) -> Result<Exit, Failure> {
    output::either(context.json, page, || {
        if page.tasks.is_empty() {
            return "no tasks; `journeyman run --repo PATH \"PROMPT\"` makes one".to_owned();
        }
        let rows: Vec<_> = page
            .tasks
            .iter()
            .map(|task| {
                [
                    show::short(&task.id),
                    show::state(task),
                    task.priority.clone(),
                    task.codebase.clone().unwrap_or_default(),
                    task.title.clone(),
                ]
            })
            .collect();
        let mut text = output::table(["TASK", "STATE", "PRIORITY", "CODEBASE", "TITLE"], &rows);
        if let Some(cursor) = &page.next_cursor {
            text.push_str(&format!("more: journeyman task list --cursor {cursor}\n"));
        }
        text
    })?;
    Ok(Exit::Done)
}

async fn show(context: &Context, client: &Client, id: &str) -> Result<Exit, Failure> {
    let task: Task = client.get(&format!("/api/v1/tasks/{}", segment(id))).await?;
    output::either(context.json, &task, || describe(&task))?;
    Ok(Exit::Done)
}

async fn watch(context: &Context, client: &Client, id: &str) -> Result<Exit, Failure> {
    let task: Task = client.get(&format!("/api/v1/tasks/{}", segment(id))).await?;
    live::follow(client, &task.id, View::choose(context.json)).await?;
    let task: Task = client.get(&format!("/api/v1/tasks/{}", task.id)).await?;
    if !context.json {
        output::text(&describe(&task))?;
    }
    Ok(exit_of(&task))
}

async fn steer(context: &Context, client: &Client, id: &str, verb: &str) -> Result<Exit, Failure> {
    steer_with(context, client, id, verb, &json!({})).await
}

async fn steer_with(
    context: &Context,
    client: &Client,
    id: &str,
    verb: &str,
    body: &Value,
) -> Result<Exit, Failure> {
    let path = format!("/api/v1/tasks/{}/{verb}", segment(id));
    let task: Task = client.post(&path, body).await?;
    output::either(context.json, &task, || {
        format!("{}  {}  {}", show::short(&task.id), show::state(&task), task.title)
    })?;
    Ok(Exit::Done)
}

async fn resend(context: &Context, client: &Client, id: &str) -> Result<Exit, Failure> {
    let path = format!("/api/v1/tasks/{}/resend", segment(id));
    let task: Task = client.post(&path, &json!({})).await?;
    output::either(context.json, &task, || describe(&task))?;
    if context.daemon().await.is_none() {
        let note = "no daemon is running; `journeyman up` sends it";
        anstream::eprintln!("{note}");
    }
    Ok(Exit::Done)
}

async fn logs(context: &Context, client: &Client, id: &str, full: bool) -> Result<Exit, Failure> {
    let path = format!("/api/v1/tasks/{}/logs?full={full}", segment(id));
    let events: Vec<Event> = client.get(&path).await?;
    if context.json {
        for event in &events {
            output::text(&serde_json::to_string(event).map_err(Failure::from_error)?)?;
        }
        return Ok(Exit::Done);
    }
    for event in events.iter().filter(|event| !event.text.is_empty()) {
        output::text(&line(event))?;
        if let Some(shown) = event.detail["output"].as_str().filter(|_| full) {
            for line in shown.lines() {
                output::text(&format!("          {line}"))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Time, number and words of a step; `*` says that the files changed in it, so that there is something to look at.
fn line(event: &Event) -> String {
    let (attempt, step) = (event.seq / STEPS_OF_AN_ATTEMPT, event.seq % STEPS_OF_AN_ATTEMPT);
    let mark = if event.snapshot.is_some() { "*" } else { " " };
    let step = if attempt > 1 { format!("{attempt}/{step}") } else { step.to_string() };
    format!("{}  {step:>4}{mark}  {}", event.at.format("%H:%M:%S"), event.text)
}

/// The exit status that a task's state means.
pub fn exit_of(task: &Task) -> Exit {
    match task.status.as_str() {
        "completed" => Exit::Done,
        "waiting" | "paused" | "parked" => Exit::Waiting,
        _ => Exit::Failed,
    }
}

/// A part of a path, as URLs want it.
pub fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A query string of what is given.
pub fn query(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let mut parts: Vec<_> =
        given.map(|(name, value)| format!("{name}={}", segment(value))).collect();
    parts.sort_unstable();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}
