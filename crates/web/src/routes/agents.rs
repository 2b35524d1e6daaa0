//! `/agents`: who works, and how.

use axum::Json as Document;
use axum::extract::{Path, State as Extracted};
use journeyman_actors::gateway::probe;
use journeyman_domain::status::DriverKind;
use journeyman_store::{Acting, AgentChange};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, value};
use crate::api::State;
use crate::extract::Json;
use crate::problem::Refusal;

pub(crate) async fn list(Extracted(shared): State) -> Answer<Value> {
    let rows = shared.runtime.store.agents().list().await?;
    Ok(Document(json!({ "agents": rows, "next_cursor": null })))
}

pub(crate) async fn show(Extracted(shared): State, Path(agent): Path<String>) -> Answer<Value> {
    let row = shared.runtime.store.agents().find(&agent).await?;
    Ok(Document(value(&row)?))
}

/// What can be changed; what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    active: Option<bool>,
    driver: Option<String>,
    command: Option<Vec<String>>,
    model: Option<String>,
    network: Option<bool>,
    /// Its runs at once, over all nodes; 0 takes the limit away.
    max_concurrent: Option<u32>,
    capabilities: Option<Vec<String>>,
    description: Option<String>,
}

impl Change {
    fn read(self) -> Result<AgentChange, Refusal> {
        let mut configuration = Map::new();
        if let Some(driver) = self.driver {
            let driver: DriverKind = driver.parse()?;
            if driver == DriverKind::None {
                return Err(Refusal::usage("the driver 'none' is for tasks without an agent"));
            }
            configuration.insert("driver".to_owned(), json!(driver));
        }
        if let Some(command) = self.command {
            configuration.insert("command".to_owned(), json!(command));
        }
        if let Some(model) = self.model {
            configuration.insert("model".to_owned(), json!(model));
        }
        if let Some(network) = self.network {
            configuration.insert("network".to_owned(), json!(network));
        }
        if let Some(limit) = self.max_concurrent {
            // No limit is a null: what is given is laid over what is there.
            configuration.insert("max_concurrent".to_owned(), json!((limit > 0).then_some(limit)));
        }
        Ok(AgentChange {
            is_active: self.active,
            configuration: (!configuration.is_empty()).then_some(Value::Object(configuration)),
            capabilities: self.capabilities,
            description: self.description,
        })
    }
}

pub(crate) async fn set(
    Extracted(shared): State,
    Path(agent): Path<String>,
    Json(change): Json<Change>,
) -> Answer<Value> {
    let change = change.read()?;
    if change == AgentChange::default() {
        return Err(Refusal::usage("the request changes nothing"));
    }
    let agents = shared.runtime.store.agents();
    let id = agents.find(&agent).await?.id;
    let row = agents.set(&Acting::now("user"), id, &change).await?;
    Ok(Document(value(&row)?))
}

/// Another model than the agent's own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    model: Option<String>,
}

/// Whether the agent's driver can work, and its model answers.
pub(crate) async fn test(
    Extracted(shared): State,
    Path(agent): Path<String>,
    Json(Trial { model }): Json<Trial>,
) -> Answer<Value> {
    let runtime = &shared.runtime;
    let agent = runtime.store.agents().find(&agent).await?;
    let own = agent.configuration["model"].as_str();
    let word = runtime.models.word(model.as_deref(), own);
    let driver: Option<DriverKind> =
        agent.configuration["driver"].as_str().map(str::parse).transpose()?;
    let usual = if word.is_some() { DriverKind::Native } else { DriverKind::Mechanic };
    let driver = if model.is_some() { DriverKind::Native } else { driver.unwrap_or(usual) };
    let mut found = json!({ "agent": agent.name, "driver": driver });
    match (driver, word) {
        (DriverKind::Mechanic | DriverKind::None, _) => {}
        (DriverKind::Command, _) => {
            let program = agent.configuration["command"][0].as_str();
            let Some(program) = program else {
                return Err(Refusal::missing("the agent's driver 'command' has no program")
                    .hint("journeyman agent set NAME command=\"program {prompt}\""));
            };
            if !is_there(program, runtime.settings.environment.get("PATH")) {
                let message = format!("the agent's program '{program}' is not found");
                return Err(Refusal::missing(message));
            }
            found["program"] = json!(program);
        }
        (DriverKind::Native, None) => {
            return Err(Refusal::missing("no model is set up for the agent")
                .hint("journeyman config set model.default provider/model"));
        }
        (DriverKind::Native, Some(word)) => {
            let probed = probe(&runtime.models, word).await.map_err(Refusal::missing)?;
            found["model"] = value(&probed)?;
        }
    }
    Ok(Document(found))
}

/// Whether a program is a file, by its path or on the search path that children get.
fn is_there(program: &str, path: Option<&String>) -> bool {
    if program.contains('/') {
        return std::path::Path::new(program).is_file();
    }
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_changed() {
        let read = |text| serde_json::from_str::<Change>(text).unwrap().read();
        let change =
            read(r#"{"active":false,"driver":"command","command":["x"],"network":true}"#).unwrap();
        assert_eq!(
            change,
            AgentChange {
                is_active: Some(false),
                configuration: Some(
                    json!({ "driver": "command", "command": ["x"], "network": true })
                ),
                capabilities: None,
                description: None,
            }
        );
        assert_eq!(read("{}").unwrap(), AgentChange::default());
        let refused = read(r#"{"driver":"magic"}"#).unwrap_err();
        assert!(refused.detail.message.contains("mechanic, command, native"));
    }
}
