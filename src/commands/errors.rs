//! `journeyman errors …`: what failed, and what kind of failure it is.

use std::io::Read as _;

use journeyman_web::types::ErrorReport;
use serde_json::{Value, json};

use super::task::{query, segment, short_id};
use crate::cli;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::{Context, Session};

/// Does it. Classifying needs no database.
pub async fn execute(context: &Context, command: cli::Errors) -> Result<Exit, Failure> {
    if let cli::Errors::Classify = command {
        return classify(context);
    }
    let session = Session::open(context).await?;
    let done = read(context, &session.client, command).await;
    session.close().await;
    done
}

async fn read(context: &Context, client: &Client, command: cli::Errors) -> Result<Exit, Failure> {
    match command {
        cli::Errors::List { task, limit } => {
            let query = query(&[("task", task), ("limit", Some(limit.to_string()))]);
            let page: Value = client.get(&format!("/api/v1/errors{query}")).await?;
            let reports: Vec<ErrorReport> =
                serde_json::from_value(page["errors"].clone()).map_err(Failure::from_error)?;
            output::either(context.json, &page, || list(&reports))?;
        }
        cli::Errors::Show { error } => {
            let report: ErrorReport =
                client.get(&format!("/api/v1/errors/{}", segment(&error))).await?;
            output::either(context.json, &report, || describe(&report))?;
        }
        cli::Errors::Resolve { error, status, note } => {
            let path = format!("/api/v1/errors/{}/resolve", segment(&error));
            let body = json!({ "status": status, "note": note });
            let report: ErrorReport = client.post(&path, &body).await?;
            output::either(context.json, &report, || describe(&report))?;
        }
        cli::Errors::Classify => {}
    }
    Ok(Exit::Done)
}

fn list(reports: &[ErrorReport]) -> String {
    if reports.is_empty() {
        return "no failures are on record".to_owned();
    }
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            [
                short_id(&report.id),
                report.category.clone(),
                report.severity.clone(),
                report.resolution_status.clone(),
                report.message.clone(),
            ]
        })
        .collect();
    output::table(["ERROR", "CATEGORY", "SEVERITY", "STATE", "MESSAGE"], &rows)
}

fn describe(report: &ErrorReport) -> String {
    let mut text = format!("{}  {}\n", short_id(&report.id), report.message);
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<12} {value}\n"));
        }
    };
    row("category", &report.category);
    row("class", &report.class);
    row("severity", &report.severity);
    row("fingerprint", &report.fingerprint);
    row("state", &report.resolution_status);
    row("policy", &report.policy.as_ref().map(ToString::to_string).unwrap_or_default());
    row("task", &report.task.as_deref().map(short_id).unwrap_or_default());
    if let Some(shown) = report.evidence.as_ref().and_then(|evidence| evidence["text"].as_str()) {
        text.push_str(&format!("\n{shown}\n"));
    }
    text
}

fn classify(context: &Context) -> Result<Exit, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(Failure::from_error)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        return Err(Failure::usage("there is nothing to classify on standard input"));
    }
    let evidence = journeyman_domain::failure::Evidence {
        phase: journeyman_domain::failure::Phase::Verify,
        source: None,
        exit_code: None,
        signal: None,
        timed_out: false,
        http_status: None,
        sqlstate: None,
        model_failure: None,
        text: text.into_owned(),
    };
    let found = journeyman_learning::classify(&evidence);
    let policy = journeyman_domain::failure::policy(
        found.category,
        &journeyman_domain::failure::Attempt::first(),
    );
    let document = json!({ "classification": found, "policy": policy });
    output::either(context.json, &document, || {
        format!(
            "category     {}\nkind         {}\nclass        {}\nseverity     {}\nfingerprint  {}\n\
             group        {}\nconfidence   {:.2}, by {}\npolicy       {}\nheadline     {}\n",
            found.category,
            found.kind,
            found.class,
            found.severity,
            found.fingerprint,
            found.group,
            found.confidence,
            found.classified_by,
            document["policy"]["policy"].as_str().unwrap_or_default(),
            found.headline,
        )
    })?;
    Ok(Exit::Done)
}
