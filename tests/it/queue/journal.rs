//! The journal behind its fence, and the children of an execution.

use journeyman_domain::ids::RunId;
use journeyman_domain::status::Status;
use journeyman_store::{
    BlobHash, Claim, Here, LeftBy, ModelCall, NewChild, NewStep, NodeKind, PoolOptions, Store,
    StoreError,
};
use serde_json::json;

use super::{ACTING, EXPIRED, LEASE, add, claim, database, finish, node, take_over};

pub(super) async fn append(store: &Store, claim: &Claim, kind: &str) -> Result<i32, StoreError> {
    let step = NewStep { kind, payload: json!({ "kind": kind }), ..NewStep::default() };
    store.journal().append(claim.fence().unwrap(), claim.run.id, &step).await
}

/// A try of a model call that failed.
fn tried(run_id: RunId) -> ModelCall {
    ModelCall {
        run_id,
        request_seq: 3,
        attempt: 1,
        provider: "local".into(),
        model: "small".into(),
        wire: "openai_chat".into(),
        started_at: chrono::Utc::now(),
        duration_ms: 20,
        first_chunk_ms: Some(5),
        failure_kind: Some("overloaded".into()),
        http_status: Some(529),
        next_attempt_at: Some(chrono::Utc::now()),
        uncached_input_tokens: 7,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        output_tokens: 0,
        reasoning_tokens: 0,
        cost_nanousd: Some(1_000),
        price_version: None,
    }
}

