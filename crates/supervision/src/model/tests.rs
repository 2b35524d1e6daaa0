//! Random supervisors, random exits at random moments, random order of answers: the model against its invariants.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{Action, Event, Key, State, decide, delay_ms};
use crate::{
    exit::Exit,
    spec::{
        AutoShutdown, Backoff, ChildSpec, Restart, Shutdown, Start, Strategy as Policy,
        SupervisorSpec,
    },
};

fn child(restart: Restart) -> ChildSpec {
    ChildSpec {
        id: "x".to_owned(),
        start: Start::Worker("x".to_owned()),
        restart,
        shutdown: Shutdown::Kill,
        significant: false,
        health: None,
        backoff: Backoff { min: Duration::from_millis(10), ..Backoff::default() },
    }
}

fn supervisor(strategy: Policy, intensity: u32, restarts: &[Restart]) -> SupervisorSpec {
    SupervisorSpec {
        strategy,
        intensity,
        period: Duration::from_secs(5),
        auto_shutdown: AutoShutdown::Never,
        max_children: None,
        children: restarts.iter().copied().map(child).collect(),
    }
}

/// What the world around the model knows of one child.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Running,
    Ending,
    Buried,
    Starting,
}

/// A shell without actors: it answers the model's actions in any order, and lets children fail at any time.
struct World {
    spec: SupervisorSpec,
    state: State,
    lives: BTreeMap<Key, Life>,
    /// The answers that are still to come.
    open: Vec<Event>,
    now_ms: u64,
    counted: Vec<u64>,
    gave_up: bool,
    gave_up_ms: u64,
    last_exits: BTreeMap<Key, Exit>,
}

impl World {
    fn new(spec: SupervisorSpec) -> Self {
        let state = State::new(&spec, 0);
        let lives = (0..spec.children.len() as u64).map(|key| (key, Life::Running)).collect();
        Self {
            spec,
            state,
            lives,
            open: Vec::new(),
            now_ms: 0,
            counted: Vec::new(),
            gave_up: false,
            gave_up_ms: 0,
            last_exits: BTreeMap::new(),
        }
    }

    fn tell(&mut self, event: Event) {
        let actions = decide(&mut self.state, event, self.now_ms, 0.5);
        for action in actions {
            assert!(!self.gave_up, "decided after giving up: {action:?}");
            self.perform(action);
        }
    }

    fn restart(&self, key: Key) -> Restart {
        self.spec.children[usize::try_from(key).unwrap()].restart
    }

    fn is_group(&self) -> bool {
        matches!(self.spec.strategy, Policy::OneForAll | Policy::RestForOne)
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { key } => {
                assert_eq!(self.lives[&key], Life::Buried, "born before buried: {key}");
                assert_ne!(self.restart(key), Restart::Temporary);
                if self.spec.strategy == Policy::OneForOne
                    && self.restart(key) == Restart::Transient
                {
                    assert!(!self.last_exits[&key].is_normal(), "a finished child came back");
                }
                if self.is_group() {
                    let later = self
                        .lives
                        .range(key + 1..)
                        .find(|(_, life)| matches!(life, Life::Running | Life::Starting));
                    assert_eq!(later, None, "{key} started below a living later sibling");
                }
                self.lives.insert(key, Life::Starting);
                self.open.push(Event::Started { key });
            }
            Action::Stop { key } => {
                assert_eq!(self.lives[&key], Life::Running, "stopped what does not run: {key}");
                if self.is_group() {
                    let later =
                        self.lives.range(key + 1..).find(|(_, life)| **life != Life::Buried);
                    assert_eq!(later, None, "{key} stopped before a later sibling was gone");
                }
                self.lives.insert(key, Life::Ending);
                self.open.push(Event::Exited { key, exit: Exit::Shutdown });
            }
            Action::Bury { key } => {
                assert_eq!(self.lives[&key], Life::Ending);
                self.open.push(Event::Gone { key });
            }
            Action::Wait { token, delay_ms, cause, members } => {
                assert!(
                    members.contains(&cause)
                        && members.iter().all(|key| self.lives[key] == Life::Buried)
                );
                assert!((9..=36_000).contains(&delay_ms), "{delay_ms}");
                self.open.push(Event::Elapsed { token });
            }
            Action::Rest { key } => assert_eq!(self.lives[&key], Life::Buried),
            Action::GiveUp { .. } => {
                self.gave_up = true;
                self.gave_up_ms = self.now_ms;
            }
            Action::Shutdown => panic!("no child is significant"),
        }
    }

    /// Lets one of the open answers arrive.
    fn answer(&mut self, pick: usize, start_fails: bool) {
        if self.open.is_empty() {
            return;
        }
        match self.open.swap_remove(pick % self.open.len()) {
            Event::Started { key } if start_fails => {
                self.lives.insert(key, Life::Buried);
                self.count();
                self.tell(Event::StartFailed { key });
            }
            Event::Started { key } => {
                self.lives.insert(key, Life::Running);
                self.tell(Event::Started { key });
            }
            Event::Exited { key, exit } => {
                self.open.push(Event::Gone { key });
                self.tell(Event::Exited { key, exit });
            }
            Event::Gone { key } => {
                self.lives.insert(key, Life::Buried);
                self.tell(Event::Gone { key });
            }
            other @ (Event::Added { .. }
            | Event::StartFailed { .. }
            | Event::Elapsed { .. }
            | Event::Terminate { .. }) => {
                self.tell(other);
            }
        }
    }

    fn crash(&mut self, key: Key, exit: Exit) {
        if self.lives.get(&key) == Some(&Life::Running) {
            self.lives.insert(key, Life::Ending);
            self.last_exits.insert(key, exit.clone());
            self.count();
            self.tell(Event::Exited { key, exit });
        }
    }

    /// Notes the moment of every event that could count as a restart: an upper bound for the model's window.
    fn count(&mut self) {
        self.counted.push(self.now_ms);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Crash(Key, bool),
    Answer(usize, bool),
    Pass(u64),
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::OneForOne), Just(Policy::OneForAll), Just(Policy::RestForOne)]
}

