//! The whole process of `journeyman task list`, with a full page of tasks to show.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use journeyman_web::types::{AddTasks, NewTask, Tasks};

use crate::machine::Home;
use crate::{Figure, milliseconds, quantile};

const RUNS: usize = 20;
const TASKS: usize = 50;

pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let home = Home::new()?;
    let daemon = home.daemon().await?;
    let repo = home.repository()?.display().to_string();
    let held = NewTask { repo, prompt: "Wait".to_owned(), ..NewTask::default() };
    let first = NewTask {
        key: Some("first".to_owned()),
        driver: Some("command".to_owned()),
        command: ["sleep", "600"].map(str::to_owned).to_vec(),
        ..held.clone()
    };
    // All others wait for the first one, which does not end.
    let held = NewTask { after: vec!["first".to_owned()], ..held };
    let tasks = std::iter::once(first).chain(std::iter::repeat_n(held, TASKS - 1)).collect();
    let added: Result<Tasks, _> = daemon.client.post("/api/v1/tasks", &AddTasks { tasks }).await;
    if added.is_err() {
        bail!("the tasks were refused");
    }
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let status = home.command(&["task", "list"]).status()?;
        times.push(began.elapsed());
        ensure!(status.success(), "`journeyman task list` failed");
    }
    let median = milliseconds(quantile(&mut times, 0.5));
    let what = format!("the whole process, {TASKS} tasks, median of {RUNS}");
    Ok(vec![Figure::new(what, median, "at most 50")])
}
