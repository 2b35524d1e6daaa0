//! Promises about whole trees of supervisors, on real actors under a paused clock.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::{
    forest::{Branch, Node, path_of, trees},
    garden::{Fate, Garden},
    oracle::{End, Oracle},
};
use crate::{Change, Ending, RunningTree, Status, TreeNode, TreeSpec};

fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

async fn grown(tree: &Branch) -> (Garden, RunningTree) {
    let garden = Garden::new(tree.clone());
    let spec = TreeSpec::from_toml(&tree.to_toml()).unwrap();
    let running = RunningTree::start(spec, garden.clone()).await.unwrap();
    (garden, running)
}

/// How a child is made to end.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Panic,
    Fail,
    Finish,
    Kill,
}

fn blows() -> impl Strategy<Value = Blow> {
    prop::sample::select(&[Blow::Panic, Blow::Fail, Blow::Finish, Blow::Kill])
}

/// Ends what runs at a path; a supervisor can only be killed. How it will end, if it runs.
fn strike(running: &RunningTree, path: &str, blow: Blow) -> Option<End> {
    let cell = running.directory().resolve(path)?.cell;
    let is_supervisor = running.directory().tree(path)?.strategy.is_some();
    let fate = match blow {
        Blow::Panic => Fate::Panic,
        Blow::Fail => Fate::Fail,
        Blow::Finish => Fate::Finish,
        Blow::Kill => {
            cell.kill();
            return Some(End::Abnormal);
        }
    };
    if is_supervisor {
        cell.kill();
        return Some(End::Abnormal);
    }
    cell.send_message(fate).ok()?;
    Some(if matches!(blow, Blow::Finish) { End::Normal } else { End::Abnormal })
}

