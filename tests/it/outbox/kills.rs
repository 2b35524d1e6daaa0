//! SIGKILL and SIGSTOP of the sender around each effect: exactly one, and by whoever holds the lease.

use journeyman_domain::ids::NodeId;
use journeyman_domain::outbox::EffectState;
use journeyman_testkit::forge::Fault;
use journeyman_workspace::reap::NODE_VARIABLE;
use sqlx::Executor as _;

use super::scene::{LONG, Scene};
use crate::hard::scene::by_hand;
use crate::recovery::scene::{QUICK, processes_marked, wait};
use crate::support::{Daemon, signal, wait_until};

/// What is alive of what a node has started for no run.
fn started_by(node: NodeId) -> Vec<i32> {
    processes_marked(&format!("{NODE_VARIABLE}={node}")).into_iter().map(|(pid, _)| pid).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_claim_and_the_answer() {
    let scene = Scene::new().await;
    scene.forge.fail_next(Fault::HoldBeforeWork);
    let mut daemon = scene.up();
    let task = scene.add(QUICK);
    assert!(scene.forge.wait_for_opened(1, LONG));
    assert_eq!(scene.effects(&task)[1].state, EffectState::Sending);
    daemon.kill();
    scene.forge.release();
    assert_eq!(scene.forge.pulls(), []);
    let _next = scene.up();
    let effects = scene.wait_for_done(&task);
    scene.assert_sent_once(&task);
    assert_eq!((effects[1].attempts, effects[1].lease_epoch), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_pull_request_and_its_record() {
    let scene = Scene::new().await;
    scene.forge.fail_next(Fault::HoldAfterWork);
    let mut daemon = scene.up();
    let task = scene.add(QUICK);
    wait_until("it is open", || scene.forge.pulls().len() == 1);
    daemon.kill();
    assert_eq!(scene.effects(&task)[1].state, EffectState::Sending);
    scene.forge.release();
    let _next = scene.up();
    scene.wait_for_done(&task);
    scene.assert_sent_once(&task);
    assert_eq!(scene.forge.opened(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_push_and_its_record() {
    let scene = Scene::new().await;
    scene.remote.hold().unwrap();
    let mut daemon = scene.up();
    let task = scene.add(QUICK);
    let branch = Scene::branch_to_be(&task);
    wait_until("it has arrived", || scene.remote.changes(&branch) == 1);
    let node = scene.effects(&task)[0].node_id.unwrap();
    assert!(!started_by(node).is_empty(), "the push");
    daemon.kill();
    assert_eq!(scene.effects(&task)[0].state, EffectState::Sending);
    let _next = scene.up();
    // It waited for the remote's word, and would have done so for long.
    assert_eq!(started_by(node), Vec::<i32>::new());
    scene.wait_for_done(&task);
    scene.remote.release().unwrap();
    scene.assert_sent_once(&task);
    assert_eq!(scene.remote.pushes(), 1);
}

/// An ordered stop gives the effect back: the next one need not wait for the lease.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_it_sends() {
    let scene = Scene::new().await;
    let long_lease = |command: &mut std::process::Command| {
        scene.set_up(command);
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "3600");
    };
    scene.forge.fail_next(Fault::HoldAfterWork);
    let mut daemon = scene.home.up_with(long_lease);
    let task = scene.add(QUICK);
    wait_until("it is open", || scene.forge.pulls().len() == 1);
    assert_eq!(daemon.stop(), 0, "{}", scene.home.daemon_log());
    assert_eq!(scene.effects(&task)[1].state, EffectState::Pending);
    scene.forge.release();
    let _next = scene.home.up_with(long_lease);
    scene.wait_for_done(&task);
    scene.assert_sent_once(&task);
}

/// A sender that is alive keeps its effect, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_outlasts_the_first_lease() {
    let scene = Scene::new().await;
    let short_lease = |command: &mut std::process::Command| {
        scene.set_up(command);
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "2");
    };
    scene.forge.fail_next(Fault::SlowAfterWork(std::time::Duration::from_secs(6)));
    let _daemon = scene.home.up_with(short_lease);
    let _other = scene.home.up_beside("other", short_lease);
    let task = scene.add(QUICK);
    let effects = scene.wait_for_done(&task);
    assert_eq!((effects[1].attempts, effects[1].lease_epoch), (1, 1));
    scene.assert_sent_once(&task);
}

/// A sender that sleeps past its lease finds its effect with another node, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn asleep_past_its_lease() {
    let scene = Scene::new().await;
    let short_lease = |command: &mut std::process::Command| {
        scene.set_up(command);
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", "2");
    };
    scene.forge.fail_next(Fault::HoldAfterWork);
    let daemon = scene.home.up_with(short_lease);
    let task = scene.add(QUICK);
    wait_until("it is open", || scene.forge.pulls().len() == 1);
    let held = scene.effects(&task).remove(1);
    signal(daemon.child.id(), "STOP");
    let _other = scene.home.up_beside("other", short_lease);
    let done = scene.wait_for_done(&task).remove(1);
    signal(daemon.child.id(), "CONT");
    scene.forge.release();
    wait_until("the first one knows", || {
        scene.home.daemon_log().contains("the lease of an effect is lost")
            || scene.home.daemon_log().contains("another sender has the effect")
    });
    assert_eq!(scene.effects(&task).remove(1), done);
    assert_eq!(done.lease_epoch, held.lease_epoch + 1);
    assert_ne!(done.node_id, held.node_id);
    scene.assert_sent_once(&task);
}

/// A daemon that is stopped after it has looked for the pull request, and before it opens it.
fn stopped_after_its_look(scene: &Scene, lease_s: &str) -> (Daemon, String) {
    let daemon = scene.home.up_with(|command| {
        scene.set_up(command);
        command.env("JOURNEYMAN__SCHEDULER__LEASE_S", lease_s);
        // The first look is for the branch.
        command.env("JOURNEYMAN_FAILPOINT", "outbox.look:after:2=stop");
    });
    let task = scene.add(QUICK);
    let stat = format!("/proc/{}/stat", daemon.child.id());
    wait_until("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    assert_eq!(scene.effects(&task)[1].state, EffectState::Sending);
    assert_eq!(scene.forge.opened(), 0);
    (daemon, task)
}

/// The pull request that it did not find is another node's work by now.
#[tokio::test(flavor = "multi_thread")]
async fn asleep_between_its_look_and_its_act() {
    let scene = Scene::new().await;
    let (daemon, task) = stopped_after_its_look(&scene, "2");
    let _other = scene.home.up_beside("other", |command| scene.set_up(command));
    let done = scene.wait_for_done(&task).remove(1);
    signal(daemon.child.id(), "CONT");
    wait_until("the first one knows", || {
        scene.home.daemon_log().contains("the lease of an effect is lost")
    });
    assert_eq!(scene.forge.opened(), 1);
    assert_eq!(scene.effects(&task).remove(1), done);
    scene.assert_sent_once(&task);
}

/// By its own clock the lease holds, as on a machine that slept as a whole: the database is asked before the act.
#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_was_taken_over_is_not_done_although_the_lease_seems_to_hold() {
    let scene = Scene::new().await;
    let (daemon, task) = stopped_after_its_look(&scene, "3600");
    let mut hand = by_hand(&scene.home);
    let taken = "UPDATE outbox SET lease_epoch = lease_epoch + 1 WHERE state = 'sending'";
    wait(hand.execute(taken)).unwrap();
    let taken = scene.effects(&task).remove(1);
    signal(daemon.child.id(), "CONT");
    wait_until("it knows", || scene.home.daemon_log().contains("the lease of an effect is lost"));
    assert_eq!(scene.forge.opened(), 0);
    assert_eq!(scene.effects(&task).remove(1), taken);
}

/// What kills its sender each time is not tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_ends_its_sender_again_and_again_is_given_up() {
    let scene = Scene::new().await;
    scene.remote.away(true).unwrap();
    let mut daemon = scene.up();
    let task = scene.add(QUICK);
    wait_until("it was tried in vain", || {
        scene.effects(&task).first().is_some_and(|push| push.last_error.is_some())
    });
    daemon.kill();
    scene.remote.away(false).unwrap();
    let mut hand = by_hand(&scene.home);
    let last = "UPDATE outbox SET state = 'sending', attempts = 100, lease_expires_at = now()";
    wait(hand.execute(last)).unwrap();
    let _next = scene.up();
    wait_until("it is given up", || scene.effects(&task)[0].state == EffectState::Failed);
    let given_up = scene.effects(&task).remove(0);
    let said = "given up after 100 attempts, the last of which was broken off; whether it arrived is not known";
    assert_eq!(given_up.last_error.as_deref(), Some(said));
    assert_eq!(scene.remote.changes(&Scene::branch_to_be(&task)), 0);
    scene.home.run(&["task", "resend", &task]).ok();
    scene.wait_for_done(&task);
    scene.assert_sent_once(&task);
}