fn restarts() -> impl Strategy<Value = Restart> {
    prop_oneof![3 => Just(Restart::Permanent), 2 => Just(Restart::Transient), 1 => Just(Restart::Temporary)]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u64, any::<bool>()).prop_map(|(key, normal)| Step::Crash(key, normal)),
        6 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(pick, fails)| Step::Answer(pick, fails)),
        2 => (0..4_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Safety in every step (asserted by the world), and liveness: once the failures end, everything that must run
    /// runs, unless the supervisor gave up, which it does only with a reason.
    #[test]
    fn supervisors_keep_their_promises(
        strategy in policies(),
        intensity in 0..8_u32,
        children in prop::collection::vec(restarts(), 1..6),
        script in prop::collection::vec(steps(), 0..80),
    ) {
        let mut world = World::new(supervisor(strategy, intensity, &children));
        for step in script {
            match step {
                Step::Crash(key, normal) => {
                    let exit = if normal { Exit::Normal } else { Exit::Killed };
                    world.crash(key, exit);
                }
                Step::Answer(pick, fails) => world.answer(pick, fails),
                Step::Pass(ms) => world.now_ms += ms,
            }
        }
        while !world.gave_up && !world.open.is_empty() {
            world.answer(0, false);
        }
        if world.gave_up {
            let recent = world.counted.iter().filter(|at| **at <= world.gave_up_ms && world.gave_up_ms - **at < 5_000).count();
            prop_assert!(recent > intensity as usize, "gave up without reason");
        } else {
            for (key, restart) in (0_u64..).zip(&children) {
                match restart {
                    Restart::Permanent => prop_assert_eq!(world.lives[&key], Life::Running),
                    Restart::Transient | Restart::Temporary => {
                        let failed = world.last_exits.get(&key).is_some_and(|exit| !exit.is_normal());
                        if *restart == Restart::Transient && failed {
                            prop_assert_eq!(world.lives[&key], Life::Running);
                        }
                        prop_assert!(matches!(world.lives[&key], Life::Running | Life::Buried));
                    }
                }
            }
            prop_assert!(world.state.operations.is_empty());
        }
    }

    /// Children that come, go and fail at run time: a terminated one is never started again, and none is forgotten.
    #[test]
    fn terminated_children_stay_down(script in prop::collection::vec((0..4_u64, 0..4_u8, any::<usize>()), 0..60)) {
        let mut world = World::new(supervisor(Policy::Dynamic, 1_000, &[Restart::Permanent; 4]));
        world.lives.clear();
        let mut terminated = Vec::new();
        let mut added = Vec::new();
        for (key, what, pick) in script {
            match what {
                0 if !added.contains(&key) => {
                    added.push(key);
                    world.lives.insert(key, Life::Buried);
                    world.tell(Event::Added { key, spec: Box::new(child(Restart::Permanent)) });
                }
                1 => world.crash(key, Exit::Killed),
                2 if added.contains(&key) => {
                    terminated.push(key);
                    world.tell(Event::Terminate { key });
                }
                _ => world.answer(pick, false),
            }
        }
        while !world.open.is_empty() {
            world.answer(0, false);
        }
        for key in added {
            let expected = if terminated.contains(&key) { Life::Buried } else { Life::Running };
            prop_assert_eq!(world.lives[&key], expected);
        }
    }

    #[test]
    fn delays_grow_within_their_limits(attempt in 0..1_000_u32, jitter in -1.0..1.0_f64) {
        let backoff = Backoff::default();
        let delay = delay_ms(&backoff, attempt, jitter);
        prop_assert!((80..=36_000).contains(&delay));
        prop_assert!(delay_ms(&backoff, attempt + 1, 0.0) >= delay_ms(&backoff, attempt, 0.0));
    }
}

