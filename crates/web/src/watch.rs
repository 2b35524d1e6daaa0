//! What happened to a task, told from its rows: once for logs, and on and on for a stream.
//!
//! The journals of a task's runs are one sequence. An event's place is the place of its run among
//! them, from 1, times [`RUN`], plus the step's number: it grows, and never changes. Hints make a
//! stream quick; without any it still sees everything, a moment later.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::Utc;
use journeyman_actors::context::Change;
use journeyman_domain::check::CheckOutcome;
use journeyman_domain::check::output::without_escapes;
use journeyman_domain::failure::sentence;
use journeyman_domain::ids::{RunId, TaskId};
use journeyman_domain::status::{Status, WaitingFor};
use journeyman_domain::step::Entry;
use journeyman_store::{Step, StepPosition, Store, StoreError, Task};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::because::{Around, because};
use crate::document;
use crate::narrate::{Narrator, one_line};
use crate::types::Event;

/// Places that one run has.
const RUN: i64 = 1_000_000;
/// Steps that are read at once.
const PAGE: u32 = 200;
/// How long a stream waits for a hint before it looks by itself.
const POLL: Duration = Duration::from_millis(300);

/// Reads a task's journals in order and tells them.
pub(crate) struct Teller {
    store: Store,
    task: TaskId,
    runs: Vec<RunId>,
    at: Option<StepPosition>,
    /// Events up to this place were told before.
    after: i64,
    narrator: Narrator,
}

/// An event with the step that it tells of.
pub(crate) struct Told {
    pub(crate) event: Event,
    pub(crate) step: Step,
    entry: Option<Entry>,
}

impl Teller {
    /// Tells what comes after a place; 0 is the beginning.
    pub(crate) async fn new(store: Store, task: TaskId, after: i64) -> Result<Self, StoreError> {
        let mut teller = Self {
            store,
            task,
            runs: Vec::new(),
            at: None,
            after: after.max(0),
            narrator: Narrator::default(),
        };
        if after >= RUN {
            teller.learn_runs().await?;
            let place = usize::try_from(after / RUN - 1).unwrap_or(usize::MAX);
            // From the run's first step, so that a result finds the title of its call.
            teller.at = teller.runs.get(place).map(|run| StepPosition { run_id: *run, seq: 0 });
        }
        Ok(teller)
    }

    async fn learn_runs(&mut self) -> Result<(), StoreError> {
        let runs = self.store.runs().of_task(self.task).await?;
        self.runs = runs.into_iter().map(|run| run.id).collect();
        Ok(())
    }

    /// What has been written since the last call, at most a page; empty at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<Told>, StoreError> {
        loop {
            let steps = self.store.journal().tail(self.task, self.at, PAGE).await?;
            let nothing_left = steps.is_empty();
            let mut told = Vec::with_capacity(steps.len());
            for step in steps {
                if !self.runs.contains(&step.run_id) {
                    self.learn_runs().await?;
                }
                self.at = Some(step.position());
                let one = self.tell(step);
                if one.event.seq > self.after {
                    self.after = one.event.seq;
                    told.push(one);
                }
            }
            if nothing_left || !told.is_empty() {
                return Ok(told);
            }
        }
    }

    fn tell(&mut self, step: Step) -> Told {
        let place = self.runs.iter().position(|run| *run == step.run_id);
        let place = place.map_or(self.runs.len(), |place| place + 1);
        let seq = i64::try_from(place).unwrap_or(i64::MAX / RUN) * RUN + i64::from(step.seq);
        let entry: Option<Entry> = serde_json::from_value(step.payload.clone()).ok();
        let text = match &entry {
            _ if step.is_whole == Some(false) => {
                format!("{}: this step is not what was written", step.kind)
            }
            Some(entry) => self.narrator.line(entry),
            None => format!("{} (of a kind that this version does not know)", step.kind),
        };
        let event = Event {
            seq,
            at: step.created_at,
            kind: step.kind.clone(),
            text,
            detail: step.payload.clone(),
            snapshot: step.snapshot_tree.clone(),
        };
        Told { event, step, entry }
    }
}

