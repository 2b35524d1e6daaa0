//! The eight lines of the durability contract. Each is shown twice: it holds, and it does not where its mechanism is
//! taken out, so that what shows it is no test that cannot fail.

use std::time::Duration;

use journeyman_chaos::judge::Findings;
use journeyman_chaos::scenario::Outcome;
use journeyman_domain::schedule::TaskAfter;
use journeyman_domain::status::Status;
use journeyman_faults::{Mechanism, take_out};
use journeyman_store::{
    Acting, ClaimRequest, Finish, Here, NewCodebase, NewNode, NewStep, NewTask, NodeKind, Store,
    StoreError, TakeOverRequest,
};
use journeyman_testkit::database::TestDatabase;
use uuid::Uuid;

use super::{play, program};

/// The ends of a life at a half of a point, as `--ends` takes them, after so many whole lives.
fn ends(lives: usize, point: &str, after: bool, nth: u32) -> String {
    let end = format!(r#"{{"point":{{"point":"{point}","after":{after},"nth":{nth}}}}}"#);
    let whole = "null,".repeat(lives);
    format!("[{whole}{end}]")
}

/// The findings of scenarios of a play, with all mechanisms and with one out.
#[track_caller]
fn with_and_without(
    mechanism: Mechanism,
    kind: &str,
    play_name: &str,
    ends: &[String],
    more: &[&str],
) -> (Vec<Outcome>, Vec<Outcome>) {
    let mut arguments = vec!["--kind", kind, "--play", play_name];
    arguments.extend(ends.iter().flat_map(|ends| ["--ends", ends.as_str()]));
    arguments.extend(more);
    let with = play(&arguments);
    arguments.extend(["--without", mechanism.name()]);
    (with, play(&arguments))
}

/// Clean with it, and with something wrong where it is out.
#[track_caller]
fn is_needed((with, without): (Vec<Outcome>, Vec<Outcome>), wrong: impl Fn(&Findings) -> bool) {
    for outcome in &with {
        assert!(outcome.findings.is_empty(), "{outcome:#?}");
    }
    assert!(without.iter().any(|outcome| wrong(&outcome.findings)), "{without:#?}");
}

#[test]
fn line_1_every_task_goes_on_after_a_restart() {
    let ends = [ends(1, "workspace.snapshot", false, 2)];
    let played =
        with_and_without(Mechanism::TakeOver, "inside", "command", &ends, &["--patience", "20"]);
    is_needed(played, |findings| !findings.lost.is_empty());
}

#[test]
fn line_2_a_journaled_answer_is_never_asked_for_again() {
    let ends: Vec<String> = (4..8).map(|nth| ends(0, "journal.append", true, nth)).collect();
    let played = with_and_without(Mechanism::JournaledAnswers, "inside", "model", &ends, &[]);
    is_needed(played, |findings| !findings.repeated.is_empty());
}

#[test]
fn line_3_the_workspace_is_what_the_journal_says() {
    let ends: Vec<String> = (1..6).map(|nth| ends(1, "process.run", true, nth)).collect();
    let played = with_and_without(Mechanism::Restore, "inside", "command", &ends, &[]);
    is_needed(played, |findings| !findings.divergent.is_empty());
}

#[test]
fn line_4_no_external_effect_happens_twice() {
    // The forge has opened the second pull request, and nobody knows: after two branches, a request whose answer it lost,
    // and one that it refused, until the user had it sent again.
    let ends = [ends(0, "outbox.act", true, 5)];
    let played = with_and_without(
        Mechanism::Reconciliation,
        "inside",
        "forge",
        &ends,
        &["--without-from", "1", "--patience", "20"],
    );
    assert!(played.0.iter().all(|outcome| outcome.kills == 1), "{:#?}", played.0);
    is_needed(played, |findings| {
        findings.duplicated.iter().any(|found| found.contains("pull requests of"))
    });
}

#[test]
fn line_5_no_process_of_an_earlier_life_is_alive() {
    // The program has left its process behind by then.
    let ends = [r#"[{"moment":{"ms":4000}}]"#.to_owned()];
    let played =
        with_and_without(Mechanism::Reaping, "daemon", "detached", &ends, &["--no-namespaces"]);
    let alive = |findings: &Findings| findings.orphans.iter().any(|one| one.starts_with("process"));
    for outcome in &played.0 {
        assert!(outcome.kills == 1 && !alive(&outcome.findings), "{outcome:#?}");
    }
    assert!(played.1.iter().any(|outcome| alive(&outcome.findings)), "{:#?}", played.1);
}

#[test]
fn line_7_the_audit_has_no_gap() {
    let played = with_and_without(Mechanism::Audit, "inside", "command", &["[]".to_owned()], &[]);
    is_needed(played, |findings| !findings.audit.is_empty());
}

#[test]
fn line_8_what_makes_no_step_is_parked() {
    let end = r#"{"point":{"point":"process.spawn","after":false,"nth":1}}"#;
    let ends = [format!("[null,{}]", [end; 5].join(","))];
    let (with, without) =
        with_and_without(Mechanism::Parking, "inside", "command", &ends, &["--reclaims", "3"]);
    let parks = |outcome: &Outcome| {
        outcome.findings.divergent.iter().any(|one| one.contains("state: \"parked\""))
    };
    assert!(with.iter().all(parks), "{with:#?}");
    assert!(without.iter().all(|outcome| outcome.findings.is_empty()), "{without:#?}");
}

const ACTING: Acting<'static> = Acting { actor: "test", trace: None };
const LEASE: Duration = Duration::from_mins(1);

async fn node(store: &Store, name: &str) -> journeyman_domain::ids::NodeId {
    let id = journeyman_domain::ids::NodeId::from_uuid(Uuid::now_v7());
    let new = NewNode {
        id,
        kind: NodeKind::Daemon,
        pid: 1,
        here: Here { boot_id: "boot", data_id: Uuid::nil() },
        host: "host",
        data_dir: name,
        only_task: None,
    };
    store.nodes().register(&ACTING, &new).await.unwrap();
    id
}

/// Whether something was written; refused is only what an owner may not write any more.
#[track_caller]
fn is_written<T>(written: Result<T, StoreError>) -> bool {
    match written {
        Ok(_) => true,
        Err(StoreError::Fenced) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Whether an owner whose lease was taken over can write a step, and the end.
async fn stale_owner_writes() -> (bool, bool) {
    let database = TestDatabase::new().await.unwrap();
    let store = database.store();
    let codebase =
        NewCodebase { name: "c", local_path: "/c", default_branch: None, language: None };
    let codebase = store.codebases().register(&ACTING, &codebase).await.unwrap();
    let (first, second) = (node(store, "first").await, node(store, "second").await);
    let task = NewTask { codebase_id: Some(codebase.id), ..NewTask::new("t") };
    store.tasks().insert(&ACTING, &task, &[]).await.unwrap();
    let request = ClaimRequest {
        node_id: first,
        limit: 1,
        max_concurrent: 10,
        only_task: None,
        agents: None,
        lease: Duration::ZERO,
    };
    let claims = store.queue().claim(&ACTING, &request).await.unwrap();
    let claim = &claims[0];
    let fence = claim.fence().unwrap();
    let request = TakeOverRequest {
        node_id: second,
        limit: 1,
        only_task: None,
        lease: LEASE,
        max_reclaims: 3,
    };
    let taken = store.queue().take_over(&ACTING, &request).await.unwrap();
    assert_eq!(taken.taken.len(), 1);
    let step = NewStep { kind: "approved", payload: serde_json::json!({}), ..NewStep::default() };
    let appended = store.journal().append(fence, claim.run.id, &step).await;
    let status = Status::Completed;
    let after = TaskAfter { status, waiting_for: None, wake_in_ms: None, error: None };
    let finish = Finish::new(status, after);
    let finished = store.queue().finish(&ACTING, fence, &finish).await;
    (is_written(appended), is_written(finished))
}

/// The only one that takes something out of this process: what the others play is played by others.
#[tokio::test]
async fn line_6_a_stale_owner_cannot_write() {
    journeyman_testkit::database::init(program());
    assert_eq!(stale_owner_writes().await, (false, false));
    take_out(Mechanism::Fence, true);
    assert_eq!(stale_owner_writes().await, (true, true));
    take_out(Mechanism::Fence, false);
}
