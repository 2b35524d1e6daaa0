//! New tasks: the words of a request become rows, or none does and the request says why. What the words mean is in
//! `words`, what is looked up for them in `rows`.

mod forge;
mod rows;
mod words;

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use journeyman_actors::support::AskError;
use journeyman_domain::ids::{CodebaseId, TaskId};
use journeyman_store::{NewTask as Row, StoreError};

use self::rows::Adding;
use crate::api::Shared;
use crate::problem::Refusal;
use crate::types::NewTask;

pub(crate) use words::{budget, parsed, time_limit};

/// Tasks of one request: its size would bound them too, but not their statement.
const MOST: usize = 200_000;

/// Adds these tasks; in the order of the request.
pub(crate) async fn add(
    shared: &Shared,
    tasks: Vec<NewTask>,
) -> Result<Vec<journeyman_store::Task>, Refusal> {
    if tasks.is_empty() {
        return Err(Refusal::usage("the request has no task"));
    }
    if tasks.len() > MOST {
        return Err(Refusal::usage(format!("a request may have {MOST} tasks at the most")));
    }
    check_keys(&tasks)?;
    check_order(&tasks)?;
    let first = shared.take_first_task();
    let added = async {
        let rows = Adding::new(shared, &tasks, first).rows(&tasks).await?;
        match shared.scheduler.add(rows).await {
            Ok(added) => Ok(added),
            // Only then is it known that nothing was added.
            Err(refused @ AskError::Refused(StoreError::Conflict(_))) => {
                Err(taken(shared, &tasks).await.unwrap_or_else(|| refused.into()))
            }
            Err(refused) => Err(refused.into()),
        }
    }
    .await;
    if added.is_err() {
        shared.keep_first_task(first);
    }
    added
}

/// What a schedule adds each time, and to which codebase. The codebase is registered when it is new.
pub(crate) async fn template(
    shared: &Shared,
    task: &NewTask,
) -> Result<(Row, CodebaseId), Refusal> {
    if !task.after.is_empty() || task.parent.is_some() || task.key.is_some() || task.due.is_some() {
        return Err(Refusal::usage(
            "a task that a schedule adds has no key, no due time and no parent, and waits for no other",
        ));
    }
    let tasks = std::slice::from_ref(task);
    let mut rows = Adding::new(shared, tasks, None).rows(tasks).await?;
    let Some((row, _)) = rows.pop() else { return Err(Refusal::usage("the schedule has no task")) };
    let Some(codebase) = row.codebase_id else {
        return Err(Refusal::usage("the schedule has no repository"));
    };
    // Each task begins from what the branch is then.
    Ok((Row { base_ref: task.base.clone(), traceparent: None, ..row }, codebase))
}

/// Whose unique key the first one of these tasks wants that cannot have it, where that is so.
async fn taken(shared: &Shared, tasks: &[NewTask]) -> Option<Refusal> {
    let wanted: Vec<&str> = tasks.iter().filter_map(|task| task.unique.as_deref()).collect();
    if wanted.is_empty() {
        return None;
    }
    // Without an answer, the refusal stays as it is.
    let holders = shared.runtime.store.keys().holders(&wanted).await.ok()?;
    let holders: HashMap<&str, TaskId> =
        holders.iter().map(|(key, task)| (key.as_str(), *task)).collect();
    tasks.iter().enumerate().find_map(|(index, task)| {
        let holder = holders.get(task.unique.as_deref()?)?.short();
        let refusal =
            Refusal::conflict(format!("the unfinished task {holder} has this unique key already"));
        Some(named(refusal, tasks, index))
    })
}

/// Says which task a refusal is about, where there are several.
fn named(refusal: Refusal, tasks: &[NewTask], index: usize) -> Refusal {
    match (&tasks[index].key, tasks.len()) {
        (_, 1) => refusal,
        (Some(key), _) => refusal.about(&format!("task {} ('{key}')", index + 1)),
        (None, _) => refusal.about(&format!("task {}", index + 1)),
    }
}

/// No two tasks of a request have one key, nor one unique key.
fn check_keys(tasks: &[NewTask]) -> Result<(), Refusal> {
    let (mut keys, mut uniques) = (HashSet::new(), HashSet::new());
    for (index, task) in tasks.iter().enumerate() {
        let taken = match (&task.key, &task.unique) {
            (Some(key), _) if !keys.insert(key) => format!("another task has the key '{key}'"),
            (_, Some(key)) if !uniques.insert(key) => {
                format!("another task has the unique key '{key}'")
            }
            _ => continue,
        };
        return Err(named(Refusal::usage(taken), tasks, index));
    }
    Ok(())
}