#[tokio::test]
async fn steps_are_numbered_blobs_kept_once_and_stale_owners_refused() {
    let database = database().await;
    let store = database.store();
    let task = add(store, "t", &[]).await;
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let first = claim(store, old).await.remove(0);
    let fence = first.fence().unwrap();
    let output = vec![7; 100_000];
    for seq in 1..=2 {
        let step = NewStep {
            kind: "tool_result",
            payload: json!({ "n": seq }),
            output: Some(&output),
            snapshot_tree: Some("tree"),
            pack: Some(b"pack"),
            call: None,
            effect: None,
            before: &[],
            after: None,
        };
        assert_eq!(store.journal().append(fence, first.run.id, &step).await.unwrap(), seq);
    }
    let hash = BlobHash::of(&output);
    assert_eq!(store.journal().blob(&hash).await.unwrap(), output);
    let mut connection = database.connection().await.unwrap();
    let blobs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM blobs").fetch_one(&mut connection).await.unwrap();
    assert_eq!(blobs, 2);

    store.queue().renew(old, EXPIRED).await.unwrap();
    let taken = take_over(store, new, LEASE).await.taken.remove(0).claim;
    assert!(matches!(append(store, &first, "late").await, Err(StoreError::Fenced)));
    assert_eq!(append(store, &taken, "outcome").await.unwrap(), 3);
    let call = tried(taken.run.id);
    for _ in 0..2 {
        store.calls().record(taken.fence().unwrap(), &call).await.unwrap();
    }
    assert!(matches!(store.calls().record(fence, &call).await, Err(StoreError::Fenced)));
    let answer = ModelCall {
        attempt: 2,
        failure_kind: None,
        http_status: None,
        next_attempt_at: None,
        output_tokens: 5,
        cost_nanousd: Some(250_000_000),
        price_version: Some("1".into()),
        ..call.clone()
    };
    let step = NewStep {
        kind: "model_response",
        payload: json!({}),
        call: Some(&answer),
        ..NewStep::default()
    };
    let late = store.journal().append(fence, first.run.id, &step).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    let seq = store.journal().append(taken.fence().unwrap(), taken.run.id, &step).await.unwrap();
    assert_eq!(seq, 4);
    // Those before come first, in the same transaction, and not at all for a stale owner.
    let before = [("tool_intent", json!({ "n": 1 })), ("tool_result", json!({ "n": 2 }))];
    let last = NewStep { kind: "model_request", before: &before, ..NewStep::default() };
    let late = store.journal().append(fence, first.run.id, &last).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    let seq = store.journal().append(taken.fence().unwrap(), taken.run.id, &last).await.unwrap();
    assert_eq!(seq, 7);
    let tries = store.calls().of_request(taken.run.id, 3).await.unwrap();
    assert_eq!(tries.iter().map(|one| one.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(tries[1].cost_nanousd, answer.cost_nanousd);
    finish(store, &taken, Status::Completed).await;
    assert!(matches!(append(store, &taken, "after").await, Err(StoreError::Fenced)));
    let used = store.runs().used_by_task(task).await.unwrap();
    let cost_usd = 0.250_001;
    assert_eq!((used.usage.output_tokens, used.usage.uncached_input_tokens), (5, 14));
    assert!((used.usage.cost_usd - cost_usd).abs() < 1e-12 && used.is_cost_known);
    assert_eq!(store.runs().get(taken.run.id).await.unwrap().usage, used.usage);
    let totals = store.calls().totals(chrono::Utc::now() - chrono::TimeDelta::hours(1)).await;
    let totals = totals.unwrap();
    assert_eq!((totals[0].answers, totals[0].failures), (1, 1));

    let steps = store.journal().load(first.run.id).await.unwrap();
    let told: Vec<_> =
        steps.iter().map(|step| (step.seq, step.epoch, step.kind.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, 1, "tool_result"),
            (2, 1, "tool_result"),
            (3, 2, "outcome"),
            (4, 2, "model_response"),
            (5, 2, "tool_intent"),
            (6, 2, "tool_result"),
            (7, 2, "model_request")
        ]
    );
    assert_eq!(steps[0].output_blob, Some(hash));
    assert_eq!(steps[0].snapshot_tree.as_deref(), Some("tree"));
    let rest = store.journal().tail(task, Some(steps[1].position()), 10).await.unwrap();
    assert_eq!(rest, steps[2..]);
    assert_eq!(store.journal().tail(task, None, 2).await.unwrap(), steps[..2]);
}

/// Runs that append at once share commits, and each has its own numbers, blobs, bill and fence.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_append_at_once_do_not_disturb_each_other() {
    const RUNS: usize = 24;
    const STEPS: i32 = 40;
    let database = database().await;
    let store = database.store();
    for number in 0..RUNS {
        add(store, &format!("t{number}"), &[]).await;
    }
    let mine = node(store, NodeKind::Daemon).await;
    let claims = claim(store, mine).await;
    assert_eq!(claims.len(), RUNS);
    let runs = claims.into_iter().enumerate().map(|(number, claim)| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut fence = claim.fence().unwrap();
            for step in 1..=STEPS {
                let bytes = format!("output {} of any run", step % 3).into_bytes();
                let call = ModelCall { request_seq: step, ..tried(claim.run.id) };
                let before = [("read", json!({ "of": number, "step": step }))];
                let is_broken = number == 1 && step == 5;
                let text = if is_broken { "\u{0}" } else { "fine" };
                let new = NewStep {
                    kind: "tool_result",
                    payload: json!({ "run": number, "step": step, "text": text }),
                    output: Some(&bytes),
                    snapshot_tree: Some("tree"),
                    pack: None,
                    call: (step % 2 == 0).then_some(&call),
                    effect: None,
                    before: &before,
                    after: Some(2 * (step - 1)),
                };
                if number == 2 && step == 9 {
                    fence.lease_epoch += 1;
                }
                let appended = store.journal().append(fence, claim.run.id, &new).await;
                match appended {
                    Ok(seq) => assert_eq!(seq, 2 * step, "{number}"),
                    // The database takes no NUL in a text; the others do not suffer for it.
                    Err(StoreError::Sql(_)) if is_broken => return (claim, step - 1),
                    Err(StoreError::Fenced) if number == 2 => return (claim, step - 1),
                    Err(error) => panic!("{number} {step}: {error:?}"),
                }
            }
            (claim, STEPS)
        })
    });
    let runs: Vec<_> = runs.collect();
    for (number, run) in runs.into_iter().enumerate() {
        let (claim, steps) = run.await.unwrap();
        assert_eq!(steps, [STEPS, 4, 8].get(number).copied().unwrap_or(STEPS));
        let journal = store.journal().load(claim.run.id).await.unwrap();
        let found: Vec<_> = journal
            .iter()
            .map(|step| (step.seq, step.kind.as_str(), step.payload["step"].as_i64().unwrap()))
            .collect();
        let expected: Vec<_> = (1..=steps)
            .flat_map(|step| {
                let step = i64::from(step);
                let seq = i32::try_from(2 * step).unwrap();
                [(seq - 1, "read", step), (seq, "tool_result", step)]
            })
            .collect();
        assert_eq!(found, expected, "{number}");
        assert!(journal.iter().all(|step| step.output_blob.is_some() == (step.kind != "read")));
        for step in 1..=steps {
            let calls = store.calls().of_request(claim.run.id, step).await.unwrap();
            assert_eq!(calls.len(), usize::from(step % 2 == 0), "{number} {step}");
        }
    }
}

