//! What the runtime makes of work that is not done, and what its failure reports remember.

use std::path::{Path, PathBuf};

use journeyman_domain::failure::ErrorClass;
use journeyman_domain::ids::{ErrorReportId, RunId, TaskId};
use journeyman_domain::status::Priority;
use journeyman_store::{Acting, ErrorFilter, ErrorReport, NewErrorReport};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Home, Ran, git, wait_until};

fn notes(home: &Home, settings: &str) -> PathBuf {
    home.repository("notes", &[("note.txt", "one\n"), (".journeyman.toml", settings)])
}

fn run(home: &Home, repository: &Path, command: &str, check: &str) -> Ran {
    let path = repository.to_str().unwrap();
    home.run(&["run", "--json", "--repo", path, "--command", command, "--check", check, "Do it"])
}

async fn reports(home: &Home) -> Vec<ErrorReport> {
    home.store().errors().list(&ErrorFilter::default()).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_completes_nothing() {
    let home = Home::new().await;
    let repository = notes(&home, "");
    let ran = run(&home, &repository, "no-such-program {prompt}", "true");
    assert_eq!(ran.code, 1, "{ran:?}");
    let task = ran.json();
    assert_eq!((&task["status"], &task["verified"]), (&"failed".into(), &false.into()), "{task}");
    let error = task["error"].as_str().unwrap();
    assert!(error.starts_with("no-such-program ended with exit code 127"), "{error}");
    assert_eq!(git(&repository, &["branch", "--list"]), "* main");
    // Nothing to do is something else.
    let idle = run(&home, &repository, "true", "true").ok().json();
    assert_eq!((&idle["status"], &idle["verified"]), (&"completed".into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_program_refuses_has_its_category_too() {
    let home = Home::new().await;
    let repository = notes(&home, "forbidden = ['note.txt']\nrounds = 1\n");
    let ran = run(&home, &repository, "sh -c 'echo two >> note.txt'", "true");
    assert_eq!(ran.code, 1, "{ran:?}");
    let errors = ran.json()["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 1, "{errors}");
    assert_eq!(errors[0]["category"], "agent.false_success");
    let report = &reports(&home).await[0];
    assert_eq!(report.error_message, "note.txt is changed, which the repository forbids");
}

/// Two identical failures forbid a third attempt, also when the runtime died between them.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_before_a_crash_still_counts() {
    let home = Home::new().await;
    let repository = notes(&home, "rounds = 3\n");
    let program = "sh -c 'echo two >> note.txt; test \"$JOURNEYMAN_ROUND\" = 1 || \
                   until [ -e gate ]; do sleep 0.02; done; rm -f gate'";
    let mut first = home.up();
    let path = repository.to_str().unwrap();
    let check = "echo 'error[E0308]: mismatched types'; exit 1";
    let added =
        ["task", "add", "--json", "--repo", path, "--command", program, "--check", check, "Do it"];
    let task = home.run(&added).ok().json()["tasks"][0]["id"].as_str().unwrap().to_owned();
    let id: TaskId = task.parse().unwrap();
    let kinds = || {
        let steps = wait(home.store().journal().tail(id, None, 1000)).unwrap();
        steps.into_iter().map(|step| step.kind).collect::<Vec<_>>()
    };
    let count = |kind: &str| kinds().iter().filter(|other| *other == kind).count();
    wait_until("the second round acts", || count("tool_intent") == 2);
    first.kill();
    let _second = home.up();
    let run = wait(home.store().runs().of_task(id)).unwrap()[0].id;
    let gate = home.data().join("runs").join(run.to_string()).join("tree/gate");
    wait_until("the task ended", || {
        // Recovery makes the tree anew, so the gate may have to be opened again.
        let _ = std::fs::write(&gate, "");
        home.task(&task)["status"] == "failed"
    });
    assert_eq!((count("verification"), count("round_started")), (2, 1), "{:?}", kinds());
    let mut told: Vec<_> = reports(&home)
        .await
        .into_iter()
        .map(|report| (report.category.unwrap(), report.error_context["round"].clone()))
        .collect();
    told.sort_by_key(|(_, round)| round.as_u64());
    let category = "build.type".to_owned();
    assert_eq!(told, [(category.clone(), json!(1)), (category, json!(2))]);
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

#[tokio::test]
async fn a_failure_is_reported_once_and_the_newest_is_first() {
    let home = Home::new().await;
    let acting = Acting::now("test");
    let run = RunId::from_uuid(Uuid::now_v7());
    let report = |round: u32| NewErrorReport {
        id: ErrorReportId::derived(run, round, "cargo test", "f"),
        codebase_id: None,
        task_id: None,
        run_id: None,
        error_type: ErrorClass::LogicError,
        category: "test.assertion".into(),
        fingerprint: "f".into(),
        fingerprint_group: None,
        error_code: None,
        error_message: format!("round {round}"),
        severity: Priority::Normal,
        source_type: None,
        source_location: None,
        error_context: json!({ "round": round }),
    };
    let errors = home.store().errors();
    for round in 1..=6 {
        errors.record(&acting, &report(round)).await.unwrap();
    }
    let first = errors.get(report(1).id).await.unwrap();
    let again = NewErrorReport { error_message: "other words".into(), ..report(1) };
    assert_eq!(errors.record(&acting, &again).await.unwrap(), first);

    // Pages follow the time, whatever the ids are.
    let mut told = Vec::new();
    let mut filter = ErrorFilter { limit: 4, ..ErrorFilter::default() };
    loop {
        let (page, next) = errors.list(&filter).await.unwrap();
        told.extend(page.into_iter().map(|report| report.error_message));
        filter.cursor = next;
        if filter.cursor.is_none() {
            break;
        }
    }
    let newest_first: Vec<_> = (1..=6).rev().map(|round| format!("round {round}")).collect();
    assert_eq!(told, newest_first);
    let similar = errors.similar("f", 1).await.unwrap();
    assert_eq!(similar[0].error_message, "round 6");
    let earlier: Vec<_> = (1..=5).rev().map(|round| report(round).id).collect();
    assert_eq!(similar[0].similar_errors, earlier);
}
