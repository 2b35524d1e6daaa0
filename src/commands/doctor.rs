//! `journeyman doctor`: what this machine and configuration can do, each with its mend.

use std::process::Command;

use serde::Serialize;
use serde_json::json;

use crate::boot::{configured_database, describe_forge, open_database};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    /// ok, warn or fail.
    grade: &'static str,
    found: String,
    mend: Option<String>,
}

/// Looks; a fault is a failure.
pub async fn execute(context: &Context) -> Result<Exit, Failure> {
    let mut findings = vec![git(), launcher(), data_folder(context)];
    findings.push(database(context).await);
    findings.push(daemon(context).await);
    findings.push(telemetry());
    findings.extend(["cargo", "npm", "python3", "go", "ruff"].map(tool));
    findings.push(models(context));
    findings.push(forge(context));
    let failed = findings.iter().any(|finding| finding.grade == "fail");
    output::either(context.json, &json!({ "findings": findings, "next_cursor": null }), || {
        let mut text = String::new();
        for finding in &findings {
            let Finding { what, grade, found, mend } = finding;
            text.push_str(&format!("{grade:<5} {what:<10} {found}\n"));
            if let Some(mend) = mend {
                text.push_str(&format!("{:16} {mend}\n", ""));
            }
        }
        text
    })?;
    Ok(if failed { Exit::Missing } else { Exit::Done })
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, grade: "ok", found: found.into(), mend: None }
}

fn not(
    grade: &'static str,
    what: &'static str,
    found: impl Into<String>,
    mend: impl Into<String>,
) -> Finding {
    Finding { what, grade, found: found.into(), mend: Some(mend.into()) }
}

fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

fn git() -> Finding {
    match version("git", "--version") {
        Some(version) => ok("git", version),
        None => not("fail", "git", "git is missing", "install git"),
    }
}

fn launcher() -> Finding {
    let Ok(program) = std::env::current_exe() else {
        return not("warn", "sandbox", "our own program is not found", "start it by its path");
    };
    let capable = journeyman_launcher::probe(&program);
    if capable.namespaces() {
        return ok(
            "sandbox",
            format!(
                "namespaces for users, processes, files, network; Landlock {}",
                capable.landlock_abi
            ),
        );
    }
    let refused: Vec<_> = [
        ("user", capable.user_namespace),
        ("process", capable.pid_namespace),
        ("mount", capable.mount_namespace),
        ("network", capable.net_namespace),
    ]
    .into_iter()
    .filter(|(_, able)| !able)
    .map(|(name, _)| name)
    .collect();
    not(
        "warn",
        "sandbox",
        format!("{} namespaces are refused; Landlock {}", refused.join(", "), capable.landlock_abi),
        "commands count as open: a call cut off by a crash is reported, not run again. \
         On Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    )
}

fn data_folder(context: &Context) -> Finding {
    let data = &context.paths.data;
    match std::fs::create_dir_all(data).and_then(|()| tempfile_in(data)) {
        Ok(()) => ok("data", data.display().to_string()),
        Err(error) => not(
            "fail",
            "data",
            format!("{} cannot be written: {error}", data.display()),
            "set JOURNEYMAN_DATA to a folder that you can write",
        ),
    }
}

fn tempfile_in(folder: &std::path::Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

async fn database(context: &Context) -> Finding {
    let private = matches!(configured_database(context), Ok(None));
    match open_database(context).await {
        Ok(opened) => ok("database", opened.description),
        Err(failure) => not(
            "fail",
            "database",
            failure.message,
            if private { "journeyman setup" } else { "check database.url or DATABASE_URL" },
        ),
    }
}

async fn daemon(context: &Context) -> Finding {
    match context.daemon().await {
        Some(_) => ok("daemon", "running"),
        None => not(
            "warn",
            "daemon",
            "not running; tasks wait until one is",
            "journeyman up    (`journeyman run` works without)",
        ),
    }
}

fn telemetry() -> Finding {
    match std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Ok(endpoint) => ok("traces", format!("sent to {endpoint}")),
        Err(_) => ok("traces", "not sent; set OTEL_EXPORTER_OTLP_ENDPOINT to send them"),
    }
}

fn tool(name: &'static str) -> Finding {
    match version(name, if name == "go" { "version" } else { "--version" }) {
        Some(version) => ok(name, version),
        None => not("warn", name, "not found", "only repositories that use it need it"),
    }
}

fn forge(context: &Context) -> Finding {
    match describe_forge(&context.settings.github) {
        Ok(found) => ok("forge", found),
        Err(failure) => {
            not("fail", "forge", failure.message, "journeyman config set github.api_url URL")
        }
    }
}

fn models(context: &Context) -> Finding {
    const VARIABLES: [&str; 5] = [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_BASE_URL",
        "OLLAMA_HOST",
    ];
    let set = VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_some());
    let own = context.settings.providers.keys().map(String::as_str);
    let found: Vec<_> = own.chain(set).collect();
    let default = context.settings.model.default.as_str();
    match (default, found.is_empty()) {
        ("", true) => ok("models", "none configured; the driver 'mechanic' works without"),
        ("", false) => not(
            "warn",
            "models",
            format!("{} found, and no model is the default", found.join(", ")),
            "journeyman config set model.default PROVIDER/MODEL, or give --model with a task",
        ),
        (default, true) => ok("models", format!("{default}, by its provider's usual variables")),
        (default, false) => ok("models", format!("{default}; found {}", found.join(", "))),
    }
}