/// The whole log of a task. With `full`, `detail.output` holds all that a step printed.
pub(crate) async fn log(store: &Store, task: TaskId, full: bool) -> Result<Vec<Event>, StoreError> {
    let mut teller = Teller::new(store.clone(), task, 0).await?;
    let mut events = Vec::new();
    loop {
        let told = teller.next().await?;
        if told.is_empty() {
            return Ok(events);
        }
        for mut one in told {
            if full && let Some(output) = output(store, &one).await? {
                let output = without_escapes(&output).into_owned();
                one.event.detail["output"] = Value::String(output);
            }
            events.push(one.event);
        }
    }
}

/// What a step printed: a call's whole output, or that of each check.
async fn output(store: &Store, told: &Told) -> Result<Option<String>, StoreError> {
    Ok(match (&told.entry, &told.step.output_blob) {
        (Some(Entry::ToolResult { .. }), Some(blob)) => match store.journal().blob(blob).await {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(StoreError::Damaged(reason)) => Some(reason),
            Err(error) => return Err(error),
        },
        (Some(Entry::ToolResult { result }), None) => Some(result.head.clone()),
        (Some(Entry::BaseChecked { checks } | Entry::Verification { checks, .. }), _) => {
            Some(checks.iter().map(printed).collect())
        }
        _ => None,
    })
}

fn printed(outcome: &CheckOutcome) -> String {
    let mut text = format!("$ {}\n{}\n", outcome.check, outcome.head.trim_end());
    if let Some(tail) = &outcome.tail {
        // Writing to a String cannot fail.
        let _ = write!(text, "… cut …\n{}\n", tail.trim_end());
    }
    text
}

/// Whether nothing more happens to a task without its user.
fn is_at_rest(task: &Task) -> bool {
    let asks = matches!(
        task.waiting_for,
        Some(WaitingFor::Approval | WaitingFor::Input | WaitingFor::Budget)
    );
    task.status.is_final()
        || matches!(task.status, Status::Paused | Status::Parked)
        || (task.status == Status::Waiting && asks)
}

/// The state that a watcher was told of.
type Seen = (Status, Option<WaitingFor>, i32);

/// A stream of what happens to a task, until it is at rest.
pub(crate) struct Watch {
    teller: Teller,
    changes: broadcast::Receiver<Change>,
    closing: CancellationToken,
    seen: Option<Seen>,
    pending: VecDeque<Event>,
    /// When the rows are looked at next.
    look_at: Instant,
    ended: bool,
    /// The database does not answer, and the watcher knows.
    blind: bool,
    /// The last entry that was told is a run's outcome.
    outcome_told: bool,
}

