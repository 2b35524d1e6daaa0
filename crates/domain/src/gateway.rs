//! The gateway's decisions: which call of a model goes out now, when one is tried again, and when
//! it is given up.
//!
//! One layer decides about retries, and it knows all calls: where a provider asks to wait, everybody
//! waits. A wait that is longer than the gateway's patience is given back to the caller, so that
//! nobody sits on a slot for hours.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{FailureKind, ModelFailure, dollars, retry_ms};

/// Names a call while it is in the gateway.
pub type CallId = u64;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What the user set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds that a call waits in the gateway at the most.
    pub patience_ms: u64,
    /// What all calls of a day (UTC) may cost, in billionths of a US dollar.
    pub daily_nanousd: Option<u64>,
}

/// What calls cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Billionths of a US dollar; 0 where nobody knows the price.
    pub nanousd: u64,
    /// Tokens, in and out.
    pub tokens: u64,
}

impl Bill {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            nanousd: self.nanousd.saturating_add(other.nanousd),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// What the run leaves to one call and all its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Billionths of a US dollar; `None` where no budget is set.
    pub nanousd: Option<u64>,
    /// Tokens.
    pub tokens: u64,
    /// Milliseconds since 1970 at which the run's time is over.
    pub until_ms: u64,
}

impl Room {
    fn holds(&self, bill: Bill) -> bool {
        self.nanousd.is_none_or(|room| bill.nanousd <= room) && bill.tokens <= self.tokens
    }
}

/// A call that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whom to ask.
    pub provider: String,
    /// Calls to it at once.
    pub max_concurrent: u32,
    /// Tries after the first one.
    pub retries: u32,
    /// Tries that failed before, by the rows.
    pub failures: u32,
    /// Calls that were given up since the run's last answer.
    pub given_up: u32,
    /// Milliseconds since 1970 before which it must not be tried, by the rows.
    pub not_before_ms: Option<u64>,
    /// What a try may cost at the most.
    pub reserve: Bill,
    /// What the failed tries before have cost, by the rows.
    pub billed: Bill,
    /// What the run leaves to it.
    pub room: Room,
    /// What all calls of the day have cost, by the rows: other processes may write them too.
    pub spent: DaySpent,
}

/// What the calls of a day (UTC) have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DaySpent {
    /// Milliseconds since 1970 of a moment of that day.
    pub at_ms: u64,
    /// Billionths of a US dollar.
    pub nanousd: u64,
}

/// Until when a provider lets nobody through, by its headers: milliseconds from now.
pub type ClosedFor = Option<u64>;

/// What happens to the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody asks.
    Asked {
        /// The call's name, unused so far.
        call: CallId,
        /// What is asked.
        asked: Asked,
    },
    /// A try was answered.
    Answered {
        /// The call.
        call: CallId,
        /// What it cost, in billionths of a US dollar.
        cost_nanousd: u64,
        /// Whether the provider is closed now.
        closed_for: ClosedFor,
    },
    /// A try failed.
    Failed {
        /// The call.
        call: CallId,
        /// How.
        failure: ModelFailure,
        /// What it cost all the same.
        bill: Bill,
        /// Whether the provider is closed now.
        closed_for: ClosedFor,
        /// 0 to 1.
        jitter_unit: f64,
    },
    /// The row of a failed try is written: the wait counts.
    Recorded {
        /// The call.
        call: CallId,
    },
    /// Whoever asked is gone.
    Withdrawn {
        /// The call; one that is gone already may still be billed.
        call: CallId,
        /// What its last try cost all the same, in billionths of a US dollar.
        cost_nanousd: u64,
    },
    /// A time that was asked for has come.
    TimeUp,
}

/// What the gateway's shell does.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send it out.
    Try {
        /// The call.
        call: CallId,
        /// The number of the try, from 1.
        attempt: u32,
    },
    /// Write the row of the failed try, then say [`Input::Recorded`].
    Record {
        /// The call.
        call: CallId,
        /// Milliseconds since 1970 of the next try.
        next_ms: u64,
    },
    /// Write the row of the failed try where there was one, then tell whoever asked.
    GiveUp {
        /// The call.
        call: CallId,
        /// The last failure.
        failure: ModelFailure,
        /// Milliseconds since 1970 from when on asking again makes sense, where that is known.
        until_ms: Option<u64>,
    },
    /// Say [`Input::TimeUp`] then (milliseconds since 1970).
    WakeAt(u64),
}

/// The gateway's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    lanes: BTreeMap<String, Lane>,
    calls: BTreeMap<CallId, Call>,
    day: u64,
    spent_nanousd: u64,
}

/// One provider.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lane {
    waiting: VecDeque<CallId>,
    in_flight: u32,
    closed_until_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Call {
    asked: Asked,
    /// What its failed tries have cost.
    billed: Bill,
    failures: u32,
    /// The last of them, where it was of this life.
    failure: Option<ModelFailure>,
    /// Not before.
    due_ms: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    InFlight,
    /// Its failed try is being written.
    Recording,
}

