//! Order of start and stop, dynamic children, what the tree shows.

use std::{sync::atomic::Ordering, time::Duration};

use super::rig::{AT_ONCE, Order, Rig, changes, order, reborn, until};
use crate::{Budget, Change, DynamicError, Ending, Exit, StartError, Status, Strategy};

#[tokio::test(start_paused = true)]
async fn stops_in_reverse_order_and_kills_who_overruns() {
    let rig = Rig::default();
    let tree = rig
        .start(
            r#"
            [root]
            strategy = "rest_for_one"
            children = [
                { id = "store" },
                { id = "work", supervisor = "work" },
                { id = "stuck", shutdown = "100ms" },
            ]
            [work]
            strategy = "one_for_one"
            children = [{ id = "k1", kind = "plain" }, { id = "k2", kind = "plain" }]
            "#,
        )
        .await
        .unwrap();
    assert_eq!(rig.take(), ["+store", "+k1", "+k2", "+stuck"]);
    let mut records = tree.records();

    assert_eq!(tree.stop().await, Ending::Stopped);
    assert_eq!(rig.take(), ["-k2", "-k1", "-store"]);
    assert_eq!(
        changes(&mut records, "root/stuck"),
        [(1, Change::Exited { exit: Exit::Killed }), (1, Change::Stopped)]
    );
    let snapshot = tree.snapshot().unwrap();
    assert_eq!(
        snapshot.children.iter().map(|child| child.path.id()).collect::<Vec<_>>(),
        ["store", "work", "stuck"]
    );
    assert!(snapshot.children.iter().chain([&snapshot]).all(|node| node.status == Status::Stopped));
    assert_eq!(tree.wait().await, Ending::Stopped, "a late waiter is told too");
}

#[tokio::test(start_paused = true)]
async fn a_child_is_killed_at_once_or_waited_for_however_long_as_its_spec_says() {
    let rig = Rig::default();
    let tree = rig
        .start(
            r#"
            [root]
            strategy = "one_for_one"
            children = [{ id = "stuck", shutdown = "unbounded" }, { id = "plain", shutdown = "kill" }]
            "#,
        )
        .await
        .unwrap();
    assert_eq!(rig.take(), ["+stuck", "+plain"]);
    let mut records = tree.records();
    let before = tokio::time::Instant::now();
    assert_eq!(tree.stop().await, Ending::Stopped);
    assert!(before.elapsed() >= Duration::from_hours(1));
    assert_eq!(rig.take(), ["-stuck"], "who is killed does nothing any more");
    assert_eq!(
        changes(&mut records, "root/plain"),
        [(1, Change::Exited { exit: Exit::Killed }), (1, Change::Stopped)]
    );
}

