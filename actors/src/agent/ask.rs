//! A run asks its model: the request is in the journal before it goes out, the answer when it came.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use journeyman_domain::failure::{Evidence, Phase, Policy};
use journeyman_domain::gateway::{DaySpent, Room};
use journeyman_domain::limits::Limits;
use journeyman_domain::model::{ModelRequest, ModelSettings, after_failure};
use journeyman_domain::run::observation;
use journeyman_domain::step::Entry;
use journeyman_store::ModelCall;
use journeyman_telemetry::TraceContext;

use super::execute::{RunError, Work};
use super::journal::Beside;
use super::prepare;
use super::scene::Scene;
use crate::context::Change;
use crate::gateway::{Answered, Call, GivenUp, midnight, record_unwanted};
use crate::support::{AskError, recordable};

/// The pause before a gateway that is being restarted is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks the model, and journals what comes of it.
pub(super) async fn ask(
    work: &mut Work,
    scene: &mut Scene,
    request: ModelRequest,
) -> Result<(), RunError> {
    let Some(settings) = scene.model.clone() else {
        return Err(RunError::Task("the run has no model".to_owned()));
    };
    // Also of a request that was open when the user gave others.
    let limits = prepare::own_limits(work, scene.limits.clone());
    if let Some(hit) = limits.hit_by(&work.journal.run.usage()) {
        return work.journal.append(Entry::LimitReached { hit }).await;
    }
    work.say(format!("round {}: asking {}", work.journal.run.round(), settings.model));
    let body = journeyman_models::body(&settings, &request, &work.held.run.id.to_string());
    let earlier = announce(work, &settings, &request, &body).await?;
    let call = Call {
        task: work.held.task.id,
        run: work.held.run.id,
        request_seq: request_seq(work),
        fence: work.held.fence,
        settings,
        body: Arc::new(body),
        input_tokens: request.input_tokens,
        max_output_tokens: request.max_output_tokens,
        earlier,
        room: room(work, &limits),
        given_up: work.journal.run.model_failures(),
        spent: spent_today(work).await?,
        stop: work.stop.child_token(),
        progress: progress(work),
        trace: TraceContext::current(),
    };
    // Dropped with this future, also where the run is cut off: the call is then withdrawn.
    let _withdrawn = call.stop.clone().drop_guard();
    let answer = patiently(work, call).await?;
    match answer {
        Ok(answered) => take(work, scene, answered).await,
        Err(given_up) => fail(work, scene, given_up).await,
    }
}

/// Journals the request, unless an earlier life has done so; then its tries come back.
async fn announce(
    work: &mut Work,
    settings: &ModelSettings,
    request: &ModelRequest,
    body: &serde_json::Value,
) -> Result<Vec<ModelCall>, RunError> {
    let hash = journeyman_models::hash(body);
    if work.journal.run.open_request() == Some(hash.as_str()) {
        return earlier(work).await;
    }
    let entry = Entry::ModelRequest {
        hash,
        model: settings.model.clone(),
        max_output_tokens: request.max_output_tokens,
        input_tokens: request.input_tokens,
    };
    work.journal.append(entry).await?;
    Ok(Vec::new())
}

/// The step that holds the last request.
fn request_seq(work: &Work) -> i32 {
    let steps = work.journal.steps.iter().rev();
    let mut requests = steps.filter(|step| matches!(step.entry, Entry::ModelRequest { .. }));
    requests.next().map_or(1, |step| step.seq)
}

/// The tries of the last request, by the rows.
async fn earlier(work: &Work) -> Result<Vec<ModelCall>, RunError> {
    Ok(work.runtime.store.calls().of_request(work.held.run.id, request_seq(work)).await?)
}

/// What the run leaves to its next call.
fn room(work: &Work, limits: &Limits) -> Room {
    let used = work.journal.run.usage();
    let left_ms = limits.wall_time_ms.saturating_sub(work.journal.elapsed_ms());
    Room {
        nanousd: limits.left_nanousd(&used),
        tokens: limits.tokens.saturating_sub(used.tokens),
        until_ms: now_ms().saturating_add(left_ms),
    }
}

