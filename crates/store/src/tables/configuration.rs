//! `system_configuration`: settings that all nodes share.

use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;

use crate::{Acting, Store, StoreError};

/// One setting. A sensitive value is the caller's to mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct Setting {
    /// "system.max_concurrent_tasks".
    pub config_key: String,
    /// Its value.
    pub config_value: Value,
    /// For a person.
    pub description: Option<String>,
    /// The part before the dot.
    pub category: Option<String>,
    /// Never shown.
    pub is_sensitive: bool,
    /// Cannot be set.
    pub is_readonly: bool,
}

macro_rules! columns {
    () => {
        "config_key, config_value, description, category, is_sensitive, is_readonly"
    };
}
const ALL_SETTINGS: &str =
    concat!("SELECT ", columns!(), " FROM system_configuration ORDER BY config_key");
const GET: &str =
    concat!("SELECT ", columns!(), " FROM system_configuration WHERE config_key = $1");
const SET: &str = concat!(
    "UPDATE system_configuration SET config_value = $2 ",
    "WHERE config_key = $1 AND NOT is_readonly RETURNING ",
    columns!()
);

pub(crate) const ALL: &[&str] = &[ALL_SETTINGS, GET, SET];

/// The table `system_configuration`.
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a>(&'a Store);

impl Store {
    /// Settings.
    pub const fn configuration(&self) -> Configuration<'_> {
        Configuration(self)
    }
}

impl Configuration<'_> {
    /// Every setting, by key.
    pub async fn get_all(&self) -> Result<Vec<Setting>, StoreError> {
        Ok(sqlx::query_as(ALL_SETTINGS).fetch_all(self.0.pool()).await?)
    }

    /// One setting.
    pub async fn get(&self, key: &str) -> Result<Setting, StoreError> {
        let found = sqlx::query_as(GET).bind(key).fetch_optional(self.0.pool()).await?;
        found.ok_or_else(|| StoreError::not_found("setting", key))
    }

    /// Changes a setting; a read-only one is refused with [`StoreError::Conflict`].
    pub async fn set(
        &self,
        acting: &Acting<'_>,
        key: &str,
        value: &Value,
    ) -> Result<Setting, StoreError> {
        let mut transaction = self.0.begin(acting).await?;
        let changed: Option<Setting> =
            sqlx::query_as(SET).bind(key).bind(value).fetch_optional(&mut *transaction).await?;
        around(points::CONFIGURATION_SET, transaction.commit()).await?;
        if let Some(setting) = changed {
            return Ok(setting);
        }
        let setting = self.get(key).await?;
        Err(StoreError::Conflict(format!("setting {} is read-only", setting.config_key)))
    }
}
