//! Children that fail while they start, and stops that come while something starts.

use std::{sync::atomic::Ordering, time::Duration};

use super::rig::{AT_ONCE, Order, Rig, changes, order, reborn};
use crate::{Change, DynamicError, Ending, RunningTree};

#[tokio::test(start_paused = true)]
async fn a_child_that_panics_at_each_rebirth_makes_its_supervisor_give_up() {
    for kind in ["panics", "refuses", "careless-later"] {
        let rig = Rig::default();
        let toml = format!(
            "[root]\nstrategy = \"one_for_one\"\nintensity = 3\n\
             children = [{{ id = \"keeper\" }}, {{ id = \"x\", kind = \"{kind}\", {AT_ONCE} }}]"
        );
        let tree = rig.start(&toml).await.unwrap();
        let mut records = tree.records();
        rig.broken.store(true, Ordering::SeqCst);
        order(&tree, "root/x", Order::Panic);
        let Ending::GaveUp(reason) = tree.wait().await else { panic!("{kind} did not escalate") };
        assert_eq!(reason.child.as_str(), "root/x");
        let failed = changes(&mut records, "root/x")
            .into_iter()
            .filter_map(|(generation, change)| {
                matches!(change, Change::StartFailed { .. }).then_some(generation)
            })
            .collect::<Vec<_>>();
        assert_eq!(failed, [2, 3, 4], "{kind}: the exit and two failing starts are restarted");
        assert_eq!(rig.take(), ["+keeper", "+x", "-keeper"], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_panics_in_a_loop_is_restarted_just_as_often_as_permitted() {
    let rig = Rig::default();
    let toml = format!(
        "[root]\nstrategy = \"one_for_one\"\nintensity = 4\nperiod = \"10s\"\n\
         children = [{{ id = \"x\", {AT_ONCE} }}]"
    );
    let tree = rig.start(&toml).await.unwrap();
    for generation in 1..=4 {
        order(&tree, "root/x", Order::Panic);
        reborn(&tree, "root/x", generation + 1).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    for generation in 5..=8 {
        order(&tree, "root/x", Order::Panic);
        reborn(&tree, "root/x", generation + 1).await;
    }
    order(&tree, "root/x", Order::Panic);
    assert!(matches!(tree.wait().await, Ending::GaveUp(_)));
    let root = tree.snapshot().unwrap();
    assert_eq!((root.budget.unwrap().used, root.children[0].restarts), (4, 8));
}

/// What a tree whose child `x` comes back slowly did until it was stopped.
async fn stopped_after(rig: &Rig, toml: &str, wait: Duration) -> (RunningTree, Duration) {
    let tree = rig.start(toml).await.unwrap();
    order(&tree, "root/x", Order::Panic);
    tokio::time::sleep(wait).await;
    let before = tokio::time::Instant::now();
    assert_eq!(tree.stop().await, Ending::Stopped);
    (tree, before.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_group_restart_ends_it_where_it_is() {
    let rig = Rig::default();
    let toml = format!(
        "[root]\nstrategy = \"one_for_all\"\nchildren = [{{ id = \"a\" }}, \
         {{ id = \"x\", kind = \"slow\", {AT_ONCE} }}, {{ id = \"c\" }}]"
    );
    let (tree, took) = stopped_after(&rig, &toml, Duration::from_secs(1)).await;
    assert!(took < Duration::from_secs(1), "the start of an hour was not waited for: {took:?}");
    assert_eq!(rig.take(), ["+a", "+x", "+c", "-c", "-a", "+a", "-a"]);
    let generations: Vec<_> =
        tree.snapshot().unwrap().children.iter().map(|child| child.generation).collect();
    assert_eq!(generations, [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_sibling_takes_its_time_to_stop_waits_no_longer_than_its_limit() {
    let rig = Rig::default();
    let toml = format!(
        "[root]\nstrategy = \"one_for_all\"\nchildren = [{{ id = \"x\", {AT_ONCE} }}, \
         {{ id = \"late\", kind = \"stuck\", shutdown = \"30s\" }}]"
    );
    let (_tree, took) = stopped_after(&rig, &toml, Duration::from_secs(10)).await;
    assert!(took <= Duration::from_secs(31), "{took:?}");
    assert_eq!(rig.take(), ["+x", "+late"], "nothing came after the stop");
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_start_of_a_dynamic_child_leaves_nothing_of_it() {
    let rig = Rig::default();
    let tree = rig
        .start(
            r#"
            [root]
            strategy = "one_for_one"
            children = [{ id = "pool", supervisor = "pool" }]
            [pool]
            strategy = "dynamic"
            child = { kind = "slow-first", restart = "temporary" }
            "#,
        )
        .await
        .unwrap();
    let pool = tree.directory().dynamic("root/pool");
    let asked = tokio::spawn(async move { pool.start_child("guest").await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tree.stop().await, Ending::Stopped);
    assert!(matches!(asked.await.unwrap(), Err(DynamicError::Unavailable { .. })));
    assert_eq!(rig.take(), Vec::<String>::new());
    assert_eq!(tree.directory().status("root/pool/guest"), None);
}
