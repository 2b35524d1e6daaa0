//! The database: the configured one, else the private cluster; migrated either way.

use std::error::Error;

use journeyman_domain::failure::sentence;
use journeyman_store::cluster::{Cluster, ClusterError};
use journeyman_store::{PoolOptions, Store, StoreError};
use journeyman_supervision::StartError;

use crate::commands::keeper;
use crate::config::{Settings, resolve_secret};
use crate::failure::{Exit, Failure};
use crate::session::Context;

/// An open database.
pub struct Opened {
    /// The way to it.
    pub store: Store,
    /// The claim to the private cluster, where it is that.
    pub cluster: Option<Cluster>,
    /// Where it is, without a password.
    pub description: String,
    /// Its URL, with whatever is in it.
    pub url: String,
}

/// Opens the database and brings its schema up to this program's.
pub async fn open(context: &Context) -> Result<Opened, Failure> {
    let opened = connect(context).await?;
    opened.store.migrate().await.map_err(|error| failure(&error)).map_err(lost)?;
    Ok(opened)
}

/// Whether it was for want of a database.
pub fn is_away(failure: &Failure) -> bool {
    failure.code == "database_unavailable" || is_lost(failure)
}

/// Whether it was for want of a database that answered before.
pub fn is_lost(failure: &Failure) -> bool {
    failure.code == "database_lost"
}

/// The same failure, of a database that answered before.
pub(super) fn lost(failure: Failure) -> Failure {
    match failure.code.as_str() {
        "database_unavailable" => Failure { code: "database_lost".to_owned(), ..failure },
        _ => failure,
    }
}

/// How a command says that its tree did not start, which may be for want of the database.
pub(super) fn start_failure(error: &StartError) -> Failure {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        if let Some(away @ StoreError::Unavailable(_)) = deeper.downcast_ref() {
            return failure(away);
        }
        cause = deeper;
    }
    Failure::from_error(error)
}

/// Opens the database as it is.
pub async fn connect(context: &Context) -> Result<Opened, Failure> {
    let (url, cluster, description) = if let Some(url) = configured(context)? {
        journeyman_telemetry::redact::register(&url);
        (url, None, "as configured by database.url or DATABASE_URL".to_owned())
    } else {
        let cluster = private(context).await?;
        (cluster.url(), Some(cluster), "the private cluster in the data folder".to_owned())
    };
    let options = PoolOptions {
        max: context.settings.database.max_connections.max(3),
        ..PoolOptions::default()
    };
    let store = Store::connect(&url, options).await.map_err(|error| failure(&error))?;
    Ok(Opened { store, cluster, description, url })
}

/// All settings, those of the table below the user's own.
pub(super) async fn settings(context: &Context, store: &Store) -> Result<Settings, Failure> {
    let rows = store.configuration().get_all().await.map_err(|error| failure(&error))?;
    let pairs = rows.into_iter().map(|row| (row.config_key, row.config_value));
    let layers = context.layers.clone().with_table(pairs);
    layers.settings().map_err(|error| Failure::new(Exit::Usage, "config", sentence(&error)))
}

/// The URL that the user set, its secret resolved.
pub fn configured(context: &Context) -> Result<Option<String>, Failure> {
    let set = Some(context.settings.database.url.clone())
        .filter(|url| !url.is_empty())
        .or_else(|| std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()));
    let resolved = set.map(|reference| resolve_secret(&reference)).transpose();
    resolved.map_err(|error| Failure::new(Exit::Missing, "database_unavailable", sentence(&error)))
}

/// Starts the private cluster, or attaches to it.
pub async fn private(context: &Context) -> Result<Cluster, Failure> {
    let bin_dir = Some(&context.settings.database.bin_dir).filter(|folder| !folder.is_empty());
    let options = keeper::options(context.paths.data.clone(), bin_dir.map(Into::into), true)
        .map_err(|error| Failure::broken(format!("{error:#}")))?;
    Cluster::open(options).await.map_err(|error| cluster_failure(&error))
}

fn cluster_failure(error: &ClusterError) -> Failure {
    let failure = Failure::new(Exit::Missing, "database_unavailable", sentence(error));
    if matches!(error, ClusterError::ProgramsMissing) {
        failure.hint("journeyman setup  installs them")
    } else if matches!(error, ClusterError::ProgramsUnusable { .. }) {
        failure.hint(
            "leave database.bin_dir empty to have them found, with JOURNEYMAN__DATABASE__BIN_DIR= \
             or: journeyman config set database.bin_dir ''",
        )
    } else {
        failure
    }
}

/// How a command says what the store says.
pub(super) fn failure(error: &StoreError) -> Failure {
    let text = sentence(error);
    match error {
        StoreError::Unavailable(_) => Failure::new(Exit::Missing, "database_unavailable", text)
            .hint("is the server running, and is database.url right? `journeyman doctor` looks"),
        StoreError::NewerDatabase { .. } => Failure::new(Exit::Missing, "database_newer", text)
            .hint("use the newer version of journeyman that made it"),
        StoreError::OlderDatabase { .. } => Failure::new(Exit::Missing, "database_older", text)
            .hint("bring it up to date with: journeyman db migrate"),
        StoreError::Migration(_) => Failure::new(Exit::Missing, "database_migration", text),
        StoreError::NotFound { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::Conflict(_)
        | StoreError::Cycle(_) => Failure::usage(text),
        StoreError::Fenced | StoreError::Damaged(_) | StoreError::Sql(_) => Failure::broken(text),
    }
}
