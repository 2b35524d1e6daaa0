//! Tasks whose files could be the same do not run at the same time, on whatever node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use journeyman_domain::ids::{CodebaseId, TaskId};
use journeyman_domain::status::{Priority, Status, WaitingFor};
use journeyman_store::{Claim, ClaimRequest, Finish, NewCodebase, NewTask, NodeKind, Store};

use super::graphs::Random;
use super::invariants::assert_holds;
use super::{ACTING, after, claim, database, finish, node, request, status, titles};

const LOCKED: (Status, Option<WaitingFor>) = (Status::Waiting, Some(WaitingFor::Lock));
const READY: (Status, Option<WaitingFor>) = (Status::Ready, None);

async fn codebase(store: &Store, name: &str) -> CodebaseId {
    let new = NewCodebase { local_path: name, name, default_branch: None, language: None };
    store.codebases().register(&ACTING, &new).await.unwrap().id
}

fn task(codebase: CodebaseId, title: &str, globs: &[&str]) -> NewTask {
    let files = globs.iter().map(|glob| (*glob).to_owned()).collect();
    NewTask { codebase_id: Some(codebase), files, ..NewTask::new(title) }
}

async fn add(store: &Store, tasks: &[NewTask]) -> Vec<TaskId> {
    let batch: Vec<_> = tasks.iter().map(|task| (task.clone(), vec![])).collect();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    tasks.iter().map(|task| task.id).collect()
}

async fn states(store: &Store, tasks: &[TaskId]) -> Vec<(Status, Option<WaitingFor>)> {
    let mut states = Vec::new();
    for task in tasks {
        states.push(status(store, *task).await);
    }
    states
}

#[tokio::test]
async fn what_meets_a_holder_waits_for_its_end_and_goes_on_in_order() {
    let database = database().await;
    let store = database.store();
    let (one, other) = (codebase(store, "/one").await, codebase(store, "/other").await);
    let urgent = |task: NewTask| NewTask { priority: Priority::Urgent, ..task };
    let ids = add(
        store,
        &[
            task(one, "parser", &["src/parser"]),
            task(one, "lexer", &["src/parser/lexer.rs"]),
            urgent(task(one, "everything", &["**"])),
            task(one, "without", &[]),
            task(other, "elsewhere", &["src/parser"]),
        ],
    )
    .await;
    let mine = node(store, NodeKind::Daemon).await;
    let first = claim(store, mine).await;
    assert_eq!(titles(&first), ["everything", "without", "elsewhere"]);
    assert_eq!(states(store, &ids[..2]).await, [LOCKED, LOCKED]);
    let files = store.tasks().files(ids[1]).await.unwrap().unwrap();
    assert_eq!(
        (files.globs, files.waits_for),
        (vec!["src/parser/lexer.rs".to_owned()], Some(ids[2]))
    );
    assert_eq!(claim(store, mine).await, []);

    // Put aside, it still holds them: its change is not delivered yet.
    let everything = &first[0];
    let paused = Finish::new(Status::Paused, after(Status::Paused));
    store.queue().finish(&ACTING, everything.fence().unwrap(), &paused).await.unwrap();
    assert_eq!(states(store, &ids[..2]).await, [LOCKED, LOCKED]);
    store.tasks().request_cancel(&ACTING, everything.task.id).await.unwrap();
    assert_eq!(states(store, &ids[..2]).await, [READY, READY]);
    let second = claim(store, mine).await;
    assert_eq!(titles(&second), ["parser"]);
    assert_eq!(states(store, &ids[1..2]).await, [LOCKED]);
    finish(store, &second[0], Status::Completed).await;
    assert_eq!(titles(&claim(store, mine).await), ["lexer"]);

    // Tried again, it must ask for its files anew.
    store.tasks().retry(&ACTING, everything.task.id).await.unwrap();
    assert_eq!(claim(store, mine).await, []);
    assert_eq!(status(store, everything.task.id).await, LOCKED);
}

#[tokio::test]
async fn whoever_is_cancelled_held_or_tried_again_nobody_waits_for_nobody() {
    let database = database().await;
    let store = database.store();
    let codebase = codebase(store, "/one").await;
    let mine = node(store, NodeKind::Daemon).await;
    let mut looker = database.connection().await.unwrap();
    for seed in 1..=6_u64 {
        let mut random = Random(seed);
        let tasks: Vec<NewTask> = (0..14)
            .map(|n| {
                let globs = [["a", "b"], ["a", "c"], ["b", "d"], ["**", "a"]][random.below(4)];
                task(codebase, &format!("{seed}-{n}"), &globs)
            })
            .collect();
        let ids = add(store, &tasks).await;
        for _ in 0..80 {
            let one = ids[random.below(ids.len())];
            // What cannot be done to it in its state is refused, and that is all.
            match random.below(5) {
                0 => drop(store.tasks().request_cancel(&ACTING, one).await),
                1 => drop(store.tasks().pause(&ACTING, one).await),
                2 => drop(store.tasks().resume(&ACTING, one, None, None).await),
                3 => drop(store.tasks().retry(&ACTING, one).await),
                _ => {
                    let few = ClaimRequest { limit: 3, ..request(mine) };
                    for claim in store.queue().claim(&ACTING, &few).await.unwrap() {
                        let end = [Status::Completed, Status::Failed, Status::Cancelled];
                        finish(store, &claim, end[random.below(3)]).await;
                    }
                }
            }
            assert_holds(&mut looker).await;
        }
        for id in &ids {
            drop(store.tasks().request_cancel(&ACTING, *id).await);
        }
        while !claim(store, mine).await.is_empty() {}
        assert_holds(&mut looker).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_nodes_never_let_two_of_them_run_at_once() {
    let database = database().await;
    let store = database.store();
    let codebase = codebase(store, "/one").await;
    let globs: Vec<String> = (0..40).map(|n| format!("f{}", n % 4)).collect();
    let tasks: Vec<NewTask> =
        globs.iter().map(|glob| task(codebase, glob, &[glob.as_str()])).collect();
    add(store, &tasks).await;
    let (running, ended) =
        (Arc::new(std::sync::Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, running, ended) = (store.clone(), Arc::clone(&running), Arc::clone(&ended));
        nodes.spawn(async move {
            let mine = node(&store, NodeKind::Daemon).await;
            while ended.load(Ordering::Relaxed) < 40 {
                let few = ClaimRequest { limit: 2, ..request(mine) };
                let claims: Vec<Claim> = store.queue().claim(&ACTING, &few).await.unwrap();
                for claim in &claims {
                    let is_alone = running.lock().unwrap().insert(claim.task.title.clone());
                    assert!(is_alone, "{} is worked on twice at once", claim.task.title);
                }
                tokio::task::yield_now().await;
                for claim in &claims {
                    assert!(running.lock().unwrap().remove(&claim.task.title));
                    finish(&store, claim, Status::Completed).await;
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    tokio::time::timeout(std::time::Duration::from_mins(1), nodes.join_all()).await.unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 40);
}
