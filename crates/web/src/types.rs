//! The documents of the API: what the CLI, and later the page, sends and gets.
//!
//! Field names are snake_case and stable. Times are RFC 3339 in UTC, durations milliseconds.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A task to add. `repo` and `prompt` are needed, all else has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// Names the line for `after` of others in the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The repository's folder, absolute.
    pub repo: String,
    /// What to do.
    pub prompt: String,
    /// Keys of this request, or ids: they must be completed before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// wait, fail, skip or run: what becomes of it when one of them does not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// A key of this request, or an id: the task that it is a part of, which then waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Patterns of the files that it works on, for itself: no other task with files that could be the same runs
    /// meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// An agent by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// How it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// A model, for drivers that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Program and arguments of the driver `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Checks instead of the found ones; shell command lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// low, normal, high, urgent or critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Due by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
    /// Refused when an unfinished task has this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// Dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    /// Seconds of wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_s: Option<u64>,
    /// A commit, branch or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// branch, pr, patch or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver: Option<String>,
    /// Complete it also when no check can judge it.
    #[serde(default)]
    pub allow_unverified: bool,
}

/// Tasks to add; all of them, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddTasks {
    /// In order.
    pub tasks: Vec<NewTask>,
}

/// What is known of a task. A list leaves out `patch`, `deliveries`, `verification`, `files`,
/// `trace_id` and `errors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Its state.
    pub status: String,
    /// Why it waits, where it does.
    pub waiting_for: Option<String>,
    /// One sentence on why it is where it is.
    pub because: Option<String>,
    /// The first line of its prompt.
    pub title: String,
    /// The whole prompt.
    pub prompt: String,
    /// The codebase's name.
    pub codebase: Option<String>,
    /// The repository's folder.
    pub repo: Option<String>,
    /// The agent that works or worked on it.
    pub agent: Option<String>,
    /// How it acts.
    pub driver: Option<String>,
    /// Its model, where it has one.
    pub model: Option<String>,
    /// low to critical.
    pub priority: String,
    /// The delivered branch.
    pub branch: Option<String>,
    /// The commit that the work started from.
    pub base_commit: Option<String>,
    /// The delivered commit.
    pub head_commit: Option<String>,
    /// The delivered patch file.
    pub patch: Option<String>,
    /// What of the delivery goes to foreign systems, in its order.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
    /// The agent's own word: done or not; null while it works.
    pub done_by_word: Option<bool>,
    /// The runtime's judgement; null before there is one.
    pub verified: Option<bool>,
    /// The evidence of the last verification.
    pub verification: Option<Value>,
    /// Attempts so far.
    pub attempts: i32,
    /// Dollars; null where the price of some answer is not known.
    pub cost_usd: Option<f64>,
    /// Tokens, all classes together.
    pub tokens: i64,
    /// Why it failed or waits.
    pub error: Option<String>,
    /// The failures of its attempts, newest last.
    pub errors: Vec<ErrorReport>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When its first attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it goes on, where that is a time.
    pub wake_at: Option<DateTime<Utc>>,
    /// By when it should be done.
    pub due: Option<DateTime<Utc>>,
    /// The task that it is a part of.
    pub parent: Option<String>,
    /// Patterns of the files that it works on for itself.
    pub files: Vec<String>,
    /// The trace of its last execution, as 32 hexadecimal digits.
    pub trace_id: Option<String>,
}

/// A part of a delivery on a foreign system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// push or pull_request.
    pub kind: String,
    /// pending, sending, done or failed.
    pub state: String,
    /// Where it goes.
    pub target: String,
    /// What names it there: the pushed commit, the pull request's address.
    pub remote_id: Option<String>,
    /// How often it was begun.
    pub attempts: i32,
    /// Why the last attempt did not bring it about.
    pub last_error: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// The rows, newest first.
    pub tasks: Vec<Task>,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
}

/// A schedule to make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// Its name.
    pub name: String,
    /// Its times, as a cron line of five fields.
    pub cron: String,
    /// Where those are the time of day, such as Europe/Berlin; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// skip, once (the default) or all: what becomes of times that passed while no runtime ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// skip (the default) or allow: what becomes of a time while its last task has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// What it adds.
    pub task: NewTask,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its times.
    pub cron: String,
    /// Where those are the time of day.
    pub time_zone: String,
    /// skip, once or all.
    pub missed: String,
    /// skip or allow.
    pub overlap: String,
    /// active or paused.
    pub status: String,
    /// The codebase's name.
    pub codebase: Option<String>,
    /// The prompt of its tasks.
    pub prompt: String,
    /// The next time; null while it is paused.
    pub next_at: Option<DateTime<Utc>>,
    /// The last time that was dealt with.
    pub last_at: Option<DateTime<Utc>>,
    /// The last task that it added.
    pub last_task: Option<String>,
    /// Why its last time added nothing, or not all.
    pub note: Option<String>,
}

/// All schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedules {
    /// By name.
    pub schedules: Vec<Schedule>,
    /// Always null: they are few.
    pub next_cursor: Option<String>,
}

/// One thing that happened to a task, as streams and logs show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place: grows within a task; where a stream goes on after a break. 0 for what is no entry
    /// of a journal (`now`, `status`, `end`).
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// The kind of journal entry; else `now` for what the run does at the moment, `status` for a
    /// change of the task's state, `end` where nothing more happens without the user.
    pub kind: String,
    /// One line for a person.
    pub text: String,
    /// The entry itself.
    pub detail: Value,
    /// The commit that holds the workspace's files after it, where they changed.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// A failure and what kind it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// Its id.
    pub id: String,
    /// The task.
    pub task: Option<String>,
    /// Our category.
    pub category: String,
    /// The mission's class.
    pub class: String,
    /// low to critical.
    pub severity: String,
    /// Equal for equal failures.
    pub fingerprint: String,
    /// One line.
    pub message: String,
    /// open, resolved, …
    pub resolution_status: String,
    /// What follows: the policy.
    pub policy: Option<Value>,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// The evidence, where one report is asked for.
    pub evidence: Option<Value>,
}

/// The body of an error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What went wrong.
    pub error: ProblemDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDetail {
    /// One word; each has a page in `docs/errors/`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

/// A setting, as `config list` shows it. A secret's value is `***`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its dotted key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where the value comes from.
    pub origin: String,
}
