//! `journeyman drain`: the daemon finishes what it has, and begins nothing more.

use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Says it to the daemon, and waits until nothing runs there.
pub async fn execute(context: &Context, off: bool, no_wait: bool) -> Result<Exit, Failure> {
    let Some(daemon) = context.daemon().await else {
        return Err(Failure::missing(
            "no daemon of this data folder is running",
            "journeyman up  starts one; on other machines, drain it there",
        ));
    };
    let mut now: Value = daemon.post("/api/v1/drain", &json!({ "on": !off })).await?;
    let running = |now: &Value| now["running"].as_u64().unwrap_or_default();
    if !off && !no_wait {
        if running(&now) > 0 {
            eprint_line(&format!("{} under way; nothing more is begun", runs(running(&now))));
        }
        while running(&now) > 0 {
            tokio::time::sleep(EVERY).await;
            now = daemon.get("/api/v1/drain").await?;
        }
    }
    output::either(context.json, &now, || {
        if off {
            "the daemon begins work again".to_owned()
        } else {
            format!(
                "{} under way, and nothing more is begun; stop the daemon now, or: journeyman drain --off",
                runs(running(&now))
            )
        }
    })?;
    Ok(Exit::Done)
}

fn runs(count: u64) -> String {
    match count {
        0 => "no run is".to_owned(),
        1 => "1 run is".to_owned(),
        count => format!("{count} runs are"),
    }
}

#[expect(clippy::print_stderr, reason = "progress goes to standard error")]
fn eprint_line(line: &str) {
    eprintln!("{line}");
}
