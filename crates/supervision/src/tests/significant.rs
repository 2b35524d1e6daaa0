//! Supervisors that end when the children that count have finished.

use super::rig::{AT_ONCE, Order, Rig, order, reborn, until};
use crate::{Change, Ending, Exit, Status};

fn tree(auto: &str, restart: &str) -> String {
    format!(
        r#"
        [root]
        strategy = "one_for_one"
        children = [{{ id = "keeper" }}, {{ id = "job", supervisor = "job", restart = "{restart}", {AT_ONCE} }}]
        [job]
        strategy = "one_for_one"
        auto_shutdown = "{auto}"
        intensity = 5
        children = [
            {{ id = "helper", {AT_ONCE} }},
            {{ id = "first", restart = "transient", significant = true, {AT_ONCE} }},
            {{ id = "second", restart = "temporary", significant = true }},
        ]
        "#
    )
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_ends_in_order_when_all_that_is_significant_has_finished() {
    let rig = Rig::default();
    let tree = rig.start(&tree("all_significant", "transient")).await.unwrap();
    order(&tree, "root/job/first", Order::Panic);
    reborn(&tree, "root/job/first", 2).await;
    order(&tree, "root/job/second", Order::Panic);
    until(&tree, "a temporary child that failed has finished", || {
        tree.directory().status("root/job/second") == Some(Status::Stopped)
    })
    .await;
    assert_eq!(tree.directory().status("root/job"), Some(Status::Running), "one is left");
    rig.take();
    order(&tree, "root/job/first", Order::Finish);
    until(&tree, "the job is at rest", || {
        tree.directory().status("root/job") == Some(Status::Stopped)
    })
    .await;
    assert_eq!(rig.take(), ["-first", "-helper"]);
    assert_eq!(tree.snapshot().unwrap().children[1].last_exit, Some(Exit::Shutdown));
    assert!(tree.directory().resolve("root/keeper").is_some(), "nobody else is concerned");
    tree.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_permanent_supervisor_whose_work_is_done_begins_again() {
    let rig = Rig::default();
    let tree = rig.start(&tree("any_significant", "permanent")).await.unwrap();
    rig.take();
    order(&tree, "root/job/first", Order::Finish);
    reborn(&tree, "root/job/second", 2).await;
    assert_eq!(rig.take(), ["-first", "-second", "-helper", "+helper", "+first", "+second"]);
    tree.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_whole_tree_ends_when_a_significant_child_of_the_root_has_finished() {
    let rig = Rig::default();
    let toml = r#"
        [root]
        strategy = "rest_for_one"
        auto_shutdown = "any_significant"
        children = [{ id = "keeper" }, { id = "job", restart = "temporary", significant = true }]
    "#;
    let tree = rig.start(toml).await.unwrap();
    order(&tree, "root/job", Order::Finish);
    assert_eq!(tree.wait().await, Ending::AutoShutdown);
    assert_eq!(rig.take(), ["+keeper", "+job", "-job", "-keeper"]);
    let last = tree.ledger().writer().await.oldest().pop().unwrap();
    assert_eq!((last.path.as_str(), last.change), ("root", Change::Stopped));
}
