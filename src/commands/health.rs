//! `journeyman health`: how the runtime, its learning and its integrations fare.

use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Shows it; unhealthy is a failure.
pub async fn execute(context: &Context) -> Result<Exit, Failure> {
    let session = Session::open(context).await?;
    let health = session.client.get::<Value>("/api/v1/health").await;
    session.close().await;
    let health = health?;
    output::either(context.json, &health, || {
        ["system", "learning", "integrations"].map(|part| describe(part, &health[part])).concat()
    })?;
    let grades: Vec<_> = ["system", "learning", "integrations"]
        .map(|part| health[part]["status"].as_str().unwrap_or_default().to_owned())
        .to_vec();
    Ok(if grades.iter().any(|grade| grade == "unhealthy") { Exit::Failed } else { Exit::Done })
}

fn describe(part: &str, health: &Value) -> String {
    let mut text = format!("{part}: {}\n", health["status"].as_str().unwrap_or("unknown"));
    for reason in health["reasons"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {}\n", reason.as_str().unwrap_or_default()));
    }
    text
}