/// An append that meets a take-over waits for it and is then refused, instead of writing under an
/// epoch that is over.
#[tokio::test]
async fn an_append_cannot_slip_past_a_take_over_that_is_under_way() {
    let database = database().await;
    let store = database.store();
    add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let claimed = claim(store, mine).await.remove(0);
    let mut other = database.connection().await.unwrap();
    sqlx::Executor::execute(&mut other, "BEGIN; UPDATE task_executions SET lease_epoch = 2")
        .await
        .unwrap();
    let late = tokio::spawn({
        let (store, claimed) = (store.clone(), claimed.clone());
        async move { append(&store, &claimed, "late").await }
    });
    // Until it waits for the lock.
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND query LIKE '%run_steps%')";
    let mut watcher = database.connection().await.unwrap();
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut watcher).await.unwrap() {
        tokio::task::yield_now().await;
    }
    sqlx::Executor::execute(&mut other, "COMMIT").await.unwrap();
    assert!(matches!(late.await.unwrap(), Err(StoreError::Fenced)));
    assert_eq!(store.journal().load(claimed.run.id).await.unwrap(), []);
}

/// A step that its writer has lost sight of may still be on its way: it is written once, whoever comes first.
#[tokio::test]
async fn what_is_still_on_its_way_is_not_written_a_second_time() {
    let database = database().await;
    let store = database.store();
    add(store, "t", &[]).await;
    let mine = node(store, NodeKind::Daemon).await;
    let claimed = claim(store, mine).await.remove(0);
    let (fence, run) = (claimed.fence().unwrap(), claimed.run.id);
    let step = |after| NewStep { kind: "step", after, ..NewStep::default() };
    let append =
        async |store: &Store, after| store.journal().append(fence, run, &step(Some(after))).await;
    assert_eq!(append(store, 0).await.unwrap(), 1);

    // It stands in a transaction that has not ended; so the second one waits for it, and then finds its number taken.
    let mut other = database.connection().await.unwrap();
    let begun = "BEGIN; INSERT INTO run_steps (run_id, seq, epoch, kind, payload, digest) \
         SELECT run_id, 2, epoch, kind, payload, digest FROM run_steps";
    sqlx::Executor::execute(&mut other, begun).await.unwrap();
    let second = tokio::spawn({
        let (store, step) = (store.clone(), step(Some(1)));
        async move { store.journal().append(fence, run, &step).await }
    });
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND query LIKE '%run_steps%')";
    let mut watcher = database.connection().await.unwrap();
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut watcher).await.unwrap() {
        tokio::task::yield_now().await;
    }
    sqlx::Executor::execute(&mut other, "COMMIT").await.unwrap();
    let second = second.await.unwrap();
    assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");

    // Nor behind it, nor beyond the end; what lies beside it does not come without it.
    for after in [0, 1, 3] {
        let refused = append(store, after).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{after}: {refused:?}");
        let output = format!("output {after}");
        let call = ModelCall { request_seq: 9, ..tried(run) };
        let beside =
            NewStep { output: Some(output.as_bytes()), call: Some(&call), ..step(Some(after)) };
        let refused = store.journal().append(fence, run, &beside).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{after}: {refused:?}");
    }
    assert_eq!(store.calls().of_request(run, 9).await.unwrap(), []);
    let blobs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM blobs").fetch_one(&mut watcher).await.unwrap();
    assert_eq!(blobs, 0);
    assert_eq!(append(store, 2).await.unwrap(), 3);
    // In one flush, each for itself.
    let (good, bad) = tokio::join!(append(store, 3), append(store, 7));
    assert_eq!(good.unwrap(), 4);
    assert!(matches!(bad, Err(StoreError::Conflict(_))), "{bad:?}");
    assert_eq!(store.journal().load(run).await.unwrap().len(), 4);
}