#[test]
fn exits_during_the_descent_are_one_restart_and_a_failure_during_the_ascent_is_another() {
    let mut world = World::new(supervisor(Policy::OneForAll, 1, &[Restart::Permanent; 3]));
    world.crash(1, Exit::Killed);
    world.crash(0, Exit::Killed);
    world.crash(2, Exit::Killed);
    while !world.open.is_empty() {
        world.answer(0, false);
    }
    assert!(!world.gave_up, "three exits at once are one restart");
    assert!(world.lives.values().all(|life| *life == Life::Running));

    world.now_ms = 6_000;
    world.crash(1, Exit::Killed);
    while !world.open.iter().any(|event| matches!(event, Event::Started { .. })) {
        world.answer(0, false);
    }
    world.answer(0, true);
    assert!(world.gave_up, "a failing start during the ascent is a second restart");
}

#[test]
fn only_what_started_after_the_failed_child_is_restarted() {
    let mut world = World::new(supervisor(Policy::RestForOne, 1, &[Restart::Permanent; 3]));
    let actions = decide(&mut world.state, Event::Exited { key: 1, exit: Exit::Normal }, 0, 0.0);
    assert_eq!(actions, [Action::Bury { key: 1 }]);
    assert_eq!(decide(&mut world.state, Event::Gone { key: 1 }, 0, 0.0), [Action::Stop { key: 2 }]);
    assert_eq!(
        decide(&mut world.state, Event::Gone { key: 2 }, 0, 0.0),
        [Action::Wait { token: 1, delay_ms: 10, cause: 1, members: vec![1, 2] }]
    );
    assert_eq!(decide(&mut world.state, Event::Elapsed { token: 7 }, 0, 0.0), [], "a stale timer");
    assert_eq!(
        decide(&mut world.state, Event::Elapsed { token: 1 }, 0, 0.0),
        [Action::Start { key: 1 }]
    );
    assert_eq!(
        decide(&mut world.state, Event::Started { key: 1 }, 0, 0.0),
        [Action::Start { key: 2 }]
    );
    assert_eq!(decide(&mut world.state, Event::Started { key: 2 }, 0, 0.0), []);
}

#[test]
fn the_window_slides_and_a_quiet_life_resets_the_backoff() {
    let mut state = State::new(&supervisor(Policy::OneForOne, 2, &[Restart::Permanent]), 0);
    let mut restart_at = |now_ms: u64| {
        let _ = decide(&mut state, Event::Exited { key: 0, exit: Exit::Killed }, now_ms, 0.0);
        let actions = decide(&mut state, Event::Gone { key: 0 }, now_ms, 0.0);
        let Some(Action::Wait { token, delay_ms, .. }) = actions.first().cloned() else {
            return None;
        };
        let _ = decide(&mut state, Event::Elapsed { token }, now_ms, 0.0);
        let _ = decide(&mut state, Event::Started { key: 0 }, now_ms, 0.0);
        Some(delay_ms)
    };
    assert_eq!(restart_at(1_000), Some(10));
    assert_eq!(restart_at(2_000), Some(20));
    assert_eq!(restart_at(6_500), Some(40), "the restart of second 1 has left the window");
    assert_eq!(restart_at(70_000), Some(10), "it lived for more than `reset_after`");
    assert_eq!(restart_at(70_001), Some(20));
    assert_eq!(restart_at(70_002), None, "the third within 5 s is one too many");
}

#[test]
fn significant_children_end_their_supervisor() {
    let mut spec = supervisor(Policy::OneForOne, 1, &[Restart::Transient; 3]);
    spec.children[0].significant = true;
    spec.children[1].significant = true;
    spec.auto_shutdown = AutoShutdown::AllSignificant;
    let mut state = State::new(&spec, 0);
    let normal = |key| Event::Exited { key, exit: Exit::Normal };
    assert_eq!(decide(&mut state, normal(2), 0, 0.0), [Action::Bury { key: 2 }]);
    assert_eq!(
        decide(&mut state, normal(0), 0, 0.0),
        [Action::Bury { key: 0 }],
        "the other significant one runs"
    );
    assert_eq!(decide(&mut state, normal(1), 0, 0.0), [Action::Shutdown]);

    spec.auto_shutdown = AutoShutdown::AnySignificant;
    let mut state = State::new(&spec, 0);
    let failed = Event::Exited { key: 0, exit: Exit::Killed };
    assert_eq!(
        decide(&mut state, failed, 0, 0.0),
        [Action::Bury { key: 0 }],
        "it is restarted, so it did not finish"
    );
    assert_eq!(decide(&mut state, normal(1), 0, 0.0), [Action::Shutdown]);
}
