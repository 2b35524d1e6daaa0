//! One try of a call: its span, its metrics, how far it is.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use journeyman_domain::model::{FailureKind, ModelFailure};
use journeyman_faults::{around, points};
use journeyman_models::{Attempt, Progress};
use journeyman_telemetry::{Relation, names};
use tracing::{Instrument as _, Span};

use super::messages::Call;
use crate::models::Models;

/// The least time between two words on how far an answer is.
const PROGRESS: Duration = Duration::from_millis(500);

/// One try, in a span of its own; `None` where the provider is gone from the settings. It breaks off
/// with the failure that `stop` comes to, and is not made unless `may_ask` says so.
pub(super) async fn try_once(
    models: &Models,
    call: &Call,
    may_ask: impl Future<Output = bool> + Send,
    stop: impl Future<Output = ModelFailure> + Send,
) -> Option<Attempt> {
    let provider = models.providers.get(&call.settings.provider)?.provider.as_ref().ok()?;
    let span = tracing::info_span!(
        parent: None,
        "chat",
        otel.name = format!("chat {}", call.settings.model),
        otel.kind = "client",
        { names::ATTR_OPERATION } = "chat",
        { names::ATTR_PROVIDER } = call.settings.provider,
        { names::ATTR_REQUEST_MODEL } = call.settings.model,
        { names::ATTR_MAX_TOKENS } = call.max_output_tokens,
        { names::ATTR_CONVERSATION } = %call.run,
        task.id = %call.task,
        step.seq = call.request_seq,
        { names::ATTR_RESPONSE_MODEL } = tracing::field::Empty,
        { names::ATTR_RESPONSE_ID } = tracing::field::Empty,
        { names::ATTR_FINISH_REASONS } = tracing::field::Empty,
        { names::ATTR_INPUT_TOKENS } = tracing::field::Empty,
        { names::ATTR_OUTPUT_TOKENS } = tracing::field::Empty,
        { names::ATTR_CACHE_READ_TOKENS } = tracing::field::Empty,
        { names::ATTR_CACHE_WRITE_TOKENS } = tracing::field::Empty,
        { names::ATTR_REASONING_TOKENS } = tracing::field::Empty,
        { names::ATTR_INPUT_MESSAGES } = tracing::field::Empty,
        { names::ATTR_OUTPUT_MESSAGES } = tracing::field::Empty,
        error.type = tracing::field::Empty,
    );
    journeyman_telemetry::attach(&span, call.trace, Relation::Child);
    let began = Instant::now();
    let told = Mutex::new((0_usize, Instant::now()));
    let mut on = |progress: Progress<'_>| {
        let Ok(mut told) = told.lock() else { return };
        told.0 += match progress {
            Progress::Started => 0,
            Progress::Text(text) => text.chars().count(),
            Progress::Reasoning(bytes) | Progress::ToolArguments(bytes) => bytes,
        };
        if told.1.elapsed() >= PROGRESS {
            told.1 = Instant::now();
            (call.progress)(told.0);
        }
    };
    let called = async {
        if may_ask.await {
            models.client.call(provider, &call.settings, &call.body, &mut on, stop).await
        } else {
            let message = "the run is another node's by now";
            Attempt::failed(ModelFailure::of(FailureKind::Cancelled, message))
        }
    };
    let attempt = around(points::MODEL_CALL, called.instrument(span.clone())).await;
    describe(&span, call, &attempt, began.elapsed());
    if journeyman_telemetry::redact::captures_content() {
        let body = &call.body;
        let said = if body["messages"].is_null() { &body["input"] } else { &body["messages"] };
        span.record(names::ATTR_INPUT_MESSAGES, said.to_string());
        if let Ok(turn) = &attempt.result {
            let answer = serde_json::json!({ "text": turn.text, "calls": turn.calls });
            span.record(names::ATTR_OUTPUT_MESSAGES, answer.to_string());
        }
    }
    Some(attempt)
}

/// What a try was, for spans and metrics.
fn describe(span: &Span, call: &Call, attempt: &Attempt, took: Duration) {
    let metrics = journeyman_telemetry::metrics();
    let (provider, model) = (call.settings.provider.as_str(), call.settings.model.as_str());
    match &attempt.result {
        Ok(turn) => {
            let usage = &turn.usage;
            span.record(names::ATTR_RESPONSE_MODEL, turn.model.as_str());
            span.record(names::ATTR_RESPONSE_ID, turn.id.as_str());
            span.record(names::ATTR_FINISH_REASONS, turn.stop.as_str());
            span.record(names::ATTR_INPUT_TOKENS, usage.input());
            span.record(names::ATTR_OUTPUT_TOKENS, usage.output);
            span.record(names::ATTR_CACHE_READ_TOKENS, usage.cache_read);
            span.record(names::ATTR_CACHE_WRITE_TOKENS, usage.cache_write);
            span.record(names::ATTR_REASONING_TOKENS, usage.reasoning);
            metrics.tokens_used(provider, model, usage.input(), usage.output);
            metrics.model_called(provider, model, None, took, attempt.first_chunk);
        }
        Err(failure) => {
            span.record(names::ATTR_ERROR_TYPE, failure.kind.as_str());
            metrics.model_called(provider, model, Some(failure.kind.as_str()), took, None);
        }
    }
}
