//! SIGKILL and SIGSTOP of the sender around each effect: exactly one, and by whoever holds the lease.

use journeyman_domain::outbox::EffectState;
use journeyman_testkit::forge::Fault;

use super::scene::{LONG, Scene};
use crate::recovery::scene::QUICK;
use crate::support::{signal, wait_until};

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
    daemon.kill();
    assert_eq!(scene.effects(&task)[0].state, EffectState::Sending);
    let _next = scene.up();
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
