//! The scheduler's decisions: when it claims, renews and takes over, and what follows an attempt.
//!
//! The order of tasks is in the claim's SQL, where the rows are; here is what surrounds it.

use serde::{Deserialize, Serialize};

use crate::failure::{Policy, backoff_ms};
use crate::ids::AgentId;
use crate::status::{Status, WaitingFor};
use crate::step::Outcome;

/// Milliseconds between looks at schedules, whose times are whole minutes, and for stuck tasks.
const TEND_MS: u64 = 5_000;

/// Times and limits of scheduling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Executions at once on this node.
    pub max_concurrent: u32,
    /// Milliseconds that a lease is good for.
    pub lease_ms: u64,
    /// Milliseconds between looks at the database that no hint asked for.
    pub poll_ms: u64,
    /// Attempts at a task before it fails for good.
    pub max_attempts: u32,
    /// Reclaims without a new step before a task is parked.
    pub max_reclaims: u32,
    /// Nothing is begun and nothing taken over, on any node.
    pub maintenance: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent: 10,
            lease_ms: 15_000,
            poll_ms: 2_000,
            max_attempts: 3,
            max_reclaims: 3,
            maintenance: false,
        }
    }
}

/// What the scheduler remembers between two looks; all of it can be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Executions that run here.
    pub running: u32,
    /// When the leases were renewed last, in milliseconds of a monotonic clock.
    pub renewed_at_ms: Option<u64>,
    /// When ready tasks were looked for last.
    pub looked_at_ms: Option<u64>,
    /// When expired leases were looked for last; hints do not put it off.
    pub took_over_at_ms: Option<u64>,
    /// When schedules and stuck tasks were looked after last.
    pub tended_at_ms: Option<u64>,
    /// The runtime stops: no new work is taken.
    pub draining: bool,
    /// The user wants this node to finish what it has and to begin nothing.
    pub held: bool,
}

impl State {
    /// Why nothing is begun here, where the user wants that.
    pub const fn idle_because(&self, settings: &Settings) -> Option<&'static str> {
        if self.held {
            Some("drained")
        } else if settings.maintenance {
            Some("maintenance")
        } else {
            None
        }
    }

    /// The look for expired leases was cut short: another one is due at once.
    pub const fn look_again(&mut self) {
        self.took_over_at_ms = None;
    }

    /// The leases were not renewed: that is due at once, before expired ones are looked for.
    pub const fn renew_again(&mut self) {
        self.renewed_at_ms = None;
    }

    /// Whether anything new is begun here.
    pub const fn begins(&self, settings: &Settings) -> bool {
        !(self.draining || self.held || settings.maintenance)
    }
}

/// What happens to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// Somebody says that there may be work.
    Hint,
    /// An execution was claimed or taken over and its run started.
    RunStarted,
    /// A run ended, however.
    RunEnded,
    /// The runtime stops.
    Drain,
    /// The user wants this node to begin nothing, or to go on.
    Hold(bool),
}

/// What the scheduler shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Renew all leases of this node, and its heartbeat.
    Renew,
    /// Look for expired leases.
    TakeOver {
        /// How many at the most.
        limit: u32,
    },
    /// Add what schedules are due to add, and look for tasks that are stuck.
    Tend,
    /// Claim ready tasks, and end those without a run.
    Claim {
        /// How many with a run at the most.
        limit: u32,
    },
}

/// One step. `now_ms` is a monotonic clock's.
#[must_use]
pub fn step(settings: &Settings, state: &State, input: Input, now_ms: u64) -> (State, Vec<Effect>) {
    let mut state = state.clone();
    let mut effects = Vec::new();
    let mut look = false;
    match input {
        Input::Tick => {}
        Input::Hint => look = true,
        Input::RunStarted => state.running += 1,
        Input::RunEnded => {
            state.running = state.running.saturating_sub(1);
            look = true;
        }
        Input::Drain => state.draining = true,
        Input::Hold(held) => {
            state.held = held;
            look = true;
        }
    }
    if due(state.renewed_at_ms, settings.lease_ms / 3, now_ms) {
        state.renewed_at_ms = Some(now_ms);
        effects.push(Effect::Renew);
    }
    if !state.draining && due(state.tended_at_ms, TEND_MS, now_ms) {
        state.tended_at_ms = Some(now_ms);
        effects.push(Effect::Tend);
    }
    let poll = due(state.looked_at_ms, settings.poll_ms, now_ms);
    let free = settings.max_concurrent.saturating_sub(state.running);
    if state.begins(settings) && (look || poll) {
        if free > 0 && due(state.took_over_at_ms, settings.poll_ms, now_ms) {
            state.took_over_at_ms = Some(now_ms);
            effects.push(Effect::TakeOver { limit: free });
        }
        state.looked_at_ms = Some(now_ms);
        effects.push(Effect::Claim { limit: free });
    }
    (state, effects)
}

