//! Schedules: a time is dealt with once, whatever is missed, open, or looked at by several nodes.

use chrono::{DateTime, TimeDelta, Utc};
use journeyman_domain::ids::ScheduleId;
use journeyman_domain::status::{Missed, Overlap, Status};
use journeyman_store::{
    Fired, NewCodebase, NewSchedule, NewTask, NodeKind, Schedule, Store, StoreError, TaskFilter,
};

use super::{ACTING, claim, database, finish, node, titles};

async fn new(store: &Store, missed: Missed, overlap: Overlap) -> NewSchedule {
    let one = NewCodebase { local_path: "/one", name: "one", default_branch: None, language: None };
    let codebase_id = store.codebases().register(&ACTING, &one).await.unwrap().id;
    NewSchedule {
        name: "hourly".into(),
        cron: "0 * * * *".into(),
        time_zone: "UTC".into(),
        missed,
        overlap,
        codebase_id,
        task: NewTask { codebase_id: Some(codebase_id), ..NewTask::new("tidy") },
    }
}

/// A schedule whose first time was the third full hour before this one.
async fn three_hours_late(store: &Store, missed: Missed, overlap: Overlap) -> Schedule {
    let new = new(store, missed, overlap).await;
    let first = full_hour(store.now().await.unwrap()) - TimeDelta::hours(2);
    store.schedules().add(&ACTING, &new, first).await.unwrap()
}

fn full_hour(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp() / 3600 * 3600, 0).unwrap()
}

async fn fire(store: &Store) -> Option<Fired> {
    store.schedules().fire(&ACTING).await.unwrap()
}

async fn count(store: &Store) -> usize {
    store.tasks().list(&TaskFilter::default()).await.unwrap().0.len()
}

#[tokio::test]
async fn one_task_makes_up_for_all_missed_times() {
    let database = database().await;
    let store = database.store();
    let schedule = three_hours_late(store, Missed::Once, Overlap::Skip).await;
    let fired = fire(store).await.unwrap();
    assert_eq!((fired.name.as_str(), fired.added.len()), ("hourly", 1));
    assert_eq!(fired.note.as_deref(), Some("2 missed times were left out"));
    assert_eq!(fire(store).await, None);
    let after = store.schedules().find("hourly").await.unwrap();
    let hour = full_hour(after.last_at.unwrap());
    assert_eq!(after.last_at, Some(hour));
    assert_eq!(
        (after.next_at, after.last_task_id),
        (hour + TimeDelta::hours(1), fired.added.first().copied())
    );
    assert_eq!(after.id, schedule.id);
    let mine = node(store, NodeKind::Daemon).await;
    assert_eq!(titles(&claim(store, mine).await), ["tidy"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_nodes_one_adds_the_tasks() {
    let database = database().await;
    let store = database.store();
    three_hours_late(store, Missed::All, Overlap::Allow).await;
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        nodes.spawn(async move { fire(&store).await.map_or(0, |fired| fired.added.len()) });
    }
    assert_eq!(nodes.join_all().await.iter().sum::<usize>(), 3);
    assert_eq!(count(store).await, 3);
}

#[tokio::test]
async fn a_time_is_left_out_while_the_last_task_is_open() {
    let database = database().await;
    let store = database.store();
    let schedule = three_hours_late(store, Missed::All, Overlap::Skip).await;
    let fired = fire(store).await.unwrap();
    assert_eq!(
        (fired.added.len(), fired.note),
        (3, None),
        "missed times do not stand in each other's way"
    );
    rewind(store, schedule.id).await;
    let last = fired.added[2];
    let fired = fire(store).await.unwrap();
    assert_eq!(fired.added, []);
    let open = format!("task {} of the time before had not ended", last.short());
    assert_eq!(fired.note, Some(open.clone()));
    assert_eq!(store.schedules().find("hourly").await.unwrap().note, Some(open));
    let mine = node(store, NodeKind::Daemon).await;
    for claim in claim(store, mine).await {
        finish(store, &claim, Status::Failed).await;
    }
    rewind(store, schedule.id).await;
    let fired = fire(store).await.unwrap();
    assert_eq!((fired.added.len(), fired.note), (1, None));
}

/// Its last full hour is due again.
async fn rewind(store: &Store, id: ScheduleId) {
    let hour = full_hour(store.now().await.unwrap());
    store.schedules().set(&ACTING, id, Status::Active, hour).await.unwrap();
}

#[tokio::test]
async fn one_that_cannot_be_read_rests_and_keeps_no_other_from_its_time() {
    let database = database().await;
    let store = database.store();
    let damaged = three_hours_late(store, Missed::Once, Overlap::Skip).await;
    let sound =
        NewSchedule { name: "sound".into(), ..new(store, Missed::Once, Overlap::Skip).await };
    store.schedules().add(&ACTING, &sound, damaged.next_at + TimeDelta::hours(1)).await.unwrap();
    let mut hand = database.connection().await.unwrap();
    let change = r#"UPDATE task_schedules SET task = '{"priority": "huge"}' WHERE name = 'hourly'"#;
    sqlx::Executor::execute(&mut hand, change).await.unwrap();
    let fired = fire(store).await.unwrap();
    assert_eq!((fired.name.as_str(), fired.added.len()), ("hourly", 0));
    assert!(fired.note.unwrap().starts_with("its task cannot be read"));
    assert_eq!(fire(store).await.unwrap().added.len(), 1);
    assert_eq!(fire(store).await, None);
}

#[tokio::test]
async fn what_rests_adds_nothing_and_a_name_is_taken_once() {
    let database = database().await;
    let store = database.store();
    let schedule = three_hours_late(store, Missed::Skip, Overlap::Skip).await;
    let again = new(store, Missed::Once, Overlap::Skip).await;
    let taken = store.schedules().add(&ACTING, &again, schedule.next_at).await;
    assert!(
        matches!(taken, Err(StoreError::Conflict(said)) if said == "there is a schedule 'hourly'")
    );
    store.schedules().set(&ACTING, schedule.id, Status::Paused, schedule.next_at).await.unwrap();
    assert_eq!(fire(store).await, None);
    store.schedules().set(&ACTING, schedule.id, Status::Active, schedule.next_at).await.unwrap();
    let fired = fire(store).await.unwrap();
    // The last of the three may be less than a minute ago.
    let on_time = usize::from(fired.note.as_deref() == Some("2 missed times were left out"));
    assert_eq!(fired.added.len(), on_time, "{fired:?}");
    store.schedules().remove(&ACTING, &schedule.name).await.unwrap();
    assert_eq!(store.schedules().list().await.unwrap(), []);
}

#[tokio::test]
async fn a_task_that_cannot_be_added_is_a_note_and_the_schedule_goes_on() {
    let database = database().await;
    let store = database.store();
    let mut new = new(store, Missed::Once, Overlap::Allow).await;
    new.task.unique_key = Some("one".into());
    let first = full_hour(store.now().await.unwrap());
    let schedule = store.schedules().add(&ACTING, &new, first).await.unwrap();
    assert_eq!(fire(store).await.unwrap().added.len(), 1);
    rewind(store, schedule.id).await;
    let fired = fire(store).await.unwrap();
    assert_eq!(fired.added, []);
    assert_eq!(fired.note.as_deref(), Some("an unfinished task has the unique key 'one' already"));
    let after = store.schedules().find("hourly").await.unwrap();
    assert!(after.next_at > first && after.status == Status::Active && after.note == fired.note);
    assert_eq!(count(store).await, 1);
}
