//! The schema's history: forward only, under sqlx's advisory lock.

use journeyman_faults::{around, points};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::StoreError;
use crate::error::is_away;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

// The table is the migrator's own and absent from a database that was never migrated.
const MIGRATED: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
const FOUND: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";

pub(crate) const ALL: &[&str] = &[MIGRATED, FOUND];

/// The newest migration of this binary.
pub fn newest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// A short name for this set of migrations: equal sets, equal names.
pub fn fingerprint() -> String {
    let mut hash = Sha256::new();
    for migration in MIGRATOR.iter() {
        hash.update(migration.version.to_be_bytes());
        hash.update(&*migration.checksum);
    }
    let mut name = crate::BlobHash::of(&hash.finalize()).to_string();
    name.truncate(12);
    name
}

pub(crate) async fn run(pool: &PgPool) -> Result<(), StoreError> {
    match around(points::MIGRATE, MIGRATOR.run(pool)).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(_)) => {
            Err(StoreError::NewerDatabase { found: found(pool).await?, known: newest() })
        }
        Err(MigrateError::Execute(error)) => Err(error.into()),
        // It broke off, which is no fault of the migration.
        Err(MigrateError::ExecuteMigration(error, _)) if is_away(&error) => Err(error.into()),
        Err(error) => Err(StoreError::Migration(Box::new(error))),
    }
}

pub(crate) async fn check(pool: &PgPool) -> Result<(), StoreError> {
    let (found, known) = (found(pool).await?, newest());
    match found.cmp(&known) {
        std::cmp::Ordering::Greater => Err(StoreError::NewerDatabase { found, known }),
        std::cmp::Ordering::Less => Err(StoreError::OlderDatabase { found, known }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

async fn found(pool: &PgPool) -> Result<i64, StoreError> {
    if !sqlx::query_scalar(MIGRATED).fetch_one(pool).await? {
        return Ok(0);
    }
    Ok(sqlx::query_scalar(FOUND).fetch_one(pool).await?)
}