impl State {
    /// At the start; `spent_nanousd` is what the calls of this day have cost, by the rows.
    pub fn new(now_ms: u64, spent_nanousd: u64) -> Self {
        Self { day: now_ms / DAY_MS, spent_nanousd, ..Self::default() }
    }

    /// Calls that wait, and those that are out.
    pub fn counts(&self) -> (usize, usize) {
        let out = self.calls.values().filter(|call| call.place == Place::InFlight).count();
        (self.calls.len() - out, out)
    }

    /// Providers that are closed now, and until when.
    pub fn closed(&self, now_ms: u64) -> impl Iterator<Item = (&str, u64)> {
        let closed = self.lanes.iter().filter(move |(_, lane)| lane.closed_until_ms > now_ms);
        closed.map(|(name, lane)| (name.as_str(), lane.closed_until_ms))
    }

    /// What today's calls have cost so far, in billionths of a US dollar.
    pub const fn spent_nanousd(&self) -> u64 {
        self.spent_nanousd
    }
}

/// Takes an input in; the effects are to be done in their order.
pub fn step(state: &mut State, settings: &Settings, now_ms: u64, input: Input) -> Vec<Effect> {
    if now_ms / DAY_MS != state.day {
        (state.day, state.spent_nanousd) = (now_ms / DAY_MS, 0);
    }
    let mut effects = Vec::new();
    match input {
        Input::Asked { call, asked } => state.enter(call, asked, now_ms),
        Input::Answered { call, cost_nanousd, closed_for } => {
            state.spent_nanousd = state.spent_nanousd.saturating_add(cost_nanousd);
            state.landed(call, closed_for, now_ms);
            state.calls.remove(&call);
        }
        Input::Failed { call, failure, bill, closed_for, jitter_unit } => {
            state.spent_nanousd = state.spent_nanousd.saturating_add(bill.nanousd);
            state.landed(call, closed_for, now_ms);
            effects.extend(state.failed(settings, (call, bill), failure, now_ms, jitter_unit));
        }
        Input::Recorded { call } => state.wait(call),
        Input::Withdrawn { call, cost_nanousd } => {
            state.spent_nanousd = state.spent_nanousd.saturating_add(cost_nanousd);
            state.withdraw(call);
        }
        Input::TimeUp => {}
    }
    effects.extend(state.let_through(settings, now_ms));
    effects
}

impl State {
    fn enter(&mut self, id: CallId, asked: Asked, now_ms: u64) {
        let due_ms = asked.not_before_ms.unwrap_or(now_ms);
        let (failures, billed) = (asked.failures, asked.billed);
        if asked.spent.at_ms / DAY_MS == self.day {
            self.spent_nanousd = self.spent_nanousd.max(asked.spent.nanousd);
        }
        let (failure, place) = (None, Place::Recording);
        self.calls.insert(id, Call { asked, billed, failures, failure, due_ms, place });
        self.wait(id);
    }

    fn wait(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.place != Place::Recording {
            return;
        }
        call.place = Place::Waiting;
        self.lanes.entry(call.asked.provider.clone()).or_default().waiting.push_back(id);
    }

    fn landed(&mut self, id: CallId, closed_for: ClosedFor, now_ms: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        let lane = self.lanes.entry(call.asked.provider.clone()).or_default();
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if let Some(closed_for) = closed_for {
            lane.closed_until_ms = lane.closed_until_ms.max(now_ms.saturating_add(closed_for));
        }
    }