fn due(last_ms: Option<u64>, every_ms: u64, now_ms: u64) -> bool {
    last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= every_ms)
}

/// What becomes of a task when an attempt at it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAfter {
    /// Its state.
    pub status: Status,
    /// Why it waits, where it does.
    pub waiting_for: Option<WaitingFor>,
    /// Milliseconds from now until it may go on, where that is a time.
    pub wake_in_ms: Option<u64>,
    /// Why it failed or waits.
    pub error: Option<String>,
}

/// How an agent works, as far as the choice of another one asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentWay {
    /// The agent.
    pub id: AgentId,
    /// Whether it gets work.
    pub active: bool,
    /// Driver, program and model: two agents that agree in them do the same.
    pub way: (String, Vec<String>, String),
}

/// Another agent for a task: an active one that works in a way that was not tried yet. `tried` are
/// the agents of its runs, in their order; `wanted` is the task's. Where the user named the first
/// one, there is no other.
pub fn other_agent(
    agents: &[AgentWay],
    tried: &[AgentId],
    wanted: Option<AgentId>,
) -> Option<AgentId> {
    if wanted.is_some() && wanted == tried.first().copied() {
        return None;
    }
    let was_tried = |agent: &AgentWay| {
        agents.iter().any(|other| tried.contains(&other.id) && other.way == agent.way)
    };
    let fresh = agents.iter().find(|agent| agent.active && !was_tried(agent));
    fresh.map(|agent| agent.id)
}

/// Decides what follows an attempt. `attempt` counts from 1; `jitter` is in 0..1.
pub fn after_attempt(
    settings: &Settings,
    outcome: &Outcome,
    attempt: u32,
    jitter: f64,
) -> TaskAfter {
    let ended = |status, error: Option<&String>| TaskAfter {
        status,
        waiting_for: None,
        wake_in_ms: None,
        error: error.cloned(),
    };
    let again = |delay_ms, reason: &String| TaskAfter {
        waiting_for: Some(WaitingFor::RetryAt),
        wake_in_ms: Some(jittered(delay_ms, jitter)),
        ..ended(Status::Waiting, Some(reason))
    };
    match outcome {
        Outcome::Verified | Outcome::Unverified => ended(Status::Completed, None),
        Outcome::TimedOut { reason } => ended(Status::Timeout, Some(reason)),
        Outcome::Failed { reason, policy } => match policy {
            Policy::Wait { delay_ms } if attempt < settings.max_attempts => {
                again(*delay_ms, reason)
            }
            Policy::OtherAgent if attempt < settings.max_attempts => TaskAfter {
                status: Status::Ready,
                waiting_for: None,
                wake_in_ms: None,
                error: Some(reason.clone()),
            },
            Policy::Ask => TaskAfter {
                status: Status::Waiting,
                waiting_for: Some(WaitingFor::Input),
                wake_in_ms: None,
                error: Some(reason.clone()),
            },
            Policy::CutOff if attempt < settings.max_attempts => again(backoff_ms(1), reason),
            Policy::CutOff => ended(Status::Parked, Some(reason)),
            Policy::Wait { .. } | Policy::OtherAgent | Policy::RetryWithEvidence | Policy::Stop => {
                ended(Status::Failed, Some(reason))
            }
        },
    }
}

