//! `codegen_agents`: who can do work.

use chrono::{DateTime, Utc};
use journeyman_domain::ids::AgentId;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::column::{IdPart, only};
use crate::{Acting, Store, StoreError};

/// One agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Agent {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: AgentId,
    /// Unique.
    pub name: String,
    /// For a person.
    pub description: Option<String>,
    /// "general", "reviewer", "tester", "analyzer", "optimizer", or the user's own.
    pub agent_type: String,
    /// Model, temperature, driver and the like.
    pub configuration: Value,
    /// What it can do: "code_generation", "test_generation", …
    #[sqlx(json)]
    pub capabilities: Vec<String>,
    /// Whether it gets work.
    pub is_active: bool,
    /// When it ended a run last.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentChange {
    /// Whether it gets work.
    pub is_active: Option<bool>,
    /// Merged into its configuration, key by key; a null removes a key.
    pub configuration: Option<Value>,
    /// What it can do.
    pub capabilities: Option<Vec<String>>,
    /// For a person.
    pub description: Option<String>,
}

macro_rules! columns {
    () => {
        "id, name, description, agent_type, configuration, capabilities, is_active, last_used_at"
    };
}
const LIST: &str = concat!("SELECT ", columns!(), " FROM codegen_agents ORDER BY created_at, name");
const GET: &str = concat!("SELECT ", columns!(), " FROM codegen_agents WHERE id = $1");
const GET_MANY: &str = concat!("SELECT ", columns!(), " FROM codegen_agents WHERE id = ANY ($1)");
const BY_NAME: &str = "SELECT id FROM codegen_agents WHERE lower(name) = lower($1)";
const BY_PART: &str = "SELECT id FROM codegen_agents WHERE id BETWEEN $1 AND $2 \
     OR reverse(replace(id::text, '-', '')) LIKE $3 LIMIT 2";
const SET: &str = concat!(
    "UPDATE codegen_agents SET is_active = coalesce($2::boolean, is_active), \
     configuration = jsonb_strip_nulls(configuration || coalesce($3::jsonb, '{}')), \
     capabilities = coalesce($4::jsonb, capabilities), \
     description = coalesce($5, description) WHERE id = $1 RETURNING ",
    columns!()
);

pub(crate) const ALL: &[&str] = &[LIST, GET, GET_MANY, BY_NAME, BY_PART, SET];

/// The table `codegen_agents`.
#[derive(Clone, Copy, Debug)]
pub struct Agents<'a>(&'a Store);

impl Store {
    /// Agents.
    pub const fn agents(&self) -> Agents<'_> {
        Agents(self)
    }
}

pub(crate) async fn get_many(
    connection: &mut sqlx::PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Agent>, StoreError> {
    Ok(sqlx::query_as(GET_MANY).bind(ids).fetch_all(connection).await?)
}

impl Agents<'_> {
    /// All of them, in the order in which they were made.
    pub async fn list(&self) -> Result<Vec<Agent>, StoreError> {
        Ok(sqlx::query_as(LIST).fetch_all(self.0.pool()).await?)
    }

    /// One agent.
    pub async fn get(&self, id: AgentId) -> Result<Agent, StoreError> {
        let found = sqlx::query_as(GET).bind(id.as_uuid()).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("agent", id))
    }

    /// By its name, whatever its case, or a part of its id.
    pub async fn find(&self, text: &str) -> Result<Agent, StoreError> {
        let mut ids: Vec<Uuid> =
            sqlx::query_scalar(BY_NAME).bind(text).fetch_all(self.0.pool()).await?;
        if let (true, Some(part)) = (ids.is_empty(), IdPart::parse(text)) {
            ids = sqlx::query_scalar(BY_PART)
                .bind(part.low)
                .bind(part.high)
                .bind(part.reversed_suffix)
                .fetch_all(self.0.pool())
                .await?;
        }
        self.get(AgentId::from_uuid(only("agent", text, &ids)?)).await
    }

    /// Changes an agent.
    pub async fn set(
        &self,
        acting: &Acting<'_>,
        id: AgentId,
        change: &AgentChange,
    ) -> Result<Agent, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let changed: Option<Agent> = sqlx::query_as(SET)
            .bind(id.as_uuid())
            .bind(change.is_active)
            .bind(&change.configuration)
            .bind(change.capabilities.as_ref().map(sqlx::types::Json))
            .bind(&change.description)
            .fetch_optional(&mut *transaction)
            .await?;
        around(points::AGENT_SET, transaction.commit()).await?;
        changed.ok_or_else(|| StoreError::not_found("agent", id))
    }
}