/// What all calls of the day cost, where it has a budget.
async fn spent_today(work: &Work) -> Result<DaySpent, RunError> {
    if work.runtime.models.daily_nanousd.is_none() {
        return Ok(DaySpent::default());
    }
    let now = Utc::now();
    let nanousd = work.runtime.store.calls().spent_since(midnight(now)).await?;
    Ok(DaySpent { at_ms: u64::try_from(now.timestamp_millis()).unwrap_or_default(), nanousd })
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default()
}

/// Tells whoever watches how far the answer is.
fn progress(work: &Work) -> Arc<dyn Fn(usize) + Send + Sync> {
    let (changes, task) = (work.runtime.changes.clone(), work.held.task.id);
    let (now, round) = (Arc::clone(&work.now), work.journal.run.round());
    Arc::new(move |characters| {
        let words = format!("round {round}: the model has written {characters} characters");
        if let Ok(mut shown) = now.lock() {
            shown.clone_from(&words);
        }
        // Nobody need be watching.
        let _ = changes.send(Change { task, now: Some(words) });
    })
}

/// Asks until there is an answer: the gateway may be restarted meanwhile.
async fn patiently(work: &Work, mut call: Call) -> Result<Result<Answered, GivenUp>, RunError> {
    loop {
        let answer = tokio::select! {
            // What is here is paid for, and goes into the journal before the run stops.
            biased;
            answer = work.gateway.ask(call.clone()) => answer,
            () = work.stop.cancelled() => return Err(RunError::Stopped),
        };
        match answer {
            Ok(answered) => return Ok(Ok(answered)),
            Err(AskError::Refused(given_up)) => return Ok(Err(given_up)),
            Err(AskError::Busy(_) | AskError::Restarting(_) | AskError::TimedOut(_)) => {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = work.stop.cancelled() => return Err(RunError::Stopped),
                }
                // What the gateway before it has tried is in the rows.
                call.earlier = earlier(work).await?;
                call.spent = spent_today(work).await?;
            }
            Err(AskError::Gone(name)) => {
                return Err(RunError::Task(format!("{name} is not running")));
            }
        }
    }
}

async fn take(work: &mut Work, scene: &mut Scene, answered: Answered) -> Result<(), RunError> {
    let Answered { turn, row, failed } = answered;
    let entry = Entry::ModelResponse {
        turn: turn.storable(),
        cost_nanousd: row.cost_nanousd.and_then(|cost| u64::try_from(cost).ok()),
        price_version: row.price_version.clone(),
        attempts: u32::try_from(row.attempt).unwrap_or(1),
        duration_ms: u64::try_from(row.duration_ms).unwrap_or_default(),
        elapsed_ms: work.journal.elapsed_ms(),
        failed_nanousd: failed.nanousd,
        failed_tokens: failed.tokens,
    };
    let beside = Beside { call: Some(row.clone()), ..Beside::default() };
    if let Err(error) = work.journal.append_with(entry.clone(), beside).await {
        // The answer is lost with the lease; what it cost is not.
        record_unwanted(&work.runtime.store, row).await;
        return Err(error);
    }
    if let Some(seen) = observation(&entry, String::new()) {
        scene.driver.observe(seen);
    }
    Ok(())
}

async fn fail(work: &mut Work, scene: &mut Scene, given_up: GivenUp) -> Result<(), RunError> {
    let GivenUp { mut failure, until_ms, failed } = given_up;
    failure.message = recordable(&failure.message);
    let evidence = Evidence {
        source: scene.model.as_ref().map(|model| model.provider.clone()),
        http_status: failure.http_status,
        model_failure: Some(failure.kind),
        ..Evidence::of(Phase::Act, failure.message.clone())
    };
    let judged = work.judged(evidence).await?.map_or(Policy::Stop, |judged| judged.policy);
    let failures = work.journal.run.model_failures() + 1;
    let (policy, until_ms) = after_failure(&failure, failures, now_ms(), until_ms, judged);
    let entry = Entry::ModelFailed {
        failure,
        policy,
        until_ms,
        cost_nanousd: failed.nanousd,
        tokens: failed.tokens,
    };
    work.journal.append(entry.clone()).await?;
    if let Some(seen) = observation(&entry, String::new()) {
        scene.driver.observe(seen);
    }
    Ok(())
}
