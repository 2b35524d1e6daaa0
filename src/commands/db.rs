//! `journeyman db …`: the database, private or configured.

mod libpq;

use std::path::Path;
use std::process::{Command, Stdio};

use journeyman_store::backup;
use journeyman_store::cluster::{self, ClusterStatus};
use serde_json::json;

use crate::boot::open_database;
use crate::boot::{configured_database, connect_database, private_cluster};
use crate::cli;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;
use crate::shutdown;

/// Does it.
pub async fn execute(context: &Context, command: cli::Db) -> Result<Exit, Failure> {
    match command {
        cli::Db::Url => url(context),
        cli::Db::Start => start(context).await,
        cli::Db::Stop => stop(context),
        cli::Db::Migrate => {
            open_database(context).await?;
            output::either(context.json, &json!({ "migrated": true }), || {
                "the schema is this program's".to_owned()
            })?;
            Ok(Exit::Done)
        }
        cli::Db::Shell { arguments } => {
            let opened = connect_database(context).await?;
            let mut psql = program(context, "psql", &opened.url);
            psql.args(arguments);
            let done = tokio::task::spawn_blocking(move || psql.status()).await;
            exit_of("psql", done)
        }
        cli::Db::Backup { file } => backup(context, &file).await,
        cli::Db::Restore { file, yes } => restore(context, &file, yes).await,
    }
}

fn url(context: &Context) -> Result<Exit, Failure> {
    if let Some(url) = configured_database(context)? {
        output::either(context.json, &json!({ "url": url }), || url.clone())?;
        return Ok(Exit::Done);
    }
    match cluster::status(&context.paths.data).map_err(Failure::from_error)? {
        ClusterStatus::Running { server: Some((_, url)), .. } => {
            output::either(context.json, &json!({ "url": url }), || url.clone())?;
            Ok(Exit::Done)
        }
        ClusterStatus::Running { .. } | ClusterStatus::Stopped { .. } | ClusterStatus::Absent => {
            Err(Failure::missing("the private cluster is not running", "journeyman db start"))
        }
    }
}

async fn start(context: &Context) -> Result<Exit, Failure> {
    if configured_database(context)?.is_some() {
        return Err(Failure::usage("a database is configured; the private cluster is not used"));
    }
    let cluster = private_cluster(context).await?;
    output::either(context.json, &json!({ "url": cluster.url() }), || {
        format!("{}\nit runs until Ctrl-C, and as long as others use it", cluster.url())
    })?;
    shutdown::signal().await;
    Ok(Exit::Done)
}

fn stop(context: &Context) -> Result<Exit, Failure> {
    match cluster::status(&context.paths.data).map_err(Failure::from_error)? {
        ClusterStatus::Running { .. } => Err(Failure::new(
            Exit::Usage,
            "in_use",
            "the cluster is in use; it stops by itself with the last command that uses it",
        )
        .hint("end `journeyman up`, `journeyman run` and `journeyman db start`")),
        ClusterStatus::Stopped { .. } | ClusterStatus::Absent => {
            output::either(context.json, &json!({ "running": false }), || {
                "the cluster is not running".to_owned()
            })?;
            Ok(Exit::Done)
        }
    }
}

async fn backup(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let opened = connect_database(context).await?;
    let temporary = file.with_extension("part");
    let mut dump = program(context, "pg_dump", &opened.url);
    dump.args(["--format=custom", "--no-owner", "--file"]).arg(&temporary);
    let done = tokio::task::spawn_blocking(move || dump.status()).await;
    if let Err(failure) = exit_of("pg_dump", done) {
        // A part of a backup is none; where it was never begun there is nothing to remove.
        let _ = std::fs::remove_file(&temporary);
        return Err(failure);
    }
    std::fs::rename(&temporary, file).map_err(Failure::from_error)?;
    output::either(context.json, &json!({ "file": file }), || {
        format!("written to {}", file.display())
    })?;
    Ok(Exit::Done)
}

async fn restore(context: &Context, file: &Path, yes: bool) -> Result<Exit, Failure> {
    if !yes {
        return Err(Failure::usage("this replaces everything in the database")
            .hint("say so with --yes; `journeyman db backup FILE` keeps what is there"));
    }
    if !file.is_file() {
        return Err(Failure::usage(format!("there is no file {}", file.display())));
    }
    if context.daemon().await.is_some() {
        return Err(Failure::usage("a daemon is running on this database")
            .hint("stop `journeyman up` first"));
    }
    let opened = connect_database(context).await?;
    // First into a script, so that a damaged file replaces nothing.
    let script = context.paths.data.join(format!("restore-{}.sql", std::process::id()));
    let done = fill(context, &opened.url, file, &script).await;
    // Where it was never begun there is nothing to remove.
    let _ = std::fs::remove_file(&script);
    done
}

/// Replaces what is in a database by what a backup holds, in one transaction.
async fn fill(context: &Context, url: &str, file: &Path, script: &Path) -> Result<Exit, Failure> {
    let mut read = found(context, "pg_restore");
    read.arg("--no-owner").arg("--file").arg(script).arg(file).stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || read.status()).await;
    exit_of("pg_restore", done)?;
    let mut write = program(context, "psql", url);
    write.args(["--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1"]);
    write.args(["--command", backup::EMPTY, "--file"]).arg(script);
    write.args(["--command", backup::FENCE]);
    write.stdin(Stdio::null()).stdout(Stdio::null());
    let done = tokio::task::spawn_blocking(move || write.status()).await;
    exit_of("psql", done)
}

/// A program of PostgreSQL on a database.
fn program(context: &Context, name: &str, url: &str) -> Command {
    let mut command = found(context, name);
    let (url, password) = libpq::split(url);
    command.arg("--dbname").arg(url);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command
}

/// A program of PostgreSQL: beside the server's, else on the PATH.
fn found(context: &Context, name: &str) -> Command {
    let set = &context.settings.database.bin_dir;
    let beside =
        cluster::bin_dir(Some(Path::new(set)).filter(|_| !set.is_empty()), &context.paths.data);
    match beside.map(|folder| folder.join(name)).filter(|path| path.is_file()) {
        Some(path) => Command::new(path),
        None => Command::new(name),
    }
}

fn exit_of(
    name: &str,
    done: Result<std::io::Result<std::process::ExitStatus>, tokio::task::JoinError>,
) -> Result<Exit, Failure> {
    match done {
        Ok(Ok(status)) if status.success() => Ok(Exit::Done),
        Ok(Ok(status)) => Err(Failure::broken(format!("{name} ended with {status}"))),
        Ok(Err(error)) => Err(Failure::missing(
            format!("{name} cannot be started: {error}"),
            "journeyman setup  installs PostgreSQL's programs",
        )),
        Err(error) => Err(Failure::from_error(error)),
    }
}
