//! What the gateway understands.

use std::convert::Infallible;
use std::sync::Arc;

use journeyman_domain::gateway::{Bill, CallId, DaySpent, Room};
use journeyman_domain::ids::{RunId, TaskId};
use journeyman_domain::model::{ModelFailure, ModelSettings, ModelTurn};
use journeyman_models::Attempt;
use journeyman_store::{Fence, ModelCall};
use journeyman_telemetry::TraceContext;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::support::{Message, Reply};

/// A call of a model.
#[derive(Clone)]
pub struct Call {
    /// The task that it is for.
    pub task: TaskId,
    /// The run.
    pub run: RunId,
    /// The step of its journal that holds the request.
    pub request_seq: i32,
    /// The right to write rows of the run.
    pub fence: Fence,
    /// Whom to ask, and how.
    pub settings: ModelSettings,
    /// The request as it is sent.
    pub body: Arc<serde_json::Value>,
    /// Roughly the tokens of the request.
    pub input_tokens: u64,
    /// Tokens that the answer may have.
    pub max_output_tokens: u32,
    /// The tries of this request in earlier lives, by the rows.
    pub earlier: Vec<ModelCall>,
    /// What the run leaves to it.
    pub room: Room,
    /// Calls that were given up since the run's last answer.
    pub given_up: u32,
    /// What all calls of the day have cost, by the rows, where it has a budget.
    pub spent: DaySpent,
    /// Cancelled when nobody wants the answer any more.
    pub stop: CancellationToken,
    /// Told how many characters of the answer have come, now and then.
    pub progress: Arc<dyn Fn(usize) + Send + Sync>,
    /// The caller's span.
    pub trace: Option<TraceContext>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("run", &self.run)
            .field("seq", &self.request_seq)
            .finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the model said.
    pub turn: ModelTurn,
    /// The row of the try that was answered; it belongs beside the journal's step.
    pub row: ModelCall,
    /// What the failed tries before it cost.
    pub failed: Bill,
}

/// A call without an answer.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// The last failure.
    pub failure: ModelFailure,
    /// Milliseconds since 1970 from when on asking again makes sense, where that is known.
    pub until_ms: Option<u64>,
    /// What its tries cost.
    pub failed: Bill,
}

/// A message to the gateway.
#[derive(Debug)]
pub enum GatewayMessage {
    /// Ask a model.
    Ask {
        /// What, and for whom.
        call: Box<Call>,
        /// Where to.
        reply: Reply<Answered, GivenUp>,
    },
    /// A try has ended.
    TryEnded {
        /// The call.
        call: CallId,
        /// How; `None` where nobody wants it any more.
        attempt: Option<Box<Attempt>>,
        /// Its row, with what is known so far.
        row: Box<ModelCall>,
    },
    /// The row of a failed try is written.
    TryRecorded {
        /// The call.
        call: CallId,
        /// Whether its run is still ours.
        is_held: bool,
    },
    /// A time has come.
    TimeUp,
    /// What it knows.
    Snapshot {
        /// Where to.
        reply: Reply<GatewaySnapshot, Infallible>,
    },
}

/// What the gateway knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewaySnapshot {
    /// Calls that wait for their turn or their next try.
    pub waiting: usize,
    /// Calls that are out.
    pub in_flight: usize,
    /// Providers that take no calls, and until when (milliseconds since 1970).
    pub closed: Vec<(String, u64)>,
    /// What today's calls (UTC) have cost, in US dollars, as far as prices are known.
    pub spent_today_usd: f64,
}

impl Message for GatewayMessage {
    const ACTOR: &'static str = "gateway";

    fn kind(&self) -> &'static str {
        match self {
            Self::Ask { .. } => "Ask",
            Self::TryEnded { .. } => "TryEnded",
            Self::TryRecorded { .. } => "TryRecorded",
            Self::TimeUp => "TimeUp",
            Self::Snapshot { .. } => "Snapshot",
        }
    }
}
