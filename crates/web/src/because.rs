//! One sentence on why a task is where it is. Pure.

use chrono::{DateTime, Utc};
use journeyman_domain::check::output::without_escapes;
use journeyman_domain::status::{AfterFailure, Status, WaitingFor};
use journeyman_store::{Task, Turn};

/// What is said where nothing more is known.
const TURN: &str = "waits for its turn";
/// Tasks that a sentence names at the most.
const NAMED: usize = 3;

/// What is known beside the task's row.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around<'a> {
    /// What it waits for; empty where that was not looked up.
    pub(crate) awaited: &'a [Task],
    /// Whose files it waits for.
    pub(crate) holder: Option<&'a Task>,
    /// What is under way around it, where it is ready.
    pub(crate) turn: Option<&'a Turn>,
    /// No runtime is alive that could take it.
    pub(crate) forsaken: bool,
    /// Why no runtime that is alive begins anything: "drained", "maintenance".
    pub(crate) idle: Option<&'a str>,
}

/// Why the task is where it is; `None` where its state says it all.
pub(crate) fn because(task: &Task, around: Around<'_>) -> Option<String> {
    // An error quotes programs and names of checks, which must not reach a terminal as codes.
    let text = sentence(task, around)?;
    Some(without_escapes(&text).into_owned())
}

fn sentence(task: &Task, around: Around<'_>) -> Option<String> {
    let error = task.error.as_deref().filter(|error| !error.is_empty());
    let with = |text: &str| {
        Some(match error {
            Some(error) => format!("{text}: {error}"),
            None => text.to_owned(),
        })
    };
    match task.status {
        Status::Ready if around.forsaken => {
            Some("no runtime is running; start one with: journeyman up".to_owned())
        }
        Status::Ready if around.idle == Some("drained") => {
            Some("its runtime was drained; let it begin work again with: journeyman drain --off".to_owned())
        }
        Status::Ready if around.idle.is_some() => {
            Some("maintenance mode is on; end it with: journeyman config set --system system.maintenance_mode false".to_owned())
        }
        Status::Ready => with(&around.turn.map_or_else(|| TURN.to_owned(), turn)),
        Status::Waiting => Some(waiting(task, around, error)),
        Status::Running if task.cancel_requested_at.is_some() => {
            Some("is being cancelled".to_owned())
        }
        Status::Running if task.pause_requested_at.is_some() => Some("is being paused".to_owned()),
        Status::Running if task.attempts > 1 => Some(format!("attempt {}", task.attempts)),
        Status::Paused => Some("paused by the user; resume it to go on".to_owned()),
        Status::Parked => Some(match error {
            Some(error) => format!("parked: {error}"),
            None => "parked: taken over again and again without a new step".to_owned(),
        }),
        Status::Completed if task.driver.as_deref() == Some("none") => None,
        Status::Completed if task.verified != Some(true) => Some(
            if task.approved_at.is_some() {
                "nothing could check the change, and the user approved it"
            } else {
                "nothing could check the change, and that was allowed"
            }
            .to_owned(),
        ),
        Status::Failed | Status::Timeout => error.map(str::to_owned),
        Status::Cancelled => {
            Some(error.map_or_else(|| "cancelled by the user".to_owned(), str::to_owned))
        }
        Status::Pending
        | Status::Running
        | Status::Retrying
        | Status::Completed
        | Status::Active
        | Status::Inactive => None,
    }
}

/// Why a ready task is not claimed yet.
fn turn(turn: &Turn) -> String {
    let limited = |most: Option<i64>, runs: i64| most.filter(|most| runs >= *most);
    if !turn.is_anyone_able && turn.agent.is_none() {
        return "no active agent can do it; journeyman agent list  shows them".to_owned();
    }
    if let (Some(agent), Some(false)) = (&turn.agent, turn.agent_is_active) {
        return format!("its agent is inactive; journeyman agent set '{agent}' active=true");
    }
    if let (Some(name), Some(most)) =
        (&turn.codebase, limited(turn.codebase_most, turn.codebase_runs))
    {
        return format!(
            "{} of {most} runs of the codebase {name} are under way",
            turn.codebase_runs
        );
    }
    if let (Some(name), Some(most)) = (&turn.agent, limited(turn.agent_most, turn.agent_runs)) {
        return format!("{} of {most} runs of the agent {name} are under way", turn.agent_runs);
    }
    match turn.runs {
        0 => TURN.to_owned(),
        1 => format!("{TURN}; 1 run is under way"),
        runs => format!("{TURN}; {runs} runs are under way"),
    }
}