/// No task of a request waits for itself over others of the request. The store would refuse that
/// too, but could name the tasks only by ids that nobody has seen.
fn check_order(tasks: &[NewTask]) -> Result<(), Refusal> {
    let in_order = || tasks.iter().filter_map(|task| Some((task.key.as_deref()?, task)));
    // What each waits for: those that it comes after, and its parts.
    let mut keyed: HashMap<&str, Vec<&str>> = HashMap::new();
    for (key, task) in in_order() {
        keyed.entry(key).or_default().extend(task.after.iter().map(String::as_str));
        if let Some(parent) = &task.parent {
            keyed.entry(parent).or_default().push(key);
        }
    }
    let mut seen = HashSet::new();
    let mut on_path = HashSet::new();
    for (start, _) in in_order() {
        if !seen.insert(start) {
            continue;
        }
        on_path.insert(start);
        // Depth first without recursion: a request may be one long chain.
        let mut path = vec![(start, keyed[start].iter())];
        while let Some((key, rest)) = path.last_mut() {
            let Some(next) = rest.next() else {
                on_path.remove(key);
                path.pop();
                continue;
            };
            let Some((next, awaited)) = keyed.get_key_value(next) else { continue };
            if on_path.contains(next) {
                let keys = path.iter().map(|(key, _)| *key).skip_while(|key| key != next);
                let cycle: Vec<_> = keys.chain([*next]).collect();
                return Err(cyclic(&cycle));
            }
            if seen.insert(*next) {
                on_path.insert(*next);
                path.push((*next, awaited.iter()));
            }
        }
    }
    Ok(())
}

fn cyclic(keys: &[&str]) -> Refusal {
    let message = format!("the tasks wait for each other: {}", keys.join(" -> "));
    Refusal::new(StatusCode::BAD_REQUEST, "cycle", message).hint("nothing was added")
}

#[cfg(test)]
mod tests {
    use super::words::tests::task;
    use super::*;

    #[test]
    fn a_cycle_is_named_by_its_keys() {
        let tasks = |order: &[(&str, &[&str])]| -> Vec<NewTask> {
            let keyed = |(key, after): &(&str, &[&str])| NewTask {
                key: Some((*key).to_owned()),
                after: after.iter().map(|after| (*after).to_owned()).collect(),
                ..task()
            };
            order.iter().map(keyed).collect()
        };
        let said = |order: &[(&str, &[&str])]| check_order(&tasks(order)).unwrap_err().detail;
        let itself = said(&[("a", &["a"])]);
        assert_eq!(itself.message, "the tasks wait for each other: a -> a");
        assert_eq!(itself.code, "cycle");
        let around = said(&[("x", &["a"]), ("a", &["b", "old"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(around.message, "the tasks wait for each other: a -> b -> c -> a");
        let mut parts = tasks(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]);
        parts[0].parent = Some("c".into());
        let whole = check_order(&parts).unwrap_err().detail.message;
        assert_eq!(whole, "the tasks wait for each other: a -> b -> c -> a");
        // Two ways to the same task are no cycle, and a chain may be as long as a request.
        let diamond = tasks(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert_eq!(check_order(&diamond), Ok(()));
        let link = |number: u32| NewTask {
            key: Some(number.to_string()),
            after: vec![(number + 1).to_string()],
            ..task()
        };
        let chain: Vec<_> = (0..100_000).map(link).collect();
        assert_eq!(check_order(&chain), Ok(()));
    }

    #[test]
    fn one_key_names_one_task() {
        let with = |key: Option<&str>, unique: Option<&str>| NewTask {
            key: key.map(str::to_owned),
            unique: unique.map(str::to_owned),
            ..task()
        };
        let refused = |tasks: &[NewTask]| check_keys(tasks).unwrap_err().detail.message;
        assert_eq!(
            refused(&[with(Some("a"), None), with(None, None), with(Some("a"), None)]),
            "task 3 ('a'): another task has the key 'a'"
        );
        assert_eq!(
            refused(&[with(None, Some("u")), with(None, Some("u"))]),
            "task 2: another task has the unique key 'u'"
        );
        assert!(check_keys(&[with(Some("a"), Some("a")), with(None, None)]).is_ok());
    }
}
