//! Lists find by each filter what a look at every row would find, page by page.

use journeyman_domain::ids::TaskId;
use journeyman_domain::status::{Priority, Status, WaitingFor};
use journeyman_store::{NewCodebase, NewTask, NodeKind, Store, Task, TaskFilter};

use super::{ACTING, LEASE, claim, database, finish, node};

/// Tasks in many states, of two codebases, with seldom wishes.
async fn fill(store: &Store) {
    let mut codebases = Vec::new();
    for name in ["/one", "/two"] {
        let new = NewCodebase { local_path: name, name, default_branch: None, language: None };
        codebases.push(store.codebases().register(&ACTING, &new).await.unwrap().id);
    }
    let reviewer = store.agents().find("Code Reviewer").await.unwrap().id;
    let mut tasks: Vec<NewTask> = (0..60)
        .map(|n| NewTask {
            codebase_id: Some(codebases[n % 2]),
            priority: if n % 7 == 0 { Priority::High } else { Priority::Normal },
            agent_id: (n % 5 == 0).then_some(reviewer),
            driver: (n % 4 == 0).then(|| "none".to_owned()),
            ..NewTask::new(n.to_string())
        })
        .collect();
    let parent = tasks[1].id;
    for task in &mut tasks[40..45] {
        task.parent_task_id = Some(parent);
    }
    let after: Vec<TaskId> = tasks[..2].iter().map(|task| task.id).collect();
    let batch: Vec<_> = tasks
        .into_iter()
        .enumerate()
        .map(|(n, task)| (task, if n > 54 { after.clone() } else { vec![] }))
        .collect();
    store.tasks().insert_many(&ACTING, &batch).await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let done = store.queue().claim_batch(&ACTING, mine, LEASE).await.unwrap().unwrap();
    store.queue().complete_batch(&ACTING, mine, &done).await.unwrap();
    let ten = journeyman_store::ClaimRequest { limit: 10, ..super::request(mine) };
    let claims = store.queue().claim(&ACTING, &ten).await.unwrap();
    for (claim, end) in claims.iter().zip([Status::Completed, Status::Failed, Status::Completed]) {
        finish(store, claim, end).await;
    }
    store.tasks().request_cancel(&ACTING, batch[53].0.id).await.unwrap();
    // Claimed and not ended yet: they are ready all the same.
    store.queue().claim_batch(&ACTING, mine, LEASE).await.unwrap();
    assert!(claim(store, mine).await.len() > 10);
}

fn fits(task: &Task, filter: &TaskFilter) -> bool {
    filter.status.is_none_or(|status| task.status == status)
        && filter.waiting_for.is_none_or(|reason| task.waiting_for == Some(reason))
        && filter.codebase.is_none_or(|id| task.codebase_id == Some(id))
        && filter.parent.is_none_or(|id| task.parent_task_id == Some(id))
        && filter.priority.is_none_or(|priority| task.priority == priority)
        && filter.agent.is_none_or(|id| task.agent_id == Some(id))
}

async fn pages(store: &Store, filter: &TaskFilter) -> Vec<TaskId> {
    let mut filter = TaskFilter { limit: 3, ..filter.clone() };
    let mut found = Vec::new();
    loop {
        let (page, next) = store.tasks().list(&filter).await.unwrap();
        found.extend(page.iter().map(|task| task.id));
        filter.cursor = next;
        if next.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn each_filter_alone_and_with_a_state() {
    let database = database().await;
    let store = database.store();
    fill(store).await;
    let everything = TaskFilter { limit: 1000, ..TaskFilter::default() };
    let (all, _) = store.tasks().list(&everything).await.unwrap();
    assert_eq!(all.len(), 60);
    let parent = all.iter().find_map(|task| task.parent_task_id).unwrap();
    let agent = all.iter().find_map(|task| task.agent_id).unwrap();
    let seldom = [
        TaskFilter::default(),
        TaskFilter { codebase: all[0].codebase_id, ..TaskFilter::default() },
        TaskFilter { parent: Some(parent), ..TaskFilter::default() },
        TaskFilter { priority: Some(Priority::High), ..TaskFilter::default() },
        TaskFilter { priority: Some(Priority::Normal), ..TaskFilter::default() },
        TaskFilter { agent: Some(agent), ..TaskFilter::default() },
        TaskFilter { waiting_for: Some(WaitingFor::Dependency), ..TaskFilter::default() },
    ];
    let states =
        [Status::Ready, Status::Completed, Status::Failed, Status::Running, Status::Waiting];
    let states = std::iter::once(None).chain(states.map(Some));
    let mut several = 0;
    for status in states {
        for filter in &seldom {
            let filter = TaskFilter { status, ..filter.clone() };
            let expected: Vec<TaskId> =
                all.iter().filter(|task| fits(task, &filter)).map(|task| task.id).collect();
            assert_eq!(pages(store, &filter).await, expected, "{filter:?}");
            several += usize::from(expected.len() > 3);
        }
    }
    assert!(several > 12, "hardly anything was found: {several}");
}
