//! The same in what comes beside the order of tasks: schedules, files, parts.

use journeyman_domain::status::Status;
use sqlx::Executor as _;

use super::scene::{Held, Scene, short_lease};
use crate::queue::invariants::assert_drained;
use crate::recovery::scene::{CHECK, GATED, QUICK, open, row, wait, wait_at_gate};
use crate::support::{Ran, wait_until};

fn add(scene: &Scene, options: &[&str]) -> String {
    let repo = scene.repository.to_str().unwrap();
    let fixed = ["task", "add", "--json", "--repo", repo];
    let added = scene.home.run(&[&fixed[..], options].concat()).ok().json();
    added["tasks"][0]["id"].as_str().unwrap().to_owned()
}

fn state(scene: &Scene, task: &str) -> Status {
    row(&scene.home, task).status
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_addition_of_a_task_by_the_clock() {
    let mut scene = Scene::new().await;
    let repo = scene.repository.to_str().unwrap().to_owned();
    let schedule = ["schedule", "add", "nightly", "--cron", "@daily", "--driver", "none"];
    scene.home.run(&[&schedule[..], &["--repo", &repo, "Tidy"]].concat()).ok();
    let mut daemon = scene.home.up_with(short_lease);
    scene.hold(&Held::Table("audit_events"));
    let late = "UPDATE task_schedules SET next_at = now() - interval '1 hour'";
    wait(scene.looker.execute(late)).unwrap();
    scene.kill_at("WITH new AS (SELECT * FROM unnest", &mut daemon);
    assert_eq!(scene.count_tasks(), 0);
    let schedule = || wait(scene.home.store().schedules().find("nightly")).unwrap();
    assert_eq!((schedule().last_at, schedule().last_task_id), (None, None), "undone as a whole");
    let mut next = scene.home.up_with(short_lease);
    wait_until("its time is dealt with", || schedule().last_at.is_some());
    let task = schedule().last_task_id.unwrap().to_string();
    wait_until("it is done", || state(&scene, &task) == Status::Completed);
    assert_eq!((scene.count_tasks(), next.stop()), (1, 0));
    wait(assert_drained(&mut scene.looker));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_end_of_a_run_whose_files_another_one_waits_for() {
    let mut scene = Scene::new().await;
    let mut daemon = scene.home.up_with(short_lease);
    let options = ["--check", CHECK, "--files", "note.txt", "Write two", "--command"];
    let first = add(&scene, &[&options[..], &[GATED]].concat());
    let tree = wait_at_gate(&scene.home, &scene.home.data(), &first);
    let second = add(&scene, &[&options[..], &[QUICK]].concat());
    wait_until("it waits for the files", || state(&scene, &second) == Status::Waiting);
    scene.hold(&Held::Task(second.parse().unwrap()));
    open(&tree);
    scene.kill_at("WITH first AS (SELECT id FROM tasks WHERE id = ANY", &mut daemon);
    let states = [state(&scene, &first), state(&scene, &second)];
    assert_eq!(states, [Status::Running, Status::Waiting], "its end is undone as a whole");
    let mut next = scene.home.up_with(short_lease);
    for task in [&first, &second] {
        wait_until("it is done", || state(&scene, task) == Status::Completed);
        assert_eq!(row(&scene.home, task).attempts, 1);
    }
    assert_eq!(next.stop(), 0);
    wait(assert_drained(&mut scene.looker));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_addition_and_the_cancellation_of_parts() {
    let mut scene = Scene::new().await;
    // Nobody can work on them while no agent is active.
    wait(scene.looker.execute("UPDATE codegen_agents SET is_active = false")).unwrap();
    let parent = add(&scene, &["Whole"]);
    let mut daemon = scene.home.up_with(short_lease);
    let repo = scene.repository.to_str().unwrap().to_owned();
    let part = ["task", "add", "--repo", &repo, "--parent", &parent, "Part"];
    scene.hold(&Held::Table("task_dependencies"));
    let adding = scene.spawn(&part);
    scene.kill_at("INSERT INTO task_dependencies", &mut daemon);
    assert_eq!(Ran::from(adding.wait_with_output().unwrap()).code, 1);
    assert_eq!((scene.count_tasks(), state(&scene, &parent)), (1, Status::Ready));

    let mut daemon = scene.home.up_with(short_lease);
    scene.home.run(&part).ok();
    let part = scene.home.task("latest")["id"].as_str().unwrap().to_owned();
    assert_eq!(state(&scene, &parent), Status::Waiting);
    scene.hold(&Held::Task(part.parse().unwrap()));
    let cancelling = scene.spawn(&["task", "cancel", &parent]);
    scene.kill_at("UPDATE tasks SET updated_at = now(), cancel_requested_at", &mut daemon);
    assert_eq!(Ran::from(cancelling.wait_with_output().unwrap()).code, 1);
    let states = [state(&scene, &parent), state(&scene, &part)];
    assert_eq!(states, [Status::Waiting, Status::Ready], "all of them, or none");
    scene.home.run(&["task", "cancel", &parent]).ok();
    let states = [state(&scene, &parent), state(&scene, &part)];
    assert_eq!(states, [Status::Cancelled, Status::Cancelled]);
}
