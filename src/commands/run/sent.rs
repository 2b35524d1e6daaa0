//! What of a delivery goes to foreign systems: waited for, for a while, and judged.

use std::time::{Duration, Instant};

use journeyman_web::types::{Delivery, Task};

use crate::client::Client;
use crate::commands::task::exit_of;
use crate::failure::{Exit, Failure};

/// How long `run` waits until everything is sent.
const LIMIT: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// The task once everything of it is sent or given up, or as it is after a while.
pub(super) async fn wait(client: &Client, mut task: Task) -> Result<Task, Failure> {
    let began = Instant::now();
    if task.deliveries.iter().any(is_open) {
        anstream::eprintln!("         sending to {}", task.deliveries[0].target);
    }
    while task.deliveries.iter().any(is_open) && began.elapsed() < LIMIT {
        tokio::time::sleep(PAUSE).await;
        task = client.get(&format!("/api/v1/tasks/{}", task.id)).await?;
    }
    Ok(task)
}

fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.state.as_str(), "pending" | "sending")
}

/// The exit status: work that is done and not delivered is not done.
pub(super) fn exit(task: &Task) -> Exit {
    if task.deliveries.iter().any(|delivery| delivery.state == "failed") {
        return Exit::Failed;
    }
    if task.deliveries.iter().any(is_open) {
        return Exit::Waiting;
    }
    exit_of(task)
}

/// What the user has, or can do.
pub(super) fn next_step(task: &Task, id: &str) -> String {
    let request = task.deliveries.iter().find(|delivery| delivery.kind == "pull_request");
    if let Some(address) = request.and_then(|request| request.remote_id.as_deref()) {
        return format!("\npull request: {address}\n");
    }
    match exit(task) {
        Exit::Failed => format!(
            "\nthe branch is in your repository; send it again: journeyman task resend {id}\n"
        ),
        Exit::Waiting => "\nit is not sent yet; `journeyman up` goes on with that\n".to_owned(),
        Exit::Done | Exit::Usage | Exit::Missing | Exit::Interrupted => String::new(),
    }
}
