//! Whether a model answers and calls tools, found out by one small call outside any run.

use std::time::Instant;

use journeyman_domain::model::{Item, ModelFailure, ModelRequest, ToolSpec, dollars};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::models::Models;

/// Tokens that the answer may have: enough for a model that thinks first.
const MAX_OUTPUT_TOKENS: u32 = 1_024;

/// What a model did when it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Who serves it.
    pub provider: String,
    /// The model that was asked.
    pub model: String,
    /// Whether it called the tool that it was asked to call.
    pub calls_tools: bool,
    /// Milliseconds until it had answered.
    pub duration_ms: u64,
    /// Tokens, in and out.
    pub tokens: u64,
    /// US dollars; null where the price is not known.
    pub cost_usd: Option<f64>,
}

/// Asks the model that the word means; the sentence says why it could not be asked or did not answer.
pub async fn probe(models: &Models, word: &str) -> Result<Probed, String> {
    let settings = models.resolve(word)?;
    models.usable(&settings)?;
    let served = models.providers.get(&settings.provider).map(|served| &served.provider);
    let Some(Ok(provider)) = served else {
        return Err(format!("the provider '{}' is not set up", settings.provider));
    };
    let request = ModelRequest {
        system: "You test whether tool calls work.".to_owned(),
        items: vec![Item::User {
            text: "Call the tool `report` once with {\"status\": \"ok\"}.".to_owned(),
        }],
        tools: vec![ToolSpec {
            name: "report".to_owned(),
            description: "Reports a status.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "status": { "type": "string", "description": "The status: ok." } },
                "required": ["status"],
                "additionalProperties": false,
            }),
        }],
        may_call: true,
        input_tokens: 0,
        max_output_tokens: MAX_OUTPUT_TOKENS.min(settings.max_output_tokens),
    };
    let said = |failure: ModelFailure| failure.message;
    let body = journeyman_models::body(&settings, &request, "probe");
    let began = Instant::now();
    let never = std::future::pending();
    let attempt = models.client.call(provider, &settings, &body, &mut |_| {}, never).await;
    let turn = attempt.result.map_err(said)?;
    let price = settings.price.as_ref();
    Ok(Probed {
        calls_tools: turn.calls.iter().any(|call| call.name == "report"),
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        tokens: turn.usage.total(),
        cost_usd: price.map(|price| dollars(price.cost_nanousd(&turn.usage))),
        provider: settings.provider,
        model: settings.model,
    })
}
