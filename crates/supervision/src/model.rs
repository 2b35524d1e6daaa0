//! The decisions of a supervisor, pure: no actor, no clock, no randomness.
//!
//! Owns which children are to be running, stopping or waiting, and how many restarts happened lately. The shell tells
//! it what happened (an [`Event`]) and carries out what it answers ([`Action`]s); every action that takes time is
//! answered by one later event. It never knows how a child is started, stopped or buried.
//!
//! A restart is an *operation* on one child (`one_for_one`, `dynamic`) or on a group (`one_for_all`, `rest_for_one`).
//! It descends (stops its living members in reverse order), waits out the backoff, and ascends (starts its members in
//! order). Exits of members during the descent and the wait belong to the same restart; a failure during the ascent
//! is a new one.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use crate::{
    exit::Exit,
    spec::{AutoShutdown, Backoff, ChildSpec, Restart, Strategy, SupervisorSpec},
};

/// A child of one supervisor; the order of keys is the order of starts.
pub(crate) type Key = u64;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A child was added at run time.
    Added { key: Key, spec: Box<ChildSpec> },
    /// The instance that `Start` asked for runs.
    Started { key: Key },
    /// The instance that `Start` asked for could not be started; nothing of it is left.
    StartFailed { key: Key },
    /// The instance ended; its descendants may still live.
    Exited { key: Key, exit: Exit },
    /// Nothing of the last instance is left; answers `Stop` and `Bury`.
    Gone { key: Key },
    /// The time of a `Wait` is over.
    Elapsed { token: u64 },
    /// The child shall be stopped for good.
    Terminate { key: Key },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start an instance; answered by `Started` or `StartFailed`.
    Start { key: Key },
    /// Stop the living instance and bury it; answered by `Exited`, then `Gone`.
    Stop { key: Key },
    /// Wait until nothing of the ended instance is left; answered by `Gone`.
    Bury { key: Key },
    /// A restart is decided and all it concerns is down: answer `Elapsed` after the delay, which may be zero.
    Wait { token: u64, delay_ms: u64, cause: Key, members: Vec<Key> },
    /// Nothing will start this child again.
    Rest { key: Key },
    /// Too many restarts: stop all children in reverse order and end as failed. Nothing is decided after this.
    GiveUp { cause: Key },
    /// Significant children finished: stop all children in reverse order and end. Nothing is decided after this.
    Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    /// It was asked to stop and has not ended yet.
    Stopping,
    /// It ended and is being buried.
    Leaving,
    Down,
}

#[derive(Debug)]
struct Member {
    restart: Restart,
    significant: bool,
    backoff: Backoff,
    phase: Phase,
    /// The operation that covers it will start it.
    due: bool,
    /// It was terminated while it started.
    doomed: bool,
    /// Restarts since it last lived for `reset_after`.
    attempt: u32,
    started_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Descending,
    Waiting,
    Ascending,
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    stage: Stage,
    token: u64,
    delay_ms: u64,
    cause: Key,
}

/// The state of one supervisor's decisions.
#[derive(Debug)]
pub(crate) struct State {
    strategy: Strategy,
    intensity: u32,
    period_ms: u64,
    auto_shutdown: AutoShutdown,
    members: BTreeMap<Key, Member>,
    /// By the first member; a group has at most one.
    operations: BTreeMap<Key, Operation>,
    restarts_ms: VecDeque<u64>,
    next_token: u64,
    over: bool,
}

impl State {
    /// A supervisor whose children, with the keys 0, 1, 2, …, all run since `now_ms`; none for a dynamic one.
    pub(crate) fn new(spec: &SupervisorSpec, now_ms: u64) -> Self {
        let children = match spec.strategy {
            Strategy::Dynamic => &[],
            Strategy::OneForOne | Strategy::OneForAll | Strategy::RestForOne => {
                spec.children.as_slice()
            }
        };
        let running = |child| Member {
            phase: Phase::Running,
            started_ms: Some(now_ms),
            ..Member::new(child)
        };
        Self {
            strategy: spec.strategy,
            intensity: spec.intensity,
            period_ms: millis(spec.period),
            auto_shutdown: spec.auto_shutdown,
            members: (0..).zip(children.iter().map(running)).collect(),
            operations: BTreeMap::new(),
            restarts_ms: VecDeque::new(),
            next_token: 0,
            over: false,
        }
    }

