//! SIGKILL of a daemon in the middle of each transition of the queue. A lock of ours holds its
//! transaction at a known statement; it is killed there, and the next daemon brings all of it to the
//! end that the domain's own model says.

mod beside;
mod scene;

use journeyman_domain::status::Status;
use sqlx::Executor as _;

use self::scene::{Held, Scene, short_lease};
use super::invariants::assert_drained;
use crate::recovery::scene::{start_with, wait};
use crate::support::{Ran, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn between_the_claim_of_a_batch_and_its_end() {
    let mut scene = Scene::new().await;
    scene.add_graph(None);
    // Its batch is claimed and committed; its end stands at this row.
    scene.hold(&Held::Task(scene.ids["apart"]));
    let mut daemon = scene.home.up_with(short_lease);
    scene.kill_at("DELETE FROM task_leases WHERE id", &mut daemon);
    assert_eq!(scene.leased(), [scene.uuids(["first", "apart"])], "claimed, and not ended");
    assert_eq!(scene.states(), scene.model_states());
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_claim_of_a_batch_whose_answer_nobody_hears() {
    let mut scene = Scene::new().await;
    scene.add_graph(None);
    scene.hold(&Held::Table("audit_events"));
    let mut daemon = start_with(&scene.home, short_lease);
    scene.kill_at("WITH relaxed AS (", &mut daemon);
    // The statement may have committed by itself, when nobody was there any more.
    let leased = scene.leased();
    let both = scene.uuids(["first", "apart"]);
    assert!(leased.is_empty() || leased == [both], "{leased:?}");
    assert_eq!(scene.states(), scene.model_states());
    scene.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_addition_of_tasks_that_wait_for_each_other() {
    let mut scene = Scene::new().await;
    let file = scene.write_graph(None);
    let mut daemon = scene.home.up_with(short_lease);
    scene.hold(&Held::Table("task_dependencies"));
    let adding = scene.spawn(&["task", "add", "--file", &file]);
    scene.kill_at("INSERT INTO task_dependencies", &mut daemon);
    let told = Ran::from(adding.wait_with_output().unwrap());
    assert_eq!((told.code, told.stdout.as_str()), (1, ""), "{told:?}");
    assert_eq!(scene.count_tasks(), 0, "all of them, or none");
    // The same again is no second time.
    scene.add_graph(None);
    scene.finish();
}

/// What waits for nothing is added by one statement, which may commit by itself: the user, who was told
/// of no success, adds the same again, and the unique key keeps it from being there twice.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_addition_of_a_task_whose_answer_nobody_hears() {
    let mut scene = Scene::new().await;
    let mut daemon = scene.home.up_with(short_lease);
    let repo = scene.repository.display().to_string();
    let add =
        ["task", "add", "--repo", &repo, "--driver", "none", "--unique", "nightly", "Nightly"];
    scene.hold(&Held::Table("audit_events"));
    let adding = scene.spawn(&add);
    scene.kill_at("WITH ahead AS MATERIALIZED", &mut daemon);
    let told = Ran::from(adding.wait_with_output().unwrap());
    assert_eq!((told.code, told.stdout.as_str()), (1, ""), "{told:?}");
    let arrived = scene.count_tasks() == 1;
    let again = scene.home.run(&add);
    assert_eq!(again.code, if arrived { 2 } else { 0 }, "{again:?}");
    assert_eq!(again.stderr.contains("has this unique key already"), arrived, "{again:?}");
    let mut next = scene.home.up_with(short_lease);
    wait_until("it is done", || scene.home.task("latest")["status"] == "completed");
    assert_eq!((scene.count_tasks(), next.stop()), (1, 0));
    wait(assert_drained(&mut scene.looker));
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_addition_of_tasks_and_their_claim() {
    let mut scene = Scene::new().await;
    let file = scene.write_graph(Some("echo two >> note.txt"));
    let mut daemon = scene.home.up_with(short_lease);
    // The addition is committed; the claim of its run comes no further than this.
    scene.hold(&Held::Agents);
    scene.home.run(&["task", "add", "--file", &file]).ok();
    scene.kill_at("WITH busy AS (", &mut daemon);
    scene.learn();
    let states = scene.states();
    assert_eq!(states["first"], Status::Ready);
    let executions: i64 = wait(
        sqlx::query_scalar("SELECT count(*) FROM task_executions").fetch_one(&mut scene.looker),
    )
    .unwrap();
    assert_eq!(executions, 0, "the claim is undone as a whole");
    scene.finish();
    scene.first_ran_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_waking_of_a_retry() {
    let mut scene = Scene::new().await;
    scene.add_graph(Some("echo two >> note.txt"));
    wait(scene.looker.execute(
        "UPDATE tasks SET status = 'waiting', waiting_for = 'retry_at', wake_at = now(), \
             updated_at = now() WHERE title IN ('first', 'apart')",
    ))
    .unwrap();
    scene.hold(&Held::Table("ready_tasks"));
    let mut daemon = start_with(&scene.home, short_lease);
    scene.kill_at("WITH fresh AS (SELECT * FROM tasks", &mut daemon);
    let states = scene.states();
    assert_eq!((states["first"], states["apart"]), (Status::Waiting, Status::Waiting));
    scene.finish();
    scene.first_ran_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_end_of_a_run_that_others_wait_for() {
    let mut scene = Scene::new().await;
    scene.add_graph(Some("echo two >> note.txt"));
    let mut daemon = scene.home.up_with(short_lease);
    scene.hold(&Held::Task(scene.ids["wait"]));
    scene.kill_at("SELECT task_id FROM task_dependencies WHERE depends_on", &mut daemon);
    assert_eq!(scene.states()["first"], Status::Running, "its end is undone as a whole");
    scene.finish();
    scene.first_ran_once();
    let branches = crate::support::git(&scene.repository, &["branch", "--list"]);
    assert_eq!(branches.lines().count(), 2, "{branches}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_cancellation_of_a_task_that_others_wait_for() {
    let mut scene = Scene::new().await;
    // Nobody can work on it while no agent is active.
    wait(scene.looker.execute("UPDATE codegen_agents SET is_active = false")).unwrap();
    scene.add_graph(Some("true"));
    let mut daemon = scene.home.up_with(short_lease);
    let first = scene.ids["first"].to_string();
    scene.hold(&Held::Task(scene.ids["wait"]));
    let cancelling = scene.spawn(&["task", "cancel", &first]);
    scene.kill_at("SELECT task_id FROM task_dependencies WHERE depends_on", &mut daemon);
    let told = Ran::from(cancelling.wait_with_output().unwrap());
    assert_eq!((told.code, told.stdout.as_str()), (1, ""), "{told:?}");
    let states = scene.states();
    assert_eq!((states["first"], states["skip"]), (Status::Ready, Status::Waiting));
    scene.home.run(&["task", "cancel", &first]).ok();
    let first = scene.ids["first"];
    scene.model.states.insert(first, Status::Cancelled);
    scene.finish();
    let states = scene.states();
    let lost = ["wait", "fail", "skip", "run", "beyond"].map(|key| states[key].as_str());
    assert_eq!(lost, ["waiting", "failed", "cancelled", "completed", "failed"]);
}