/// Between half of the delay and the whole of it, so that many waiters do not come back at once.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds of at most hours fit a double exactly, and jitter is in 0..1"
)]
fn jittered(delay_ms: u64, jitter: f64) -> u64 {
    let half = delay_ms as f64 / 2.0;
    (half + half * jitter.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_renews_and_claims_nothing() {
        let settings = Settings { max_concurrent: 1, ..Settings::default() };
        let (take_over, claim) = (Effect::TakeOver { limit: 1 }, Effect::Claim { limit: 1 });
        let (state, effects) = step(&settings, &State::default(), Input::Tick, 0);
        assert_eq!(effects, [Effect::Renew, Effect::Tend, take_over, claim]);
        let (state, effects) = step(&settings, &state, Input::RunStarted, 1);
        assert_eq!(effects, []);
        // What needs no run needs no room.
        let none = Effect::Claim { limit: 0 };
        let (state, effects) = step(&settings, &state, Input::Hint, 2);
        assert_eq!(effects, [none]);
        let mut failed = state.clone();
        failed.renew_again();
        assert_eq!(step(&settings, &failed, Input::Hint, 3).1, [Effect::Renew, none]);
        let (state, effects) = step(&settings, &state, Input::Tick, 6_000);
        assert_eq!(effects, [Effect::Renew, Effect::Tend, none]);
        let (state, effects) = step(&settings, &state, Input::RunEnded, 6_001);
        assert_eq!(effects, [take_over, claim]);
        let (state, effects) = step(&settings, &state, Input::Hint, 7_500);
        assert_eq!(effects, [claim]);
        let (state, effects) = step(&settings, &state, Input::Hint, 8_100);
        assert_eq!(effects, [take_over, claim]);
        let (state, _) = step(&settings, &state, Input::Drain, 8_200);
        let (_, effects) = step(&settings, &state, Input::Hint, 11_500);
        assert_eq!(effects, [Effect::Renew], "who stops looks after nothing");
    }

    #[test]
    fn who_holds_or_maintains_keeps_its_leases_and_begins_nothing() {
        let settings = Settings::default();
        let (take_over, claim) = (Effect::TakeOver { limit: 10 }, Effect::Claim { limit: 10 });
        let (held, effects) = step(&settings, &State::default(), Input::Hold(true), 0);
        assert_eq!(effects, [Effect::Renew, Effect::Tend]);
        let (_, effects) = step(&settings, &held, Input::Hold(false), 1);
        assert_eq!(effects, [take_over, claim]);
        let maintenance = Settings { maintenance: true, ..settings };
        let (_, effects) = step(&maintenance, &State::default(), Input::Hint, 0);
        assert_eq!(effects, [Effect::Renew, Effect::Tend]);
    }

    #[test]
    fn another_agent_is_one_that_works_otherwise() {
        let agent = |number: u128, driver: &str, active| AgentWay {
            id: AgentId::from_uuid(uuid::Uuid::from_u128(number)),
            active,
            way: (driver.to_owned(), vec![], String::new()),
        };
        let agents = [
            agent(1, "mechanic", true),
            agent(2, "mechanic", true),
            agent(3, "command", false),
            agent(4, "command", true),
        ];
        let id = |place: usize| agents[place].id;
        assert_eq!(other_agent(&agents, &[id(0)], None), Some(id(3)));
        assert_eq!(other_agent(&agents, &[id(0)], Some(id(0))), None);
        assert_eq!(other_agent(&agents, &[id(0), id(3)], Some(id(3))), None);
        assert_eq!(other_agent(&agents[..3], &[id(0)], None), None);
    }

    #[test]
    fn a_wait_is_bounded_by_the_attempts() {
        let settings = Settings::default();
        let outcome = Outcome::Failed {
            reason: "the registry is down".into(),
            policy: Policy::Wait { delay_ms: 1000 },
        };
        let first = after_attempt(&settings, &outcome, 1, 1.0);
        assert_eq!((first.status, first.wake_in_ms), (Status::Waiting, Some(1000)));
        assert_eq!(after_attempt(&settings, &outcome, 3, 0.0).status, Status::Failed);
        let cut = Outcome::Failed { reason: "cut off".into(), policy: Policy::CutOff };
        assert_eq!(after_attempt(&settings, &cut, 2, 0.0).waiting_for, Some(WaitingFor::RetryAt));
        assert_eq!(after_attempt(&settings, &cut, 3, 0.0).status, Status::Parked);
    }
}
