//! What the words of a new task mean, before anything is looked up.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use journeyman_domain::files;
use journeyman_domain::status::{AfterFailure, Delivery, DriverKind, Priority, UnknownWord};
use journeyman_domain::title::title;

use crate::problem::Refusal;
use crate::types::NewTask;

/// Patterns of files of a task.
const FILES: usize = 32;

/// The words of one task, understood.
#[derive(Debug, PartialEq)]
pub(super) struct Words {
    pub(super) title: String,
    pub(super) driver: Option<DriverKind>,
    pub(super) priority: Priority,
    pub(super) deliver: Delivery,
    pub(super) after_failure: AfterFailure,
    pub(super) time_limit_s: Option<i32>,
}

pub(super) fn understand(task: &NewTask) -> Result<Words, Refusal> {
    let Some(title) = title(&task.prompt) else {
        return Err(Refusal::usage("the prompt is empty"));
    };
    let mut driver: Option<DriverKind> = task.driver.as_deref().map(str::parse).transpose()?;
    if !task.command.is_empty() {
        if driver.is_some_and(|driver| driver != DriverKind::Command) {
            return Err(Refusal::usage("a command is given, which only the driver 'command' runs"));
        }
        driver = Some(DriverKind::Command);
    } else if driver == Some(DriverKind::Command) && task.agent.is_none() {
        return Err(Refusal::usage("the driver 'command' needs a program; give it as command"));
    }
    if driver == Some(DriverKind::None) && (task.agent.is_some() || !task.check.is_empty()) {
        return Err(Refusal::usage("the driver 'none' has no agent and checks nothing"));
    }
    if let (
        Some(driver @ (DriverKind::Mechanic | DriverKind::Command | DriverKind::None)),
        Some(_),
    ) = (driver, &task.model)
    {
        return Err(Refusal::usage(format!(
            "a model is given, and the driver '{driver}' uses none"
        )));
    }
    files(task, driver)?;
    if task.unique.as_deref().is_some_and(|key| key.trim().is_empty()) {
        return Err(Refusal::usage("the unique key is empty"));
    }
    if task.check.iter().any(|check| check.trim().is_empty()) {
        return Err(Refusal::usage("a check is empty"));
    }
    budget(task.budget_usd)?;
    if task.parent.as_ref().is_some_and(|parent| task.after.contains(parent)) {
        return Err(Refusal::usage("a part of a task cannot come after the whole of it"));
    }
    due(task.due, Utc::now())?;
    let time_limit_s = time_limit(task.time_limit_s)?;
    if task.model.as_deref().is_some_and(|model| model.trim().is_empty()) {
        return Err(Refusal::usage("the model is empty; write it as provider/model"));
    }
    // PostgreSQL cannot store it, and would refuse the whole request without a name.
    let words = [&task.repo, &task.prompt].into_iter().chain(&task.command).chain(&task.check);
    let words = words
        .chain(&task.after)
        .chain(&task.parent)
        .chain(&task.key)
        .chain(&task.agent)
        .chain(&task.model);
    if words.chain(&task.unique).chain(&task.base).any(|text| text.contains('\0')) {
        return Err(Refusal::usage("a text of the task has a zero byte"));
    }
    Ok(Words {
        title,
        driver,
        priority: parsed(task.priority.as_deref(), Priority::Normal)?,
        deliver: parsed(task.deliver.as_deref(), Delivery::Branch)?,
        after_failure: parsed(task.on_failure.as_deref(), AfterFailure::Wait)?,
        time_limit_s,
    })
}

/// Refuses files that are none.
fn files(task: &NewTask, driver: Option<DriverKind>) -> Result<(), Refusal> {
    if driver == Some(DriverKind::None) && !task.files.is_empty() {
        return Err(Refusal::usage("the driver 'none' works on no files"));
    }
    if task.files.len() > FILES {
        return Err(Refusal::usage(format!(
            "a task may have {FILES} patterns of files at the most"
        )));
    }
    for pattern in &task.files {
        if let Some(fault) = files::fault(pattern) {
            return Err(Refusal::usage(format!("the pattern of files '{pattern}' {fault}")));
        }
    }
    Ok(())
}

