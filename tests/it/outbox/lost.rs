//! Answers that are lost, late or wrong: what happened is found, what did not is done.

use std::time::Duration;

use journeyman_domain::outbox::EffectState;
use journeyman_testkit::forge::Fault;

use super::scene::Scene;
use crate::recovery::scene::QUICK;
use crate::support::wait_until;

/// A pull request of which the forge does this, and how often it was begun and asked for.
async fn opened_once(fault: Fault, attempts: i32, opened: usize) {
    let scene = Scene::new().await;
    scene.forge.fail_next(fault);
    let (code, task) = scene.run_json(&[]);
    assert_eq!(code, 0, "{fault:?}: {task}");
    let id = task["id"].as_str().unwrap();
    scene.assert_sent_once(id);
    let effects = scene.effects(id);
    assert_eq!((effects[1].attempts, scene.forge.opened()), (attempts, opened), "{fault:?}");
    assert_eq!(effects[1].remote_id, Some(scene.forge.address_of(1)));
    assert_eq!(effects[1].last_error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forge_opens_it_and_drops_the_answer() {
    opened_once(Fault::DropAfterWork, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forge_opens_it_and_says_that_it_failed() {
    opened_once(Fault::StatusAfterWork(500), 2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forge_says_that_there_is_one_already() {
    opened_once(Fault::AlreadyExists, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forge_does_nothing_the_first_time() {
    opened_once(Fault::DropBeforeWork, 2, 2).await;
    opened_once(Fault::Status(503), 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forge_takes_its_time() {
    opened_once(Fault::SlowAfterWork(Duration::from_secs(2)), 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_push_arrives_and_its_sender_is_told_that_it_failed() {
    let scene = Scene::new().await;
    scene.remote.lose_answer().unwrap();
    let (code, task) = scene.run_json(&[]);
    assert_eq!(code, 0, "{task}");
    let id = task["id"].as_str().unwrap();
    scene.assert_sent_once(id);
    assert_eq!(scene.remote.pushes(), 1);
    assert_eq!(scene.effects(id)[0].attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_is_away_is_waited_for() {
    let scene = Scene::new().await;
    scene.remote.away(true).unwrap();
    let _daemon = scene.up();
    let task = scene.add(QUICK);
    wait_until("it was tried in vain", || {
        let effects = scene.effects(&task);
        effects.first().is_some_and(|push| push.last_error.is_some())
    });
    let push = scene.effects(&task).remove(0);
    let said = push.last_error.unwrap();
    assert!(said.starts_with("127.0.0.1:acme/notes.git was not reached: "), "{said}");
    assert_ne!(push.state, EffectState::Failed);
    scene.remote.away(false).unwrap();
    // It would come by itself, a little later.
    scene.home.run(&["task", "resend", &task]);
    scene.wait_for_done(&task);
    scene.assert_sent_once(&task);
}
