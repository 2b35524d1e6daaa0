//! Typed functions over the meters.
//!
//! Owns: which attributes a metric carries. Must never: take an id as an attribute, since each new
//! value is a new time series.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

use crate::names;

/// Upper bounds of the buckets in seconds: from a message's handling to a long check.
const SECONDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// Upper bounds of the buckets of a call's tokens, as the conventions advise.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

static METRICS: OnceLock<Metrics> = OnceLock::new();
static SILENT: Metrics = Metrics(None);

/// The metrics of this process; they cost nothing where no metrics are exported.
pub fn metrics() -> &'static Metrics {
    METRICS.get().unwrap_or(&SILENT)
}

pub(crate) fn install(meter: &Meter) {
    // The first set-up of the process stands.
    let _ = METRICS.set(Metrics::new(meter));
}

/// The instruments, or nothing at all.
#[derive(Debug)]
pub struct Metrics(Option<Instruments>);

#[derive(Debug)]
struct Instruments {
    mailbox_depth: Gauge<u64>,
    actor_queue: Histogram<f64>,
    actor_handle: Histogram<f64>,
    actor_restarts: Counter<u64>,
    supervised: Counter<u64>,
    queue_wait: Histogram<f64>,
    queue_claim: Histogram<f64>,
    execution: Histogram<f64>,
    check: Histogram<f64>,
    effect: Histogram<f64>,
    tokens: Histogram<u64>,
    model_call: Histogram<f64>,
    first_chunk: Histogram<f64>,
}

impl Metrics {
    /// The instruments of a meter.
    pub fn new(meter: &Meter) -> Self {
        let seconds = |name| seconds(meter, name);
        Self(Some(Instruments {
            mailbox_depth: meter
                .u64_gauge(names::METRIC_MAILBOX_DEPTH)
                .with_unit("{message}")
                .build(),
            actor_queue: seconds(names::METRIC_ACTOR_QUEUE),
            actor_handle: seconds(names::METRIC_ACTOR_HANDLE),
            actor_restarts: meter
                .u64_counter(names::METRIC_ACTOR_RESTARTS)
                .with_unit("{restart}")
                .build(),
            supervised: meter.u64_counter(names::METRIC_SUPERVISED).with_unit("{record}").build(),
            queue_wait: seconds(names::METRIC_QUEUE_WAIT),
            queue_claim: seconds(names::METRIC_QUEUE_CLAIM),
            execution: seconds(names::METRIC_EXECUTION),
            check: seconds(names::METRIC_CHECK),
            effect: seconds(names::METRIC_EFFECT),
            tokens: meter
                .u64_histogram(names::METRIC_TOKENS)
                .with_unit("{token}")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            model_call: seconds(names::METRIC_MODEL_CALL),
            first_chunk: seconds(names::METRIC_FIRST_CHUNK),
        }))
    }

    /// Messages that wait for an actor now.
    pub fn mailbox_depth(&self, actor: &'static str, messages: u64) {
        if let Some(on) = &self.0 {
            on.mailbox_depth.record(messages, &[KeyValue::new(names::ATTR_ACTOR, actor)]);
        }
    }

    /// A message was handled, after it waited for `queue`.
    pub fn message_handled(
        &self,
        actor: &'static str,
        message: &'static str,
        queue: Duration,
        handle: Duration,
    ) {
        if let Some(on) = &self.0 {
            let actor = KeyValue::new(names::ATTR_ACTOR, actor);
            on.actor_queue.record(queue.as_secs_f64(), std::slice::from_ref(&actor));
            let message = KeyValue::new(names::ATTR_MESSAGE_KIND, message);
            on.actor_handle.record(handle.as_secs_f64(), &[actor, message]);
        }
    }

    /// A supervisor started an actor again after it ended by `exit`.
    pub fn actor_restarted(&self, actor: &'static str, exit: &'static str) {
        if let Some(on) = &self.0 {
            let actor = KeyValue::new(names::ATTR_ACTOR, actor);
            on.actor_restarts.add(1, &[actor, KeyValue::new(names::ATTR_CHILD_EXIT, exit)]);
        }
    }

    /// Something happened to a supervised actor.
    pub fn supervised(&self, actor: &'static str, change: &'static str) {
        if let Some(on) = &self.0 {
            let actor = KeyValue::new(names::ATTR_ACTOR, actor);
            on.supervised.add(1, &[actor, KeyValue::new(names::ATTR_CHANGE, change)]);
        }
    }

    /// A task was claimed, `wait` after it could have run; the claim itself took `claim`.
    pub fn task_claimed(&self, wait: Duration, claim: Duration) {
        if let Some(on) = &self.0 {
            on.queue_wait.record(wait.as_secs_f64(), &[]);
            on.queue_claim.record(claim.as_secs_f64(), &[]);
        }
    }

    /// An execution ended.
    pub fn execution_ended(&self, driver: &'static str, outcome: &'static str, took: Duration) {
        if let Some(on) = &self.0 {
            let driver = KeyValue::new(names::ATTR_DRIVER, driver);
            let outcome = KeyValue::new(names::ATTR_EXECUTION_OUTCOME, outcome);
            on.execution.record(took.as_secs_f64(), &[driver, outcome]);
        }
    }

    /// A model was asked with `input` tokens and answered with `output`.
    pub fn tokens_used(&self, provider: &str, model: &str, input: u64, output: u64) {
        if let Some(on) = &self.0 {
            for (tokens, kind) in [(input, "input"), (output, "output")] {
                let [provider, model] = served(provider, model);
                on.tokens.record(
                    tokens,
                    &[provider, model, KeyValue::new(names::ATTR_TOKEN_TYPE, kind)],
                );
            }
        }
    }

    /// One try of a model call ended, by a failure where one is named.
    pub fn model_called(
        &self,
        provider: &str,
        model: &str,
        failure: Option<&'static str>,
        took: Duration,
        first_chunk: Option<Duration>,
    ) {
        if let Some(on) = &self.0 {
            let mut attributes = served(provider, model).to_vec();
            if let Some(first_chunk) = first_chunk {
                on.first_chunk.record(first_chunk.as_secs_f64(), &attributes);
            }
            attributes.extend(failure.map(|kind| KeyValue::new(names::ATTR_ERROR_TYPE, kind)));
            on.model_call.record(took.as_secs_f64(), &attributes);
        }
    }

    /// An attempt at an effect on a foreign system ended.
    pub fn effect_sent(&self, kind: &str, outcome: &'static str, took: Duration) {
        if let Some(on) = &self.0 {
            let kind = KeyValue::new(names::ATTR_EFFECT_KIND, kind.to_owned());
            let outcome = KeyValue::new(names::ATTR_EFFECT_OUTCOME, outcome);
            on.effect.record(took.as_secs_f64(), &[kind, outcome]);
        }
    }

    /// A check ran on `side`, base or candidate.
    pub fn check_ran(&self, side: &'static str, outcome: &'static str, took: Duration) {
        if let Some(on) = &self.0 {
            let side = KeyValue::new(names::ATTR_CHECK_SIDE, side);
            let outcome = KeyValue::new(names::ATTR_CHECK_OUTCOME, outcome);
            on.check.record(took.as_secs_f64(), &[side, outcome]);
        }
    }
}

fn served(provider: &str, model: &str) -> [KeyValue; 2] {
    [
        KeyValue::new(names::ATTR_PROVIDER, provider.to_owned()),
        KeyValue::new(names::ATTR_REQUEST_MODEL, model.to_owned()),
    ]
}

fn seconds(meter: &Meter, name: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_boundaries(SECONDS.to_vec()).build()
}