    /// Whether the supervisor is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether an operation will start this child again.
    pub(crate) fn is_due(&self, key: Key) -> bool {
        self.members.get(&key).is_some_and(|member| member.due)
    }

    fn is_group(&self) -> bool {
        matches!(self.strategy, Strategy::OneForAll | Strategy::RestForOne)
    }

    /// The first member of the operation that a failure of `key` asks for.
    fn unit(&self, key: Key) -> Key {
        match self.strategy {
            Strategy::OneForOne | Strategy::Dynamic | Strategy::RestForOne => key,
            Strategy::OneForAll => 0,
        }
    }

    /// The operation, by its first member, that is under way for this child's unit.
    fn operation_of(&self, key: Key) -> Option<Key> {
        if self.is_group() {
            self.operations.keys().next().copied()
        } else {
            self.operations.contains_key(&key).then_some(key)
        }
    }

    fn covered(&self, unit: Key) -> impl DoubleEndedIterator<Item = (Key, &Member)> {
        let end = if self.is_group() { Bound::Unbounded } else { Bound::Included(unit) };
        self.members.range((Bound::Included(unit), end)).map(|(key, member)| (*key, member))
    }
}

impl Member {
    fn new(spec: &ChildSpec) -> Self {
        Self {
            restart: spec.restart,
            significant: spec.significant,
            backoff: spec.backoff,
            phase: Phase::Down,
            due: false,
            doomed: false,
            attempt: 0,
            started_ms: None,
        }
    }