fn waiting(task: &Task, around: Around<'_>, error: Option<&str>) -> String {
    let goes_on = match task.wake_at {
        Some(at) => format!("goes on at {}", time(at)),
        None => "goes on by itself".to_owned(),
    };
    let with = |text: String| match error {
        Some(error) => format!("{text}: {error}"),
        None => text,
    };
    match task.waiting_for {
        Some(WaitingFor::Dependency) => dependencies(task.after_failure, around.awaited),
        Some(WaitingFor::Approval) => {
            "nothing could check the change; approve it or give a check".to_owned()
        }
        Some(WaitingFor::Input) => with("waits for you; mend it and resume it".to_owned()),
        Some(WaitingFor::Budget) if task.wake_at.is_some() => with(goes_on),
        Some(WaitingFor::Budget) => with(
            "waits for you to give it more, or to pay; then `task resume ID`, with --budget or --time \
             where that is the limit"
                .to_owned(),
        ),
        Some(WaitingFor::RateLimit) => with(format!("a provider's limit is reached; {goes_on}")),
        Some(WaitingFor::Provider) => with(format!("a provider is down; {goes_on}")),
        Some(WaitingFor::Lock) => match around.holder {
            Some(holder) => {
                format!("waits for files that {} ({}) works on", holder.id.short(), holder.status)
            }
            None => "waits for files that another task works on".to_owned(),
        },
        Some(WaitingFor::RetryAt) => with(format!("the attempt failed; {goes_on}")),
        None => with("waits".to_owned()),
    }
}