#[tokio::test]
async fn a_failing_start_stops_the_started_ones_and_names_the_cause() {
    for (kind, cause) in [
        ("panics", "root/b/inner did not start: as asked"),
        ("refuses", "root/b/inner did not start: no such table"),
        ("careless", "root/b/inner did not start: its start function panicked"),
    ] {
        let rig = Rig::default();
        rig.broken.store(true, Ordering::SeqCst);
        let toml = format!(
            r#"
            [root]
            strategy = "one_for_one"
            children = [{{ id = "a" }}, {{ id = "b", supervisor = "b" }}, {{ id = "c" }}]
            [b]
            strategy = "one_for_one"
            children = [{{ id = "first" }}, {{ id = "inner", kind = "{kind}" }}]
            "#
        );
        let Err(StartError::Child(failure)) = rig.start(&toml).await else {
            panic!("{kind} started")
        };
        assert_eq!(crate::exit::chain(&failure), cause);
        assert_eq!(rig.take(), ["+a", "+first", "-first", "-a"], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_come_and_go() {
    let rig = Rig::default();
    let tree = rig
        .start(
            r#"
            [root]
            strategy = "one_for_one"
            children = [{ id = "agents", supervisor = "agents" }]
            [agents]
            strategy = "dynamic"
            max_children = 2
            child = { supervisor = "agent", restart = "temporary" }
            [agent]
            strategy = "one_for_all"
            children = [{ id = "mind" }, { id = "runs", supervisor = "runs" }]
            [runs]
            strategy = "dynamic"
            child = { kind = "stuck", restart = "temporary", shutdown = "1s" }
            "#,
        )
        .await
        .unwrap();
    let agents = tree.directory().dynamic("root/agents");
    agents.start_child("claude").await.unwrap();
    agents.start_child("local").await.unwrap();
    assert_eq!(agents.start_child("third").await.unwrap_err(), DynamicError::Full { max: 2 });
    assert_eq!(
        agents.start_child("local").await.unwrap_err(),
        DynamicError::Exists { id: "local".to_owned() }
    );
    assert_eq!(
        agents.start_child("a/b").await.unwrap_err(),
        DynamicError::BadId { id: "a/b".to_owned() }
    );
    assert_eq!(
        agents.list().iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["claude", "local"]
    );

    let runs = tree.directory().dynamic("root/agents/claude/runs");
    for run in ["r1", "r2", "r3"] {
        assert_eq!(runs.start_child(run).await.unwrap().generation, 1);
    }
    assert_eq!(runs.count(), 3);
    let mind = tree.directory().dynamic("root/agents/claude/mind");
    assert_eq!(mind.start_child("x").await.unwrap_err(), DynamicError::NotDynamic, "a worker");
    runs.terminate_child("r2").await.unwrap();
    assert_eq!(
        runs.terminate_child("r2").await,
        Err(DynamicError::Unknown { id: "r2".to_owned() })
    );

    order(&tree, "root/agents/claude/runs/r1", Order::Panic);
    until(&tree, "a failed temporary child is forgotten", || {
        tree.directory().status("root/agents/claude/runs/r1").is_none()
    })
    .await;

    for run in ["r4", "r5"] {
        runs.start_child(run).await.unwrap();
    }
    let before = tokio::time::Instant::now();
    agents.terminate_child("claude").await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(2), "three stuck runs of 1 s stop together");
    assert!(tree.directory().tree("root/agents/claude").is_none());
    assert!(matches!(runs.start_child("late").await, Err(DynamicError::Unavailable { .. })));
    tree.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_the_tree() {
    let rig = Rig::default();
    let tree = rig
        .start(&format!(
            r#"
            [root]
            strategy = "one_for_one"
            intensity = 3
            children = [{{ id = "a", {AT_ONCE} }}]
            "#
        ))
        .await
        .unwrap();
    let depth = tree.directory().mailbox_depth("root/a");
    order(&tree, "root/a", Order::Fail);
    reborn(&tree, "root/a", 2).await;
    depth.store(7, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let snapshot = tree.snapshot().unwrap();
    let budget = Budget { used: 1, intensity: 3, period_ms: 5_000 };
    assert_eq!((snapshot.strategy, snapshot.budget), (Some(Strategy::OneForOne), Some(budget)));
    assert_eq!(snapshot.restarts, 0, "the root itself was never restarted");
    let json = serde_json::to_value(&snapshot.children[0]).unwrap();
    let uptime = json["uptime_ms"].as_u64().unwrap();
    assert!((250..260).contains(&uptime), "{uptime}");
    let ago = json["last_exit_ago_ms"].as_u64().unwrap();
    assert!((250..260).contains(&ago), "{ago}");
    assert_eq!(
        json,
        serde_json::json!({
            "path": "root/a", "kind": "worker", "strategy": null, "status": { "state": "running" }, "generation": 2,
            "restarts": 1, "restarts_in_period": 1, "budget": null, "restart_in_ms": null,
            "uptime_ms": uptime, "mailbox_depth": 7,
            "last_exit": { "failed": "as asked" }, "last_exit_ago_ms": ago, "children": [],
        })
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let later = tree.snapshot().unwrap();
    let worker = &later.children[0];
    assert_eq!((later.budget.unwrap().used, worker.restarts, worker.restarts_in_period), (0, 1, 0));
}

#[tokio::test]
async fn a_dropped_tree_ends() {
    let rig = Rig::default();
    let tree =
        rig.start("[root]\nstrategy = \"one_for_one\"\nchildren = [{ id = \"a\" }]").await.unwrap();
    let cell = tree.directory().resolve("root/a").unwrap().cell;
    drop(tree);
    cell.wait(Some(Duration::from_secs(10))).await.unwrap();
    assert_eq!(rig.take(), ["+a", "-a"]);
}
