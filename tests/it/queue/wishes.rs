//! What the user wants of a task, retries that come due, and what an end leaves behind.

use journeyman_domain::failure::ErrorClass;
use journeyman_domain::ids::ErrorReportId;
use journeyman_domain::schedule::TaskAfter;
use journeyman_domain::status::{Priority, Status, WaitingFor};
use journeyman_store::audit::AuditFilter;
use journeyman_store::{
    Finish, NewErrorReport, NewResolution, NewTask, NodeKind, StoreError, TASKS_CHANNEL,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    ACTING, LEASE, add, after, claim, database, ended, finish, journal, node, status, titles,
};

fn waiting(reason: WaitingFor, wake_in_ms: Option<u64>) -> TaskAfter {
    TaskAfter {
        status: Status::Waiting,
        waiting_for: Some(reason),
        wake_in_ms,
        error: Some("why".into()),
    }
}

#[tokio::test]
async fn what_is_put_aside_for_approval_goes_on_in_the_same_run() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let first = claim(store, mine).await.remove(0);
    journal::append(store, &first, "started").await.unwrap();
    let aside = Finish::new(Status::Waiting, waiting(WaitingFor::Approval, None));
    store.queue().finish(&ACTING, first.fence().unwrap(), &aside).await.unwrap();
    assert_eq!(status(store, task).await, (Status::Waiting, Some(WaitingFor::Approval)));
    assert_eq!(claim(store, mine).await, []);
    let approved = store.tasks().approve(&ACTING, task).await.unwrap();
    assert!(approved.approved_at.is_some() && approved.status == Status::Ready);
    let again = store.tasks().approve(&ACTING, task).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");

    let second = claim(store, mine).await.remove(0);
    assert_eq!((second.run.id, second.execution.id), (first.run.id, first.execution.id));
    assert_eq!((second.execution.lease_epoch, second.task.attempts), (2, 1));
    assert_eq!((second.run.status, second.execution.status), (Status::Running, Status::Running));
    assert!(matches!(journal::append(store, &first, "x").await, Err(StoreError::Fenced)));
    assert_eq!(journal::append(store, &second, "approved").await.unwrap(), 2);
}

#[tokio::test]
async fn a_running_task_hears_of_pause_and_cancel_when_its_lease_is_renewed() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let dependant = add(store, "after", &[task]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let first = claim(store, mine).await.remove(0);
    store.tasks().pause(&ACTING, task).await.unwrap();
    let held = store.queue().renew(mine, LEASE).await.unwrap();
    assert_eq!((held[0].pause_requested, held[0].cancel_requested), (true, false));
    let paused = Finish::new(Status::Paused, after(Status::Paused));
    store.queue().finish(&ACTING, first.fence().unwrap(), &paused).await.unwrap();
    assert_eq!(claim(store, mine).await, []);
    store.tasks().resume(&ACTING, task, None, None).await.unwrap();
    let second = claim(store, mine).await.remove(0);
    assert_eq!(second.run.id, first.run.id);

    store.tasks().request_cancel(&ACTING, task).await.unwrap();
    assert!(store.queue().renew(mine, LEASE).await.unwrap()[0].cancel_requested);
    // Its node had decided to wait for a retry: the cancellation is not lost by that.
    let retry = Finish::new(Status::Retrying, waiting(WaitingFor::RetryAt, Some(0)));
    store.queue().finish(&ACTING, second.fence().unwrap(), &retry).await.unwrap();
    assert_eq!(status(store, task).await, (Status::Cancelled, None));
    assert_eq!(
        status(store, dependant).await,
        (Status::Waiting, Some(WaitingFor::Dependency)),
        "what depends on it waits"
    );
    let again = store.tasks().request_cancel(&ACTING, task).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");

    let idle = store.tasks().request_cancel(&ACTING, dependant).await.unwrap();
    assert_eq!(idle.status, Status::Cancelled);
    store.tasks().retry(&ACTING, dependant).await.unwrap();
    assert_eq!(status(store, dependant).await.0, Status::Waiting);
    store.tasks().retry(&ACTING, task).await.unwrap();
    finish(store, &claim(store, mine).await[0], Status::Completed).await;
    assert_eq!(status(store, dependant).await.0, Status::Ready);
}

#[tokio::test]
async fn a_pause_and_its_end_count_whatever_the_run_comes_to_meanwhile() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let first = claim(store, mine).await.remove(0);
    // It was about to wait for another attempt.
    store.tasks().pause(&ACTING, task).await.unwrap();
    let retry = Finish::new(Status::Retrying, waiting(WaitingFor::RetryAt, Some(0)));
    store.queue().finish(&ACTING, first.fence().unwrap(), &retry).await.unwrap();
    assert_eq!(status(store, task).await, (Status::Paused, None));
    assert_eq!(claim(store, mine).await, []);
    store.tasks().resume(&ACTING, task, None, None).await.unwrap();

    // Its run was stopping for the pause when the user thought better of it.
    let second = claim(store, mine).await.remove(0);
    store.tasks().pause(&ACTING, task).await.unwrap();
    store.tasks().resume(&ACTING, task, None, None).await.unwrap();
    let paused = Finish::new(Status::Paused, after(Status::Paused));
    store.queue().finish(&ACTING, second.fence().unwrap(), &paused).await.unwrap();
    assert_eq!(status(store, task).await, (Status::Ready, None));
    assert_eq!(claim(store, mine).await.remove(0).run.id, second.run.id);
}