/// Open ones first by name; those that will never complete by themselves decide the sentence.
fn dependencies(after_failure: Option<AfterFailure>, awaited: &[Task]) -> String {
    let goes_on = after_failure == Some(AfterFailure::Run);
    let is_open =
        |task: &&Task| task.status != Status::Completed && !(goes_on && task.status.is_final());
    let open: Vec<_> = awaited.iter().filter(is_open).collect();
    let lost: Vec<_> = open.iter().filter(|task| task.status.is_final()).collect();
    let names = |tasks: &mut dyn Iterator<Item = &Task>, count: usize| {
        let mut names: Vec<_> = tasks
            .take(NAMED)
            .map(|task| format!("{} ({})", task.id.short(), task.status))
            .collect();
        if count > NAMED {
            names.push(format!("{} more", count - NAMED));
        }
        names.join(", ")
    };
    if !lost.is_empty() {
        let names = names(&mut lost.iter().map(|task| **task), lost.len());
        return format!("waits for what did not complete: {names}; retry that, or cancel this");
    }
    match open.len() {
        0 => "waits for other tasks".to_owned(),
        1 => format!("waits for {}", names(&mut open.iter().copied(), 1)),
        count => format!("waits for {count} tasks: {}", names(&mut open.iter().copied(), count)),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use journeyman_domain::ids::TaskId;
    use journeyman_store::NewTask;
    use serde_json::json;

    use super::*;

    /// A row in a state. Its other fields are those of a fresh task.
    pub(crate) fn task(status: Status, waiting_for: Option<WaitingFor>) -> Task {
        let mut row = serde_json::to_value(NewTask::new("a task")).unwrap();
        let now = Utc::now();
        for (key, value) in [
            ("status", json!(status)),
            ("waiting_for", json!(waiting_for)),
            ("attempts", json!(1)),
            ("created_at", json!(now)),
            ("updated_at", json!(now)),
        ] {
            row[key] = value;
        }
        serde_json::from_value(row).unwrap()
    }

    fn said(task: &Task) -> String {
        because(task, Around::default()).unwrap_or_default()
    }

    fn other(id: &str, status: Status) -> Task {
        let id: TaskId = format!("0193a2f0-1111-7abc-8def-0000{id}").parse().unwrap();
        Task { id, ..task(status, None) }
    }

    #[test]
    fn what_is_waited_for_is_named_and_what_is_lost_decides() {
        let waiting = task(Status::Waiting, Some(WaitingFor::Dependency));
        let mut awaited = vec![
            other("00000001", Status::Running),
            other("00000002", Status::Completed),
            other("00000003", Status::Ready),
        ];
        let say = |awaited: &[Task]| {
            let around = Around { awaited, ..Around::default() };
            because(&waiting, around).unwrap()
        };
        assert_eq!(say(&awaited), "waits for 2 tasks: 00000001 (running), 00000003 (ready)");
        assert_eq!(say(&awaited[..2]), "waits for 00000001 (running)");
        awaited.push(other("00000004", Status::Failed));
        assert_eq!(
            say(&awaited),
            "waits for what did not complete: 00000004 (failed); retry that, or cancel this"
        );
        let goes_on = Task { after_failure: Some(AfterFailure::Run), ..waiting.clone() };
        let around = Around { awaited: &awaited, ..Around::default() };
        assert_eq!(
            because(&goes_on, around).unwrap(),
            "waits for 2 tasks: 00000001 (running), 00000003 (ready)"
        );
        let many = vec![other("00000005", Status::Ready); 6];
        assert!(say(&many).ends_with("00000005 (ready), 3 more"));
    }

    #[test]
    fn what_keeps_a_ready_task_is_named() {
        let ready = task(Status::Ready, None);
        let say = |turn: Turn| {
            because(&ready, Around { turn: Some(&turn), ..Around::default() }).unwrap()
        };
        let full = Turn {
            codebase: Some("notes".into()),
            codebase_most: Some(2),
            codebase_runs: 2,
            agent: Some("Test Generator".into()),
            agent_is_active: Some(true),
            agent_most: Some(1),
            agent_runs: 1,
            runs: 3,
            is_anyone_able: true,
        };
        assert_eq!(say(full.clone()), "2 of 2 runs of the codebase notes are under way");
        let full = Turn { codebase_most: None, ..full };
        assert_eq!(say(full.clone()), "1 of 1 runs of the agent Test Generator are under way");
        let full = Turn { agent_most: Some(4), ..full };
        assert_eq!(say(full.clone()), "waits for its turn; 3 runs are under way");
        let off = Turn { agent_is_active: Some(false), ..full };
        assert_eq!(
            say(off),
            "its agent is inactive; journeyman agent set 'Test Generator' active=true"
        );
        let able = Turn { is_anyone_able: true, ..Turn::default() };
        assert_eq!(say(able), "waits for its turn");
        let none = say(Turn::default());
        assert!(none.starts_with("no active agent can do it"), "{none}");
    }

    #[test]
    fn every_reason_to_wait_has_a_sentence_of_its_own() {
        let mut sentences: Vec<_> = WaitingFor::ALL
            .iter()
            .map(|reason| said(&task(Status::Waiting, Some(*reason))))
            .collect();
        sentences.sort();
        sentences.dedup();
        assert_eq!(sentences.len(), WaitingFor::ALL.len());
    }

    #[test]
    fn a_state_is_explained_from_its_row() {
        let parked = task(Status::Parked, None);
        assert_eq!(said(&parked), "parked: taken over again and again without a new step");
        let retry = Task {
            error: Some("the registry is down".into()),
            wake_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            ..task(Status::Waiting, Some(WaitingFor::RetryAt))
        };
        assert_eq!(
            said(&retry),
            "the attempt failed; goes on at 2026-01-02 03:04:05 UTC: the registry is down"
        );
        let failed = Task { error: Some("\u{1b}[2Jgone".into()), ..task(Status::Failed, None) };
        assert_eq!(said(&failed), "gone");
        let verified = Task { verified: Some(true), ..task(Status::Completed, None) };
        assert_eq!(because(&verified, Around::default()), None);
        let forsaken = Around { forsaken: true, ..Around::default() };
        let ready = because(&task(Status::Ready, None), forsaken).unwrap();
        assert!(ready.contains("journeyman up"), "{ready}");
    }
}
