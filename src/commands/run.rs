//! `journeyman run`: one task from end to end.
//!
//! With a daemon the task is handed to it; without one the runtime runs in this process, as a node
//! that works on this task alone.

mod sent;

use journeyman_web::types::{AddTasks, Task, Tasks};
use serde_json::Value;

use super::task::{describe, request};
use crate::cli;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::live::{self, View};
use crate::output;
use crate::session::{Context, Session};
use crate::shutdown;

/// Does it.
pub async fn execute(context: &Context, run: &cli::Run) -> Result<Exit, Failure> {
    let task = request(&run.prompt, &run.options)?;
    let session = Session::for_one_task(context).await?;
    if run.no_wait && session.is_local() {
        session.close().await;
        return Err(Failure::missing(
            "no daemon is running that could go on with the task",
            "start one with: journeyman up",
        ));
    }
    let done = follow(context, &session.client, run.no_wait, AddTasks { tasks: vec![task] });
    let done = tokio::select! {
        done = done => done,
        signal = shutdown::signal() => {
            let goes_on = if session.is_local() {
                "`journeyman up` goes on with it from here"
            } else {
                "the daemon goes on with it"
            };
            let message = format!("interrupted by {signal}; {goes_on}");
            Err(Failure::new(Exit::Interrupted, "interrupted", message)
                .hint("journeyman task cancel latest  ends it"))
        }
    };
    session.close().await;
    done
}

async fn follow(
    context: &Context,
    client: &Client,
    no_wait: bool,
    tasks: AddTasks,
) -> Result<Exit, Failure> {
    let added: Tasks = client.post("/api/v1/tasks", &tasks).await?;
    let Some(task) = added.tasks.into_iter().next() else {
        return Err(Failure::broken("the task was not added"));
    };
    if no_wait {
        output::either(context.json, &task, || describe(&task))?;
        return Ok(Exit::Done);
    }
    let view = if context.json { View::Lines } else { View::choose(false) };
    live::follow(client, &task.id, view).await?;
    let task: Task = client.get(&format!("/api/v1/tasks/{}", task.id)).await?;
    let task = sent::wait(client, task).await?;
    if context.json {
        output::json(&task)?;
        return Ok(sent::exit(&task));
    }
    let diff: Value = client.get(&format!("/api/v1/tasks/{}/diff", task.id)).await?;
    if let Some(diff) = diff["diff"].as_str().filter(|diff| !diff.is_empty()) {
        output::text(diff)?;
        output::text("\n")?;
    }
    output::text(&describe(&task))?;
    output::text(&next_step(&task))?;
    Ok(sent::exit(&task))
}

/// What the user can do now.
fn next_step(task: &Task) -> String {
    let id = super::task::short_id(&task.id);
    if !task.deliveries.is_empty() {
        return sent::next_step(task, &id);
    }
    match (task.status.as_str(), &task.branch) {
        ("completed", Some(branch)) => format!(
            "\nlook at it:  git diff {}..{branch}\ntake it:     journeyman task apply {id}\n",
            task.base_commit.as_deref().unwrap_or("HEAD").chars().take(12).collect::<String>(),
        ),
        ("waiting", _) if task.waiting_for.as_deref() == Some("approval") => format!(
            "\nnothing could check the change. Take it as it is: journeyman task approve {id}\n\
             or say how to check it: journeyman run --check CMD …\n"
        ),
        ("failed" | "timeout", _) => {
            format!("\nwhat happened: journeyman task logs {id} --full\n")
        }
        _ => String::new(),
    }
}