/// Children of living supervisors that are not what they have to be in the end.
fn unsettled(node: &TreeNode, tree: &Branch, place: &[usize], faults: &mut Vec<String>) {
    for (id, (child, twig)) in node.children.iter().zip(&tree.twigs).enumerate() {
        let place = [place, &[id]].concat();
        let path = path_of(&place);
        match child.status {
            Status::Running => {
                if let Node::Branch(branch) = &twig.node {
                    unsettled(child, branch, &place, faults);
                }
            }
            Status::Stopped if twig.restart != crate::Restart::Permanent => {}
            Status::Stopped
            | Status::Starting
            | Status::Stopping
            | Status::Restarting
            | Status::BackingOff { .. } => faults.push(format!("{path} is {:?}", child.status)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Strike(usize, Blow),
    Pass(u64),
    Break(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<usize>(), blows()).prop_map(|(at, blow)| Step::Strike(at, blow)),
        4 => (0..120_u64).prop_map(Step::Pass),
        1 => (2_000..9_000_u64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Break),
    ]
}

const WILD: &[&str] = &["plain", "plain", "slow", "stuck", "family", "fragile"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever happens to whom and when: the watch sees no fault in order, burial and restart types; what must run
    /// runs again in the end; and after a stop, at whatever moment, nothing lives.
    #[test]
    fn random_trees_under_random_blows_keep_their_promises(
        tree in trees(WILD, 0..4),
        script in prop::collection::vec(steps(), 0..40),
        settles in any::<bool>(),
    ) {
        paused(async move {
            let (garden, running) = grown(&tree).await;
            let places = tree.places();
            for step in script {
                match step {
                    Step::Strike(at, blow) => {
                        strike(&running, &path_of(&places[at % places.len()]), blow);
                    }
                    Step::Pass(ms) => sleep(Duration::from_millis(ms)).await,
                    Step::Break(broken) => garden.set_broken(broken),
                }
            }
            garden.set_broken(false);
            let mut faults = Vec::new();
            if settles {
                sleep(Duration::from_mins(1)).await;
                let snapshot = running.snapshot().unwrap();
                if snapshot.status == Status::Running {
                    unsettled(&snapshot, &tree, &[], &mut faults);
                }
            }
            running.stop().await;
            faults.extend(garden.faults());
            prop_assert!(faults.is_empty(), "{faults:#?}\n{}", tree.to_toml());
            prop_assert!(garden.alive().is_empty(), "{:?} after the stop", garden.alive());
            let root = running.snapshot().unwrap();
            prop_assert!(all(&root, &|node| node.status == Status::Stopped && node.uptime_ms.is_none()), "{root:#?}");
            records_tell_whole_lives(&running, &root).await
        })?;
    }

    /// One failure at a time: who runs, how often each was started, and whether and how the tree ended, is just what
    /// the rules say; so a supervisor gives up when its intensity is exceeded, and only then.
    #[test]
    fn one_failure_at_a_time_has_just_the_effects_of_the_rules(
        tree in trees(&["plain", "family"], 0..3),
        script in prop::collection::vec((any::<usize>(), blows(), prop::sample::select(&[1_101, 1_703, 2_309, 6_007_u64])), 1..24),
    ) {
        paused(async move {
            let (garden, running) = grown(&tree).await;
            let mut oracle = Oracle::new(&tree);
            let (places, began) = (tree.places(), Instant::now());
            for (at, blow, pause_ms) in script {
                let place = &places[at % places.len()];
                let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
                let Some(how) = strike(&running, &path_of(place), blow) else { continue };
                let ended = oracle.ends(place, how, now_ms);
                if let Some(ended) = ended {
                    let ending = running.wait().await;
                    let is_right = match ended {
                        End::Normal => ending == Ending::AutoShutdown,
                        End::Abnormal => matches!(ending, Ending::GaveUp(_)),
                    };
                    prop_assert!(is_right, "{ended:?} but {ending:?}");
                    prop_assert!(garden.alive().is_empty());
                    return Ok(());
                }
                sleep(Duration::from_millis(pause_ms)).await;
                let is_leaf = |path: &String| !path.ends_with("/relative");
                let alive: std::collections::BTreeSet<_> = garden.alive().into_iter().filter(is_leaf).collect();
                prop_assert_eq!(alive, oracle.alive(), "after {:?} of {:?} in\n{}", blow, place, tree.to_toml());
                prop_assert_eq!(&garden.starts(), oracle.starts());
            }
            prop_assert_eq!(running.stop().await, Ending::Stopped);
            prop_assert_eq!(garden.faults(), Vec::<String>::new());
            Ok(())
        })?;
    }
}

fn all(node: &TreeNode, holds: &impl Fn(&TreeNode) -> bool) -> bool {
    holds(node) && node.children.iter().all(|child| all(child, holds))
}

/// The ledger has every record, numbered without a gap, and each life in it begins, ends and is not begun twice.
async fn records_tell_whole_lives(
    running: &RunningTree,
    root: &TreeNode,
) -> Result<(), TestCaseError> {
    let records = running.ledger().writer().await.oldest();
    let numbers: Vec<_> = records.iter().map(|record| record.seq).collect();
    let whole: Vec<_> = (1..=numbers.len() as u64).collect();
    prop_assert_eq!(numbers, whole);
    let mut paths = std::collections::BTreeMap::<_, Option<u64>>::new();
    for record in &records {
        let alive = paths.entry(&record.path).or_default();
        match &record.change {
            Change::Started => {
                prop_assert_eq!(*alive, None, "{} twice", record.path);
                *alive = Some(record.generation);
            }
            Change::Exited { exit } => {
                prop_assert_eq!(*alive, Some(record.generation), "{} {:?}", record.path, exit);
                *alive = None;
            }
            Change::Restarting { .. } | Change::StartFailed { .. } => {
                prop_assert_eq!(*alive, None, "{} lives", record.path);
            }
            Change::GaveUp { .. }
            | Change::Stopped
            | Change::Unhealthy { .. }
            | Change::Omitted { .. } => {}
        }
    }
    prop_assert!(paths.values().all(Option::is_none), "{paths:?}");
    prop_assert_eq!(records.last().map(|record| &record.path), Some(&root.path));
    Ok(())
}