#[tokio::test]
async fn children_of_earlier_epochs_are_known_until_they_end() {
    let database = database().await;
    let store = database.store();
    add(store, "t", &[]).await;
    let (old, new) = (node(store, NodeKind::Daemon).await, node(store, NodeKind::Daemon).await);
    let claimed = claim(store, old).await.remove(0);
    let fence = claimed.fence().unwrap();
    let child = |pid| NewChild {
        id: uuid::Uuid::now_v7(),
        fence,
        run_id: claimed.run.id,
        pid,
        start_time: 99,
        argv_head: "sleep 1",
    };
    let children = store.children();
    let started = [child(10), child(11)];
    for child in &started {
        children.started(&ACTING, child).await.unwrap();
    }
    let second = started[1].id;
    children.ended(&ACTING, started[0].id).await.unwrap();
    let left = async |boot_id: &str, by| {
        let here = Here { boot_id, data_id: uuid::Uuid::max() };
        children.left_over(here, by, 10).await.unwrap()
    };
    assert_eq!(left("boot", LeftBy::OpenRuns).await, [], "its lease is good");
    store.queue().renew(old, EXPIRED).await.unwrap();
    let taken = take_over(store, new, LEASE).await.taken.remove(0).claim;
    let late = children.started(&ACTING, &child(12)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    store.nodes().stop(&ACTING, old).await.unwrap();
    assert_eq!(left("boot", LeftBy::OpenRuns).await, [], "who took it over looks after them");
    store.nodes().stop(&ACTING, new).await.unwrap();
    let open = left("boot", LeftBy::OpenRuns).await;
    assert_eq!(left("boot", LeftBy::EndedRuns).await, []);
    sqlx::query("UPDATE task_executions SET status = 'failed'")
        .execute(&mut database.connection().await.unwrap())
        .await
        .unwrap();
    assert_eq!(left("boot", LeftBy::OpenRuns).await, []);
    for found in [
        children.live_of(taken.execution.id, taken.execution.lease_epoch).await.unwrap(),
        children.live_of_node(old).await.unwrap(),
        open,
        left("boot", LeftBy::EndedRuns).await,
    ] {
        assert_eq!(found.iter().map(|c| (c.id, c.pid)).collect::<Vec<_>>(), [(second, 11)]);
        assert_eq!((found[0].boot_id.as_str(), found[0].start_time), ("boot", 99));
    }
    assert_eq!(left("elsewhere", LeftBy::EndedRuns).await, []);
    children.all_ended(&ACTING, &[second]).await.unwrap();
    assert_eq!(left("boot", LeftBy::EndedRuns).await, []);
}

#[tokio::test]
async fn an_end_that_is_remembered_wrongly_is_looked_for_again_and_none_is_of_another_run() {
    let database = database().await;
    let store = database.store();
    let (one, other) = (add(store, "one", &[]).await, add(store, "other", &[]).await);
    let mine = node(store, NodeKind::Daemon).await;
    let claims = claim(store, mine).await;
    let of = |task| claims.iter().find(|claim| claim.task.id == task).unwrap();
    let (one, other) = (of(one), of(other));
    assert_eq!(append(store, one, "first").await.unwrap(), 1);
    // Who writes under the same fence from elsewhere is not known of here.
    let elsewhere = Store::connect(&database.url(), PoolOptions::default()).await.unwrap();
    assert_eq!(append(&elsewhere, one, "second").await.unwrap(), 2);
    assert_eq!(append(store, one, "third").await.unwrap(), 3);
    assert_eq!(append(&elsewhere, one, "fourth").await.unwrap(), 4);
    // Both in one statement, one of them wrong.
    assert_eq!(append(store, other, "first").await.unwrap(), 1);
    let (fifth, second) = tokio::join!(append(store, one, "fifth"), append(store, other, "second"));
    assert_eq!((fifth.unwrap(), second.unwrap()), (5, 2));
    // A run of another execution is not this one's to write to, known or not.
    let mixed = Claim { run: other.run.clone(), ..one.clone() };
    let refused = append(store, &mixed, "mixed").await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    elsewhere.close().await;
}
