//! `journeyman schedule …`: tasks that the clock adds.

use journeyman_web::types::{NewSchedule, NewTask, Schedule, Schedules};
use serde_json::{Value, json};

use super::task::{request, segment, short_id};
use crate::cli;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Does it.
pub async fn execute(context: &Context, command: cli::Schedule) -> Result<Exit, Failure> {
    let session = Session::open(context).await?;
    let done = dispatch(context, &session.client, command).await;
    session.close().await;
    done
}

async fn dispatch(
    context: &Context,
    client: &Client,
    command: cli::Schedule,
) -> Result<Exit, Failure> {
    let path = |name: &str| format!("/api/v1/schedules/{}", segment(name));
    let one = match command {
        cli::Schedule::Add(add) => {
            let task =
                NewTask { priority: add.priority.clone(), ..request(&add.prompt, &add.options)? };
            let new = NewSchedule {
                name: add.name,
                cron: add.cron,
                time_zone: add.time_zone,
                missed: add.missed,
                overlap: add.overlap,
                task,
            };
            client.post("/api/v1/schedules", &new).await?
        }
        cli::Schedule::Show { name } => client.get(&path(&name)).await?,
        cli::Schedule::Pause { name } => {
            client.post(&format!("{}/pause", path(&name)), &json!({})).await?
        }
        cli::Schedule::Resume { name } => {
            client.post(&format!("{}/resume", path(&name)), &json!({})).await?
        }
        cli::Schedule::Remove { name } => {
            let removed: Value =
                client.post(&format!("{}/remove", path(&name)), &json!({})).await?;
            output::either(context.json, &removed, || format!("{name} is gone; its tasks stay"))?;
            return Ok(Exit::Done);
        }
        cli::Schedule::List => {
            let all: Schedules = client.get("/api/v1/schedules").await?;
            output::either(context.json, &all, || list(&all.schedules))?;
            return Ok(Exit::Done);
        }
    };
    output::either(context.json, &one, || describe(&one))?;
    Ok(Exit::Done)
}

fn next(schedule: &Schedule) -> String {
    match schedule.next_at {
        Some(at) => at.format("%Y-%m-%d %H:%M UTC").to_string(),
        None => "paused".to_owned(),
    }
}

fn list(schedules: &[Schedule]) -> String {
    if schedules.is_empty() {
        return "no schedules; `journeyman schedule add` makes one".to_owned();
    }
    let rows: Vec<_> = schedules
        .iter()
        .map(|row| {
            let codebase = row.codebase.clone().unwrap_or_default();
            [row.name.clone(), row.cron.clone(), row.time_zone.clone(), next(row), codebase]
        })
        .collect();
    output::table(["SCHEDULE", "TIMES", "ZONE", "NEXT", "CODEBASE"], &rows)
}

fn describe(schedule: &Schedule) -> String {
    let mut text =
        format!("{}  {}\n", schedule.name, schedule.prompt.lines().next().unwrap_or_default());
    let mut row = |name: &str, value: String| {
        text.push_str(&format!("  {name:<9} {value}\n"));
    };
    row("times", format!("{} ({})", schedule.cron, schedule.time_zone));
    row("next", next(schedule));
    if let Some(at) = schedule.last_at {
        row("last", at.format("%Y-%m-%d %H:%M UTC").to_string());
    }
    if let Some(task) = &schedule.last_task {
        row("task", short_id(task));
    }
    row("missed", schedule.missed.clone());
    row("overlap", schedule.overlap.clone());
    if let Some(codebase) = &schedule.codebase {
        row("codebase", codebase.clone());
    }
    if let Some(note) = &schedule.note {
        row("note", note.clone());
    }
    text
}