/// Refuses a budget that is none.
pub(crate) fn budget(dollars: Option<f64>) -> Result<(), Refusal> {
    if dollars.is_some_and(|budget| !budget.is_finite() || budget <= 0.0) {
        return Err(Refusal::usage("the budget must be more than 0 dollars"));
    }
    Ok(())
}

/// Refuses a due time that has passed: it would go before all others for what is nearly always a slip.
fn due(due: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Refusal> {
    match due {
        Some(due) if due <= now => Err(Refusal::usage(format!(
            "the due time {} is in the past",
            due.format("%Y-%m-%dT%H:%M:%SZ")
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A time limit as rows have it.
pub(crate) fn time_limit(seconds: Option<u64>) -> Result<Option<i32>, Refusal> {
    let Some(seconds) = seconds else { return Ok(None) };
    match i32::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(Some(seconds)),
        _ => Err(Refusal::usage(format!(
            "the time limit must be 1 to {} seconds, not {seconds}",
            i32::MAX
        ))),
    }
}

/// A word of a closed vocabulary, or what holds where none is given.
pub(crate) fn parsed<T: FromStr<Err = UnknownWord>>(
    word: Option<&str>,
    default: T,
) -> Result<T, UnknownWord> {
    word.map_or(Ok(default), str::parse)
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::StatusCode;

    use super::*;

    /// What is asked at the least.
    pub(in crate::adding) fn task() -> NewTask {
        NewTask {
            repo: "/repository".into(),
            prompt: "mend the build".into(),
            ..NewTask::default()
        }
    }

    fn refused(task: &NewTask) -> String {
        understand(task).unwrap_err().detail.message
    }

    #[test]
    fn a_foreign_word_is_answered_with_the_known_ones() {
        let task = |change: fn(&mut NewTask)| {
            let mut task = task();
            change(&mut task);
            refused(&task)
        };
        assert_eq!(
            task(|task| task.priority = Some("soon".into())),
            "'soon' is no priority; known are low, normal, high, urgent, critical"
        );
        assert_eq!(
            task(|task| task.driver = Some("magic".into())),
            "'magic' is no driver; known are mechanic, command, native, none"
        );
        assert_eq!(
            task(|task| task.deliver = Some("mail".into())),
            "'mail' is no delivery; known are branch, pr, patch, none"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_written() {
        let wrong: [fn(&mut NewTask); 9] = [
            |task| task.prompt = " \n\t".into(),
            |task| task.prompt = "a\0b".into(),
            |task| task.driver = Some("command".into()),
            |task| (task.driver, task.command) = (Some("mechanic".into()), vec!["x".into()]),
            |task| task.check = vec!["make".into(), "  ".into()],
            |task| task.budget_usd = Some(f64::NAN),
            |task| task.budget_usd = Some(0.0),
            |task| task.time_limit_s = Some(0),
            |task| task.time_limit_s = Some(u64::MAX),
        ];
        for (index, change) in wrong.iter().enumerate() {
            let mut task = task();
            change(&mut task);
            assert!(understand(&task).is_err(), "case {index}: {task:?}");
        }
    }

    #[test]
    fn a_due_time_is_one_that_comes() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let now = at("2026-01-02T03:04:05Z");
        assert_eq!(due(None, now), Ok(()));
        assert_eq!(due(Some(at("2026-01-02T03:04:06Z")), now), Ok(()));
        for passed in [now, at("2026-01-02T05:04:04+02:00")] {
            let refused = due(Some(passed), now).unwrap_err();
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
        let refused = due(Some(at("2025-12-31T23:00:00Z")), now).unwrap_err();
        assert_eq!(refused.detail.message, "the due time 2025-12-31T23:00:00Z is in the past");
    }

    #[test]
    fn a_command_means_its_driver() {
        let task = NewTask { command: vec!["agent".into()], ..task() };
        assert_eq!(
            understand(&task).unwrap(),
            Words {
                title: "mend the build".into(),
                driver: Some(DriverKind::Command),
                priority: Priority::Normal,
                deliver: Delivery::Branch,
                after_failure: AfterFailure::Wait,
                time_limit_s: None,
            }
        );
    }
}