#[tokio::test]
async fn a_cancelled_task_does_not_keep_an_execution_that_was_put_aside() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let first = claim(store, mine).await.remove(0);
    let aside = Finish::new(Status::Waiting, waiting(WaitingFor::Input, None));
    store.queue().finish(&ACTING, first.fence().unwrap(), &aside).await.unwrap();
    store.tasks().request_cancel(&ACTING, task).await.unwrap();
    store.tasks().retry(&ACTING, task).await.unwrap();
    let second = claim(store, mine).await.remove(0);
    assert_ne!(second.execution.id, first.execution.id);
    let old = store.executions().get(first.execution.id).await.unwrap();
    assert_eq!(old.status, Status::Cancelled);
}

#[tokio::test]
async fn a_retry_is_claimed_when_it_is_due_and_not_before() {
    let database = database().await;
    let store = database.store();
    let mine = node(store, NodeKind::Daemon).await;
    add(store, "soon", &[]).await;
    let late = add(store, "late", &[]).await;
    for (first, delay) in claim(store, mine).await.iter().zip([0, 3_600_000]) {
        let retry = Finish::new(Status::Retrying, waiting(WaitingFor::RetryAt, Some(delay)));
        store.queue().finish(&ACTING, first.fence().unwrap(), &retry).await.unwrap();
    }
    let due = claim(store, mine).await;
    assert_eq!(titles(&due), ["soon"]);
    assert_eq!((due[0].execution.attempt, due[0].task.waiting_for), (2, None));
    store.tasks().retry(&ACTING, late).await.unwrap();
    assert_eq!(titles(&claim(store, mine).await), ["late"]);
}

#[tokio::test]
async fn a_unique_key_stands_for_one_unfinished_task() {
    let database = database().await;
    let store = database.store();
    let keyed = || NewTask { unique_key: Some("nightly".into()), ..NewTask::new("n") };
    let first = keyed();
    store.tasks().insert(&ACTING, &first, &[]).await.unwrap();
    let second = store.tasks().insert(&ACTING, &keyed(), &[]).await;
    assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");
    store.tasks().request_cancel(&ACTING, first.id).await.unwrap();
    store.tasks().insert(&ACTING, &keyed(), &[]).await.unwrap();
    let back = store.tasks().retry(&ACTING, first.id).await;
    assert!(matches!(back, Err(StoreError::Conflict(_))), "{back:?}");
}

#[tokio::test]
async fn an_end_leaves_reports_patterns_an_event_and_a_hint() {
    let database = database().await;
    let store = database.store();
    let mine = node(store, NodeKind::Daemon).await;
    let mut hints = sqlx::postgres::PgListener::connect(&database.url()).await.unwrap();
    hints.listen(TASKS_CHANNEL).await.unwrap();
    let task = add(store, "t", &[]).await;
    assert_eq!(hints.recv().await.unwrap().payload(), task.to_string());
    let report = || NewErrorReport {
        id: ErrorReportId::from_uuid(Uuid::now_v7()),
        codebase_id: None,
        task_id: Some(task),
        run_id: None,
        error_type: ErrorClass::SyntaxError,
        category: "build.compile".into(),
        fingerprint: "f1".into(),
        fingerprint_group: Some("g".into()),
        error_code: Some("rustc:E0425".into()),
        error_message: "cannot find value".into(),
        severity: Priority::High,
        source_type: Some("compilation".into()),
        source_location: Some("cargo build".into()),
        error_context: json!({"exit": 101}),
    };
    let claimed = claim(store, mine).await.remove(0);
    let mut failed = ended(Status::Failed);
    failed.errors = vec![report()];
    failed.verified = Some(false);
    failed.task.error = Some("it does not compile".into());
    let after = store.queue().finish(&ACTING, claimed.fence().unwrap(), &failed).await.unwrap();
    assert_eq!(
        (after.verified, after.error.as_deref()),
        (Some(false), Some("it does not compile"))
    );
    assert!(after.completed_at.is_some());

    let later = store.errors().record(&ACTING, &report()).await.unwrap();
    assert_eq!(later.similar_errors, [failed.errors[0].id]);
    assert_eq!(store.errors().similar("f1", 10).await.unwrap().len(), 2);
    let resolved =
        store.errors().resolve(&ACTING, later.id, "resolved", &json!({"by": "m"})).await.unwrap();
    assert!(resolved.resolved_at.is_some());
    for (result, strategy) in [("success", "a"), ("failure", "b"), ("success", "a")] {
        let details = json!({"first": result});
        let resolution = NewResolution {
            fingerprint: "f1",
            strategy,
            name: "name",
            details: &details,
            task_id: task,
            result,
            feedback: None,
            execution_time_ms: Some(10),
        };
        store.patterns().record_resolution(&ACTING, &resolution).await.unwrap();
    }
    let patterns = store.patterns().resolutions("f1").await.unwrap();
    let figures: Vec<_> = patterns
        .iter()
        .map(|p| (p.pattern_signature["strategy"].as_str().unwrap(), p.usage_count, p.success_rate))
        .collect();
    assert_eq!(figures, [("a", 2, 100.0), ("b", 1, 0.0)]);

    let filter = AuditFilter {
        record: Some(claimed.execution.id.as_uuid()),
        limit: 1,
        ..AuditFilter::default()
    };
    let (entries, _) = store.audit().list(&filter).await.unwrap();
    assert_eq!(entries[0].operation, "EVENT");
    assert_eq!(entries[0].context["event"], "execution_finished");
    assert_eq!(entries[0].context["task_status"], "failed");
}