impl Watch {
    /// Watches until the task is at rest, or `closing`.
    pub(crate) fn new(
        teller: Teller,
        changes: broadcast::Receiver<Change>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            teller,
            changes,
            closing,
            seen: None,
            pending: VecDeque::new(),
            look_at: Instant::now(),
            ended: false,
            blind: false,
            outcome_told: false,
        }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if self.closing.is_cancelled() {
                return None;
            }
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            if Instant::now() >= self.look_at {
                self.look_at = Instant::now() + POLL;
                self.look().await;
            } else {
                self.wait().await;
            }
        }
    }

    /// Until the rows are due. What happens to other tasks does not put that off.
    async fn wait(&mut self) {
        let closing = self.closing.clone();
        tokio::select! {
            () = closing.cancelled() => {}
            () = tokio::time::sleep_until(self.look_at) => {}
            change = self.changes.recv() => match change {
                Ok(Change { task, now }) if task == self.teller.task => {
                    self.pending.extend(now.map(|now| passing("now", &now, Value::Null)));
                    self.look_at = Instant::now();
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.look_at = Instant::now(),
                Err(RecvError::Closed) => tokio::time::sleep_until(self.look_at).await,
            },
        }
    }

    async fn look(&mut self) {
        match self.read().await {
            Ok(()) => self.blind = false,
            Err(StoreError::NotFound { .. }) => self.ended = true,
            Err(error) => {
                tracing::debug!(error = %sentence(&error), "a watched task could not be read");
                if !self.blind {
                    self.blind = true;
                    let text = format!("{error}; trying again");
                    self.pending.push_back(passing("now", &text, Value::Null));
                }
            }
        }
    }

    /// The task before its journal: whoever ends it wrote the journal's last entry before.
    async fn read(&mut self) -> Result<(), StoreError> {
        let task = self.teller.store.tasks().get(self.teller.task).await?;
        let at_rest = is_at_rest(&task);
        let state = (task.status, task.waiting_for, task.attempts);
        if !at_rest && self.seen != Some(state) {
            let known = document::Surroundings::of(&self.teller.store, &task).await?;
            self.seen = Some(state);
            self.pending.push_back(status_event(&task, known.around()));
        }
        loop {
            let told = self.teller.next().await?;
            let Some(last) = told.last() else { break };
            self.outcome_told = matches!(last.entry, Some(Entry::Outcome { .. }));
            self.pending.extend(told.into_iter().map(|one| one.event));
        }
        if at_rest {
            self.ended = true;
            self.pending.push_back(end_event(&task, self.outcome_told));
        }
        Ok(())
    }
}

/// An event that is no entry of a journal: it has no place, and is not told again.
fn passing(kind: &str, text: &str, detail: Value) -> Event {
    let kind = kind.to_owned();
    Event { seq: 0, at: Utc::now(), kind, text: one_line(text), detail, snapshot: None }
}

fn state_of(task: &Task) -> Value {
    json!({
        "status": task.status,
        "waiting_for": task.waiting_for,
        "attempts": task.attempts,
        "wake_at": task.wake_at,
    })
}

fn status_event(task: &Task, around: Around<'_>) -> Event {
    // That a task is taken at once needs no line.
    let at_once = task.status == Status::Ready && task.error.is_none() && !around.forsaken;
    let text = if at_once { String::new() } else { because(task, around).unwrap_or_default() };
    passing("status", &text, state_of(task))
}

fn end_event(task: &Task, outcome_told: bool) -> Event {
    let text = if outcome_told && task.status.is_final() {
        String::new()
    } else {
        let because = because(task, Around::default());
        because.unwrap_or_else(|| task.status.to_string())
    };
    passing("end", &text, state_of(task))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::because::tests::task;

    #[test]
    fn a_stream_ends_where_only_the_user_can_go_on() {
        let ends: Vec<_> = WaitingFor::ALL
            .iter()
            .filter(|reason| is_at_rest(&task(Status::Waiting, Some(**reason))))
            .collect();
        assert_eq!(ends, [&WaitingFor::Approval, &WaitingFor::Input, &WaitingFor::Budget]);
        let ends: Vec<_> = Status::ALL
            .iter()
            .filter(|status| is_at_rest(&task(**status, None)))
            .map(|status| status.as_str())
            .collect();
        assert_eq!(ends, ["paused", "parked", "completed", "failed", "cancelled", "timeout"]);
    }

    #[test]
    fn the_end_says_its_state_and_repeats_no_outcome() {
        let failed = Task { error: Some("3 checks fail".into()), ..task(Status::Failed, None) };
        let end = end_event(&failed, false);
        assert_eq!((end.kind.as_str(), end.seq), ("end", 0));
        assert_eq!(end.detail["status"], "failed");
        assert_eq!(end.text, "3 checks fail");
        assert_eq!(end_event(&failed, true).text, "");
        // An attempt's outcome is not the answer to why its task waits.
        let asks = task(Status::Waiting, Some(WaitingFor::Approval));
        assert!(end_event(&asks, true).text.contains("approve it"));
    }
}
