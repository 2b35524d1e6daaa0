//! `codebases`: the repositories that tasks work on.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::CodebaseId;
use journeyman_domain::status::Status;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::column::{IdPart, Text, only};
use crate::{Acting, Store, StoreError};

/// One repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Codebase {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: CodebaseId,
    /// Unique.
    pub name: String,
    /// The root of the working tree, absolute.
    pub local_path: Option<String>,
    /// One of `language_type`, where known.
    pub primary_language: Option<String>,
    /// The branch that work starts from by default.
    pub default_branch: Option<String>,
    /// Active, or put aside.
    #[sqlx(try_from = "Text<Status>")]
    pub status: Status,
    /// Free settings.
    pub settings: Value,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
}

/// What registers a repository.
#[derive(Clone, Debug)]
pub struct NewCodebase<'a> {
    /// The root of the working tree, absolute and resolved.
    pub local_path: &'a str,
    /// The wanted name; a number is added where another folder has it.
    pub name: &'a str,
    /// The branch that work starts from by default.
    pub default_branch: Option<&'a str>,
    /// One of `language_type`; a word that is none becomes "other".
    pub language: Option<&'a str>,
}

macro_rules! columns {
    () => {
        "id, name, local_path, primary_language::text, default_branch, status::text, \
         coalesce(settings, '{}') AS settings, created_at"
    };
}
// The number after the name is the least that is free; names are taken under a lock.
const LOCK_NAMES: &str = "SELECT pg_advisory_xact_lock(hashtext('journeyman.codebases.name'))";
const REGISTER: &str = concat!(
    "INSERT INTO codebases (id, local_path, name, default_branch, primary_language) \
     SELECT $1, $2, (SELECT candidate FROM generate_series(1, 10000) n, \
         LATERAL (SELECT CASE WHEN n = 1 THEN $3 ELSE $3 || '-' || n END AS candidate) c \
         WHERE NOT EXISTS (SELECT FROM codebases WHERE name = candidate) ORDER BY n LIMIT 1), \
         coalesce($4, 'main'), \
         CASE WHEN $5 = ANY (enum_range(NULL::language_type)::text[]) THEN $5::language_type \
             WHEN $5 IS NOT NULL THEN 'other' END \
     ON CONFLICT (local_path) DO UPDATE SET status = 'active' RETURNING ",
    columns!()
);
const GET: &str = concat!("SELECT ", columns!(), " FROM codebases WHERE id = $1");
const BY_NAME_OR_PATH: &str =
    concat!("SELECT ", columns!(), " FROM codebases WHERE name = $1 OR local_path = $1");
const BY_PART: &str = "SELECT id FROM codebases WHERE id BETWEEN $1 AND $2 \
     OR reverse(replace(id::text, '-', '')) LIKE $3 LIMIT 2";
const SET: &str = concat!(
    "UPDATE codebases SET settings = coalesce(settings, '{}') || $2 WHERE id = $1 RETURNING ",
    columns!()
);
const LIST: &str = concat!("SELECT ", columns!(), " FROM codebases ORDER BY name");

pub(crate) const ALL: &[&str] = &[LOCK_NAMES, REGISTER, GET, BY_NAME_OR_PATH, BY_PART, SET, LIST];

/// The table `codebases`.
#[derive(Clone, Copy, Debug)]
pub struct Codebases<'a>(&'a Store);

impl Store {
    /// Repositories.
    pub const fn codebases(&self) -> Codebases<'_> {
        Codebases(self)
    }
}

impl Codebases<'_> {
    /// The row of this folder, made where there is none; its name and branch stay as they are
    /// where there is one.
    pub async fn register(
        &self,
        acting: &Acting<'_>,
        new: &NewCodebase<'_>,
    ) -> Result<Codebase, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        sqlx::query(LOCK_NAMES).execute(&mut *transaction).await?;
        let codebase = sqlx::query_as(REGISTER)
            .bind(Uuid::now_v7())
            .bind(new.local_path)
            .bind(new.name)
            .bind(new.default_branch)
            .bind(new.language)
            .fetch_one(&mut *transaction)
            .await?;
        around(points::CODEBASE_REGISTER, transaction.commit()).await?;
        Ok(codebase)
    }

    /// One codebase.
    pub async fn get(&self, id: CodebaseId) -> Result<Codebase, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("codebase", id))
    }

    /// By its name, its path, or a part of its id.
    pub async fn find(&self, text: &str) -> Result<Codebase, StoreError> {
        let named: Option<Codebase> =
            sqlx::query_as(BY_NAME_OR_PATH).bind(text).fetch_optional(self.0.pool()).await?;
        if let Some(codebase) = named {
            return Ok(codebase);
        }
        let part = IdPart::parse(text).ok_or_else(|| StoreError::not_found("codebase", text))?;
        let ids: Vec<Uuid> = sqlx::query_scalar(BY_PART)
            .bind(part.low)
            .bind(part.high)
            .bind(part.reversed_suffix)
            .fetch_all(self.0.pool())
            .await?;
        self.get(CodebaseId::from_uuid(only("codebase", text, &ids)?)).await
    }

    /// Lays settings over those that are there.
    pub async fn set(
        &self,
        acting: &Acting<'_>,
        id: CodebaseId,
        settings: &Value,
    ) -> Result<Codebase, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let query = sqlx::query_as(SET).bind(id.as_uuid()).bind(settings);
        let changed: Option<Codebase> = query.fetch_optional(&mut *transaction).await?;
        around(points::CODEBASE_SET, transaction.commit()).await?;
        changed.ok_or_else(|| StoreError::not_found("codebase", id))
    }

    /// All of them, by name.
    pub async fn list(&self) -> Result<Vec<Codebase>, StoreError> {
        Ok(sqlx::query_as(LIST).fetch_all(self.0.pool()).await?)
    }
}
