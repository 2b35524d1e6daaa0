//! Restarts, giving up, health, and what happens when several things happen at once.

use std::{sync::atomic::Ordering, time::Duration};

use super::rig::{AT_ONCE, Order, Rig, changes, order, reborn, until};
use crate::{Change, DynamicError, Ending, Exit, Status};

/// The one child `id` of the given kind below a root with plenty of restarts.
fn single(kind: &str, keys: &str) -> String {
    format!(
        "[root]\nstrategy = \"one_for_one\"\nintensity = 100\nchildren = [{{ id = \"x\", kind = \"{kind}\", {keys} }}]"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_grandchildren_are_buried_before_each_of_50_rebirths() {
    let rig = Rig::default();
    let tree = rig.start(&single("family", AT_ONCE)).await.unwrap();
    let mut records = tree.records();
    for generation in 1..=50 {
        order(&tree, "root/x", Order::Panic);
        reborn(&tree, "root/x", generation + 1).await;
    }
    let failed = changes(&mut records, "root/x")
        .into_iter()
        .filter(|(_, change)| matches!(change, Change::StartFailed { .. }))
        .count();
    assert_eq!(failed, 0, "no rebirth found a name taken");
    assert_eq!(tree.directory().resolve("root/x").unwrap().generation, 51);
    tree.stop().await;
    for member in 0..3 {
        assert!(ractor::registry::where_is(format!("root/x/{member}")).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_before_its_start_returns_is_restarted() {
    let rig = Rig::default();
    let tree = rig.start(&single("stillborn", AT_ONCE)).await.unwrap();
    reborn(&tree, "root/x", 3).await;
    assert_eq!(rig.take(), ["+x", "+x", "+x"]);
    assert_eq!(tree.snapshot().unwrap().budget.unwrap().used, 2);
}

#[tokio::test(start_paused = true)]
async fn too_many_restarts_escalate_level_by_level() {
    let rig = Rig::default();
    let tree = rig
        .start(&format!(
            r#"
            [root]
            strategy = "one_for_one"
            intensity = 1
            children = [{{ id = "keeper" }}, {{ id = "minds", supervisor = "minds", {AT_ONCE} }}]
            [minds]
            strategy = "one_for_one"
            intensity = 1
            children = [{{ id = "first" }}, {{ id = "x", {AT_ONCE} }}]
            "#
        ))
        .await
        .unwrap();
    let mut records = tree.records();
    // Twice is one too many for [minds], which comes back with new children; the second time it is so for the root.
    for generation in 1..=3 {
        order(&tree, "root/minds/x", Order::Panic);
        reborn(&tree, "root/minds/x", generation + 1).await;
    }
    assert_eq!(rig.take(), ["+keeper", "+first", "+x", "+x", "-first", "+first", "+x", "+x"]);
    order(&tree, "root/minds/x", Order::Panic);
    let Ending::GaveUp(reason) = tree.wait().await else { panic!("the root did not give up") };
    assert_eq!((reason.supervisor.as_str(), reason.child.as_str()), ("root", "root/minds"));
    assert_eq!(
        reason.exit,
        Exit::Failed(
            "root/minds gave up: more than 1 restarts within 5s, the last one for root/minds/x (failed: as asked)"
                .to_owned()
        )
    );
    assert_eq!(rig.take(), ["-first", "-keeper"]);
    let minds: Vec<_> = changes(&mut records, "root/minds")
        .into_iter()
        .map(|(generation, change)| match change {
            Change::GaveUp { .. } => (generation, "gave up"),
            Change::Exited { exit: Exit::Failed(_) } => (generation, "failed"),
            Change::Restarting { .. } => (generation, "restarting"),
            Change::Started => (generation, "started"),
            Change::Stopped => (generation, "stopped"),
            Change::Exited { .. }
            | Change::StartFailed { .. }
            | Change::Unhealthy { .. }
            | Change::Omitted { .. } => (generation, "?"),
        })
        .collect();
    let expected = [
        (1, "gave up"),
        (1, "failed"),
        (1, "restarting"),
        (2, "started"),
        (2, "gave up"),
        (2, "failed"),
        (2, "stopped"),
    ];
    assert_eq!(minds, expected);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_restarts_in_order_but_skips_temporary_children() {
    let rig = Rig::default();
    let tree = rig
        .start(&format!(
            r#"
            [root]
            strategy = "one_for_all"
            children = [
                {{ id = "a", {AT_ONCE} }},
                {{ id = "guest", restart = "temporary" }},
                {{ id = "b", restart = "transient", {AT_ONCE} }},
                {{ id = "c", {AT_ONCE} }},
            ]
            "#
        ))
        .await
        .unwrap();
    rig.take();
    let b = tree.directory().resolve("root/b").unwrap();
    b.cell.kill();
    reborn(&tree, "root/c", 2).await;
    assert_eq!(rig.take(), ["-c", "-guest", "-a", "+a", "+b", "+c"]);
    assert_eq!(tree.directory().status("root/guest"), Some(Status::Stopped));
}

#[tokio::test(start_paused = true)]
async fn two_failures_at_once_are_one_restart() {
    let rig = Rig::default();
    let tree = rig
        .start(&format!(
            r#"
            [root]
            strategy = "one_for_all"
            intensity = 1
            children = [{{ id = "a", {AT_ONCE} }}, {{ id = "b", {AT_ONCE} }}, {{ id = "c", {AT_ONCE} }}]
            "#
        ))
        .await
        .unwrap();
    rig.take();
    order(&tree, "root/a", Order::Panic);
    order(&tree, "root/b", Order::Fail);
    reborn(&tree, "root/c", 2).await;
    assert_eq!(rig.take(), ["-c", "+a", "+b", "+c"]);
    assert_eq!(tree.snapshot().unwrap().budget.unwrap().used, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_rebirth_backs_off_visibly_and_recovers() {
    let rig = Rig::default();
    let backoff = r#"backoff = { min = "10s", max = "40s", jitter = 0.0, reset_after = "5m" }"#;
    let tree = rig.start(&single("refuses", backoff)).await.unwrap();
    let mut records = tree.records();
    rig.broken.store(true, Ordering::SeqCst);
    order(&tree, "root/x", Order::Panic);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let Some(Status::BackingOff { until_unix_ms }) = tree.directory().status("root/x") else {
        panic!("{:?}", tree.snapshot())
    };
    assert!(until_unix_ms > 0 && tree.directory().resolve("root/x").is_none());
    let left = tree.snapshot().unwrap().children[0].restart_in_ms.unwrap();
    assert!((4_990..=5_000).contains(&left), "{left}");

    tokio::time::sleep(Duration::from_mins(1)).await;
    rig.broken.store(false, Ordering::SeqCst);
    reborn(&tree, "root/x", 4).await;
    let delays: Vec<_> = changes(&mut records, "root/x")
        .into_iter()
        .filter_map(|(_, change)| {
            if let Change::Restarting { after, .. } = change { Some(after.as_secs()) } else { None }
        })
        .collect();
    assert_eq!(delays, [10, 20, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_child_is_killed_and_a_transient_one_comes_back() {
    let rig = Rig::default();
    let keys = format!(
        r#"restart = "transient", {AT_ONCE}, health = {{ every = "10s", timeout = "2s", failures = 3 }}"#
    );
    let tree = rig.start(&single("plain", &keys)).await.unwrap();
    let mut records = tree.records();
    tokio::time::sleep(Duration::from_mins(5)).await;
    order(&tree, "root/x", Order::Hang(Duration::from_secs(15)));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(changes(&mut records, "root/x"), [], "slow once is not hung");

    order(&tree, "root/x", Order::Hang(Duration::from_hours(1)));
    reborn(&tree, "root/x", 2).await;
    let cause = tree.snapshot().unwrap().children[0].path.clone();
    assert_eq!(
        changes(&mut records, "root/x"),
        [
            (1, Change::Unhealthy { misses: 3 }),
            (1, Change::Exited { exit: Exit::Killed }),
            (1, Change::Restarting { after: Duration::ZERO, cause }),
            (2, Change::Started)
        ]
    );

    order(&tree, "root/x", Order::Finish);
    until(&tree, "a transient child that finished is at rest", || {
        tree.directory().status("root/x") == Some(Status::Stopped)
    })
    .await;
    assert_eq!(
        changes(&mut records, "root/x"),
        [(2, Change::Exited { exit: Exit::Normal }), (2, Change::Stopped)]
    );
}

/// It cannot be killed, and a second one beside it would be worse than none.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_blocks_its_thread_is_not_there_twice() {
    let rig = Rig::default();
    let keys = format!(
        r#"restart = "transient", {AT_ONCE}, health = {{ every = "50ms", timeout = "50ms", failures = 2 }}"#
    );
    let tree = rig.start(&single("plain", &keys)).await.unwrap();
    let mut records = tree.records();
    let (open, gate) = std::sync::mpsc::channel();
    order(&tree, "root/x", Order::Block(gate));
    let mut seen = Vec::new();
    while !seen.contains(&(1, Change::Unhealthy { misses: 2 })) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen.extend(changes(&mut records, "root/x"));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.take(), ["+x"]);
    drop(open);
    reborn(&tree, "root/x", 2).await;
}

#[tokio::test]
async fn health_without_a_probe_is_refused_at_the_start() {
    let rig = Rig::default();
    let toml = single("mute", r#"health = { every = "1s", timeout = "1s", failures = 1 }"#);
    let error = rig.start(&toml).await.err().unwrap();
    assert!(crate::exit::chain(&error).contains("health probes"), "{error}");
    assert_eq!(rig.take(), ["+x"], "it was not left running, and not asked to stop");
}

#[tokio::test(start_paused = true)]
async fn a_stop_wins_over_a_restart() {
    // The rebirth takes an hour; so does the wait for it.
    for (kind, backoff) in [("slow", r#""0ms""#), ("plain", r#""1h", max = "1h""#)] {
        let rig = Rig::default();
        let tree =
            rig.start(&single(kind, &format!("backoff = {{ min = {backoff} }}"))).await.unwrap();
        order(&tree, "root/x", Order::Panic);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(tree.directory().resolve("root/x").is_none());
        let before = tokio::time::Instant::now();
        assert_eq!(tree.stop().await, Ending::Stopped);
        assert!(before.elapsed() < Duration::from_secs(1), "{kind}");
        assert_eq!(rig.take(), ["+x"], "nothing came after the stop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_comes_back_with_its_children_and_without_dynamic_ones() {
    let rig = Rig::default();
    let tree = rig
        .start(&format!(
            r#"
            [root]
            strategy = "one_for_one"
            children = [{{ id = "s", supervisor = "s", {AT_ONCE} }}, {{ id = "d", supervisor = "d", {AT_ONCE} }}]
            [s]
            strategy = "one_for_one"
            children = [{{ id = "x" }}]
            [d]
            strategy = "dynamic"
            child = {{ kind = "plain" }}
            "#
        ))
        .await
        .unwrap();
    let pool = tree.directory().dynamic("root/d");
    pool.start_child("guest").await.unwrap();
    let mut records = tree.records();
    tree.directory().resolve("root/s").unwrap().cell.kill();
    reborn(&tree, "root/s/x", 2).await;
    assert_eq!(
        changes(&mut records, "root/s/x"),
        [(1, Change::Exited { exit: Exit::Killed }), (1, Change::Stopped), (2, Change::Started)],
        "the end of a child that nobody could report is recorded all the same"
    );

    // A second restart within the root's period is one too many, so let it pass.
    tokio::time::sleep(Duration::from_secs(6)).await;
    tree.directory().resolve("root/d").unwrap().cell.kill();
    reborn(&tree, "root/d", 2).await;
    assert_eq!(tree.directory().status("root/d/guest"), None);
    assert_eq!(
        pool.start_child("guest").await.map(|instance| instance.generation),
        Ok::<_, DynamicError>(1)
    );
    tree.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_root_ends_the_tree_as_failed() {
    let rig = Rig::default();
    let tree = rig.start(&single("plain", AT_ONCE)).await.unwrap();
    let x = tree.directory().resolve("root/x").unwrap().cell;
    tree.directory().resolve("root").unwrap().cell.kill();
    assert_eq!(tree.wait().await, Ending::Failed);
    assert_eq!(x.get_status(), ractor::ActorStatus::Stopped);
}