    fn next_delay_ms(&mut self, now_ms: u64, jitter: f64) -> u64 {
        let lived = self.started_ms.take().map(|started| now_ms.saturating_sub(started));
        if lived.is_some_and(|lived| lived >= millis(self.backoff.reset_after)) {
            self.attempt = 0;
        }
        let delay_ms = delay_ms(&self.backoff, self.attempt, jitter);
        self.attempt = self.attempt.saturating_add(1);
        delay_ms
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The delay before restart number `attempt` (from 0), with `jitter` in -1 to 1.
fn delay_ms(backoff: &Backoff, attempt: u32, jitter: f64) -> u64 {
    let grown = backoff.min.as_secs_f64() * backoff.factor.powf(f64::from(attempt));
    let seconds =
        grown.min(backoff.max.as_secs_f64()) * (1.0 + backoff.jitter * jitter.clamp(-1.0, 1.0));
    std::time::Duration::try_from_secs_f64(seconds).map_or(u64::MAX, millis)
}

fn wants_restart(restart: Restart, exit: &Exit) -> bool {
    match restart {
        Restart::Permanent => true,
        Restart::Transient => !exit.is_normal(),
        Restart::Temporary => false,
    }
}

/// Takes one event in and says what is to be done.
///
/// `now_ms` never goes backwards; `jitter` is a random number in -1 to 1, used only if a restart is decided.
pub(crate) fn decide(state: &mut State, event: Event, now_ms: u64, jitter: f64) -> Vec<Action> {
    if state.over {
        return Vec::new();
    }
    match event {
        Event::Added { key, spec } => {
            state.members.insert(key, Member { phase: Phase::Starting, ..Member::new(&spec) });
            vec![Action::Start { key }]
        }
        Event::Started { key } => started(state, key, now_ms),
        Event::StartFailed { key } => start_failed(state, key, now_ms, jitter),
        Event::Exited { key, exit } => exited(state, key, &exit, now_ms, jitter),
        Event::Gone { key } => gone(state, key),
        Event::Elapsed { token } => elapsed(state, token),
        Event::Terminate { key } => terminate(state, key),
    }
}

fn started(state: &mut State, key: Key, now_ms: u64) -> Vec<Action> {
    let Some(member) = state.members.get_mut(&key).filter(|member| member.phase == Phase::Starting)
    else {
        return Vec::new();
    };
    member.started_ms = Some(now_ms);
    member.phase = Phase::Running;
    if member.doomed {
        member.phase = Phase::Stopping;
        return vec![Action::Stop { key }];
    }
    let Some(unit) = state.operation_of(key) else {
        return Vec::new();
    };
    // A member that was still starting when its operation turned to descend again stays due: it is stopped next.
    if state.operations.get(&unit).is_some_and(|operation| operation.stage == Stage::Ascending)
        && let Some(member) = state.members.get_mut(&key)
    {
        member.due = false;
    }
    advance(state, unit)
}

fn start_failed(state: &mut State, key: Key, now_ms: u64, jitter: f64) -> Vec<Action> {
    let Some(member) = state.members.get_mut(&key).filter(|member| member.phase == Phase::Starting)
    else {
        return Vec::new();
    };
    member.phase = Phase::Down;
    if member.due {
        return fail(state, key, now_ms, jitter);
    }
    // The first start of a child that was added, or a start that was no longer wanted.
    state.members.remove(&key);
    vec![Action::Rest { key }]
}

fn exited(state: &mut State, key: Key, exit: &Exit, now_ms: u64, jitter: f64) -> Vec<Action> {
    let Some(member) = state.members.get_mut(&key) else {
        return Vec::new();
    };
    match member.phase {
        Phase::Stopping => {
            member.phase = Phase::Leaving;
            return Vec::new();
        }
        Phase::Running => member.phase = Phase::Leaving,
        Phase::Starting | Phase::Leaving | Phase::Down => return Vec::new(),
    }
    let mut actions = vec![Action::Bury { key }];
    if wants_restart(member.restart, exit) {
        actions.extend(fail(state, key, now_ms, jitter));
    } else if member.significant && !member.due && is_finished(state, key) {
        state.over = true;
        return vec![Action::Shutdown];
    }
    actions
}

/// Whether the supervisor is to end, now that the significant child `key` finished by itself.
fn is_finished(state: &State, key: Key) -> bool {
    let lives =
        |member: &Member| member.due || !matches!(member.phase, Phase::Leaving | Phase::Down);
    match state.auto_shutdown {
        AutoShutdown::Never => false,
        AutoShutdown::AnySignificant => true,
        AutoShutdown::AllSignificant => !state
            .members
            .iter()
            .any(|(other, member)| *other != key && member.significant && lives(member)),
    }
}

fn gone(state: &mut State, key: Key) -> Vec<Action> {
    let Some(member) = state
        .members
        .get_mut(&key)
        .filter(|member| matches!(member.phase, Phase::Stopping | Phase::Leaving))
    else {
        return Vec::new();
    };
    member.phase = Phase::Down;
    let mut actions = Vec::new();
    let unit = state.operation_of(key);
    if !state.is_due(key) {
        actions.push(Action::Rest { key });
        if state.strategy == Strategy::Dynamic {
            state.members.remove(&key);
        }
    }
    actions.extend(unit.map(|unit| advance(state, unit)).unwrap_or_default());
    actions
}

fn elapsed(state: &mut State, token: u64) -> Vec<Action> {
    let mut waiting =
        state.operations.iter_mut().filter(|(_, operation)| operation.stage == Stage::Waiting);
    let Some((unit, operation)) = waiting.find(|(_, operation)| operation.token == token) else {
        return Vec::new();
    };
    let unit = *unit;
    operation.stage = Stage::Ascending;
    advance(state, unit)
}

fn terminate(state: &mut State, key: Key) -> Vec<Action> {
    let Some(member) = state.members.get_mut(&key) else {
        return Vec::new();
    };
    member.due = false;
    let action = match member.phase {
        Phase::Running => {
            member.phase = Phase::Stopping;
            Some(Action::Stop { key })
        }
        Phase::Starting => {
            member.doomed = true;
            None
        }
        Phase::Stopping | Phase::Leaving => None,
        Phase::Down => Some(Action::Rest { key }),
    };
    if member.phase == Phase::Down {
        state.members.remove(&key);
    }
    state.operations.remove(&key);
    action.into_iter().collect()
}

/// A child failed that is to be restarted: it joins the operation under way, or a new one is counted.
fn fail(state: &mut State, key: Key, now_ms: u64, jitter: f64) -> Vec<Action> {
    let current = state.operation_of(key);
    let unit = current.map_or(state.unit(key), |current| current.min(state.unit(key)));
    let folded = current
        .and_then(|current| state.operations.remove(&current))
        .filter(|operation| operation.stage != Stage::Ascending);
    let operation = if let Some(operation) = folded {
        Operation { stage: Stage::Descending, ..operation }
    } else {
        let horizon = now_ms.saturating_sub(state.period_ms);
        state.restarts_ms.retain(|at| *at > horizon || state.period_ms > now_ms);
        state.restarts_ms.push_back(now_ms);
        if state.restarts_ms.len() > state.intensity as usize {
            state.over = true;
            return vec![Action::GiveUp { cause: key }];
        }
        let delay_ms =
            state.members.get_mut(&key).map_or(0, |member| member.next_delay_ms(now_ms, jitter));
        Operation { stage: Stage::Descending, token: 0, delay_ms, cause: key }
    };
    state.operations.insert(unit, operation);
    let covered: Vec<Key> = state.covered(unit).map(|(key, _)| key).collect();
    for key in covered {
        if let Some(member) = state.members.get_mut(&key) {
            member.due = member.restart != Restart::Temporary;
        }
    }
    advance(state, unit)
}

/// Takes an operation as far as it gets without another event.
fn advance(state: &mut State, unit: Key) -> Vec<Action> {
    let Some(operation) = state.operations.get(&unit).copied() else {
        return Vec::new();
    };
    match operation.stage {
        Stage::Descending => descend(state, unit, operation),
        Stage::Waiting => Vec::new(),
        Stage::Ascending => ascend(state, unit),
    }
}

fn descend(state: &mut State, unit: Key, operation: Operation) -> Vec<Action> {
    let busy = |member: &Member| {
        matches!(member.phase, Phase::Starting | Phase::Stopping | Phase::Leaving)
    };
    if state.covered(unit).any(|(_, member)| busy(member)) {
        return Vec::new();
    }
    let last =
        state.covered(unit).rfind(|(_, member)| member.phase == Phase::Running).map(|(key, _)| key);
    if let Some(member) = last.and_then(|key| state.members.get_mut(&key)) {
        member.phase = Phase::Stopping;
        return last.map(|key| Action::Stop { key }).into_iter().collect();
    }
    state.next_token += 1;
    let token = state.next_token;
    state.operations.insert(unit, Operation { stage: Stage::Waiting, token, ..operation });
    let members =
        state.covered(unit).filter(|(_, member)| member.due).map(|(key, _)| key).collect();
    vec![Action::Wait { token, delay_ms: operation.delay_ms, cause: operation.cause, members }]
}

fn ascend(state: &mut State, unit: Key) -> Vec<Action> {
    let is_starting = |member: &Member| member.phase == Phase::Starting;
    if state.covered(unit).any(|(_, member)| is_starting(member)) {
        return Vec::new();
    }
    let next = state.covered(unit).find(|(_, member)| member.due).map(|(key, _)| key);
    let Some(member) = next.and_then(|key| state.members.get_mut(&key)) else {
        state.operations.remove(&unit);
        return Vec::new();
    };
    member.phase = Phase::Starting;
    next.map(|key| Action::Start { key }).into_iter().collect()
}