    fn withdraw(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(&id) else { return };
        let lane = self.lanes.entry(call.asked.provider).or_default();
        lane.waiting.retain(|waiting| *waiting != id);
        if call.place == Place::InFlight {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
    }

    fn failed(
        &mut self,
        settings: &Settings,
        (id, bill): (CallId, Bill),
        failure: ModelFailure,
        now_ms: u64,
        jitter_unit: f64,
    ) -> Option<Effect> {
        let call = self.calls.get_mut(&id)?;
        call.failures += 1;
        call.billed = call.billed.plus(bill);
        call.place = Place::Recording;
        let in_a_row = call.failures.saturating_add(call.asked.given_up);
        let wait = retry_ms(&failure, in_a_row, call.asked.retries, jitter_unit);
        let next_ms = wait.map(|wait| now_ms.saturating_add(wait));
        if failure.kind == FailureKind::RateLimit
            && let Some(asked) = failure.retry_after_ms
            && let Some(lane) = self.lanes.get_mut(&call.asked.provider)
        {
            lane.closed_until_ms = lane.closed_until_ms.max(now_ms.saturating_add(asked));
        }
        match (next_ms, wait) {
            (Some(next_ms), Some(wait)) if wait <= settings.patience_ms => {
                let run_until_ms = call.asked.room.until_ms;
                if next_ms > run_until_ms {
                    self.calls.remove(&id);
                    // Where the run's time is over, its limit decides at once. Else the run is put
                    // aside meanwhile, which costs it no time.
                    let until_ms = if now_ms >= run_until_ms { now_ms } else { next_ms };
                    return Some(Effect::GiveUp { call: id, failure, until_ms: Some(until_ms) });
                }
                call.due_ms = next_ms;
                call.failure = Some(failure);
                Some(Effect::Record { call: id, next_ms })
            }
            _ => {
                self.calls.remove(&id);
                let until_ms = next_ms
                    .or_else(|| failure.retry_after_ms.map(|asked| now_ms.saturating_add(asked)));
                Some(Effect::GiveUp { call: id, failure, until_ms })
            }
        }
    }

    /// Sends out what may go, gives back what would wait too long, and asks to be woken for the rest.
    fn let_through(&mut self, settings: &Settings, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut wake_ms: Option<u64> = None;
        let mut reserved: u64 = self.reserved();
        for lane in self.lanes.values_mut() {
            let mut kept = VecDeque::new();
            while let Some(id) = lane.waiting.pop_front() {
                let Some(call) = self.calls.get_mut(&id) else { continue };
                let open_ms = call.due_ms.max(lane.closed_until_ms);
                let day = day_room(settings, self.spent_nanousd, reserved, &call.asked);
                let (is_later, until_ms) = (day == DayRoom::Later, call.asked.room.until_ms);
                let given_up = if now_ms > until_ms {
                    let message = "the run's time is over before its call could go out";
                    Some((ModelFailure::of(FailureKind::Timeout, message), now_ms))
                } else if open_ms > now_ms.saturating_add(settings.patience_ms).min(until_ms) {
                    let name = &call.asked.provider;
                    let message = format!("{name} takes no further calls for a while");
                    Some((ModelFailure::of(FailureKind::RateLimit, message), open_ms))
                } else if let DayRoom::Never(message) = day {
                    let midnight_ms = (now_ms / DAY_MS + 1) * DAY_MS;
                    Some((ModelFailure::of(FailureKind::Quota, message), midnight_ms))
                } else if is_later && now_ms > open_ms.saturating_add(settings.patience_ms) {
                    let message = "the day's budget has no room for it while other calls are out";
                    let again_ms = now_ms.saturating_add(settings.patience_ms);
                    Some((ModelFailure::of(FailureKind::Quota, message), again_ms))
                } else {
                    None
                };
                if let Some((failure, until_ms)) = given_up {
                    self.calls.remove(&id);
                    effects.push(Effect::GiveUp { call: id, failure, until_ms: Some(until_ms) });
                } else if open_ms <= now_ms && call.is_used_up() {
                    let failure = call.failure.take().unwrap_or_else(|| {
                        let message = "earlier tries of this call have used what was left for it";
                        ModelFailure::of(FailureKind::Network, message)
                    });
                    self.calls.remove(&id);
                    // Whoever asked may ask for less, or find that nothing is left.
                    effects.push(Effect::GiveUp { call: id, failure, until_ms: Some(now_ms) });
                } else if open_ms > now_ms {
                    wake_ms = Some(wake_ms.map_or(open_ms, |wake| wake.min(open_ms)));
                    kept.push_back(id);
                } else if lane.in_flight >= call.asked.max_concurrent.max(1) || is_later {
                    // It goes when another one lands, or is given up.
                    let patience_ms = open_ms.saturating_add(settings.patience_ms);
                    let late_ms = if is_later { until_ms.min(patience_ms) } else { until_ms };
                    let late_ms = late_ms.saturating_add(1);
                    wake_ms = Some(wake_ms.map_or(late_ms, |wake| wake.min(late_ms)));
                    kept.push_back(id);
                } else {
                    lane.in_flight += 1;
                    call.place = Place::InFlight;
                    reserved = reserved.saturating_add(call.asked.reserve.nanousd);
                    effects.push(Effect::Try { call: id, attempt: call.failures + 1 });
                }
            }
            lane.waiting = kept;
        }
        effects.extend(wake_ms.map(Effect::WakeAt));
        effects
    }

    fn reserved(&self) -> u64 {
        let out = self.calls.values().filter(|call| call.place == Place::InFlight);
        out.map(|call| call.asked.reserve.nanousd).sum()
    }
}

impl Call {
    /// Whether its failed tries leave no room for another. For the first one whoever asked has found
    /// room.
    fn is_used_up(&self) -> bool {
        self.billed != Bill::default()
            && !self.asked.room.holds(self.billed.plus(self.asked.reserve))
    }
}

/// Whether the day's budget has room for a call.
#[derive(Debug, PartialEq, Eq)]
enum DayRoom {
    Now,
    /// What is out now may turn out cheaper than it could be.
    Later,
    /// For this reason.
    Never(String),
}

fn day_room(settings: &Settings, spent: u64, reserved: u64, asked: &Asked) -> DayRoom {
    let Some(limit) = settings.daily_nanousd else { return DayRoom::Now };
    let alone = spent.saturating_add(asked.reserve.nanousd);
    if alone > limit || spent >= limit {
        let (limit, spent) = (dollars(limit), dollars(spent));
        return DayRoom::Never(format!(
            "the day's budget of {limit} US dollars has no room for it ({spent:.4} are spent)"
        ));
    }
    if alone.saturating_add(reserved) > limit { DayRoom::Later } else { DayRoom::Now }
}

#[cfg(test)]
mod tests;
