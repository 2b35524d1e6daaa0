//! The row of a try of a model call.

use std::time::Duration;

use chrono::{DateTime, TimeZone as _, Utc};
use journeyman_domain::failure::sentence;
use journeyman_domain::gateway::Bill;
use journeyman_domain::model::{FailureKind, ModelSettings, TokenUsage};
use journeyman_models::Attempt;
use journeyman_store::{ModelCall, Store};

use super::messages::Call;

/// The row of a try that begins now.
pub(super) fn begun(call: &Call, attempt: u32) -> ModelCall {
    ModelCall {
        run_id: call.run,
        request_seq: call.request_seq,
        attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
        provider: call.settings.provider.clone(),
        model: call.settings.model.clone(),
        wire: call.settings.wire.as_str().to_owned(),
        started_at: Utc::now(),
        duration_ms: 0,
        first_chunk_ms: None,
        failure_kind: None,
        http_status: None,
        next_attempt_at: None,
        uncached_input_tokens: 0,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        output_tokens: 0,
        reasoning_tokens: 0,
        cost_nanousd: None,
        price_version: None,
    }
}

/// The same with how it ended.
pub(super) fn ended(
    row: ModelCall,
    settings: &ModelSettings,
    attempt: &Attempt,
    took: Duration,
) -> ModelCall {
    let usage = match &attempt.result {
        Ok(turn) => Some(turn.usage),
        Err(failure) => failure.usage,
    };
    let failure = attempt.result.as_ref().err();
    let row = ModelCall {
        duration_ms: milliseconds(took),
        first_chunk_ms: attempt.first_chunk.map(milliseconds),
        failure_kind: failure.map(|failure| failure.kind.as_str().to_owned()),
        http_status: failure.and_then(|failure| failure.http_status).map(i32::from),
        ..row
    };
    match usage {
        Some(usage) => used(row, settings, &usage),
        None => row,
    }
}

fn used(row: ModelCall, settings: &ModelSettings, usage: &TokenUsage) -> ModelCall {
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    ModelCall {
        uncached_input_tokens: tokens(usage.uncached_input),
        cache_read_tokens: tokens(usage.cache_read),
        cache_write_tokens: tokens(usage.cache_write),
        output_tokens: tokens(usage.output),
        reasoning_tokens: tokens(usage.reasoning),
        cost_nanousd: settings.price.as_ref().map(|price| tokens(price.cost_nanousd(usage))),
        price_version: settings.price.as_ref().map(|price| price.version.clone()),
        ..row
    }
}

/// What a row's try cost.
pub(super) fn bill(row: &ModelCall) -> Bill {
    let tokens = row.uncached_input_tokens
        + row.cache_read_tokens
        + row.cache_write_tokens
        + row.output_tokens;
    let whole = |count: i64| u64::try_from(count).unwrap_or_default();
    Bill { nanousd: whole(row.cost_nanousd.unwrap_or_default()), tokens: whole(tokens) }
}

/// What a try may cost at the most: nobody knows before whether a cache will know the request.
pub(super) fn reserve(call: &Call) -> Bill {
    let output = u64::from(call.max_output_tokens);
    let nanousd = call.settings.price.as_ref().map_or(0, |price| {
        let dearest = price.input_nanousd.max(price.cache_write_nanousd);
        let input = dearest.saturating_mul(call.input_tokens);
        input.saturating_add(price.output_nanousd.saturating_mul(output))
    });
    Bill { nanousd, tokens: call.input_tokens.saturating_add(output) }
}

/// What the rows of tries say that nobody waited for: they count for the bill, not as failures.
pub(super) const CANCELLED: &str = FailureKind::Cancelled.as_str();
/// How often a bill is tried to be written.
const TIMES: u32 = 5;

/// Writes the row of a try whose answer nobody can use any more. It is billed all the same.
pub(crate) async fn record_unwanted(store: &Store, row: ModelCall) {
    if bill(&row) == Bill::default() {
        return;
    }
    let row = ModelCall { failure_kind: Some(CANCELLED.to_owned()), ..row };
    for time in 1..=TIMES {
        match store.calls().record_cancelled(&row).await {
            Ok(()) => return,
            Err(error) if time < TIMES && journeyman_store::is_transient(&error) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => {
                tracing::warn!(error = %sentence(&error), "what a cancelled model call cost was not recorded");
                return;
            }
        }
    }
}

/// When the day began (UTC), for which the day's budget counts.
pub(crate) fn midnight(now: DateTime<Utc>) -> DateTime<Utc> {
    now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc()
}

/// A point in time, milliseconds since 1970, as rows have it.
pub(super) fn time(ms: u64) -> Option<DateTime<Utc>> {
    Utc.timestamp_millis_opt(i64::try_from(ms).ok()?).single()
}

/// The other way round.
pub(super) fn ms(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or_default()
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
