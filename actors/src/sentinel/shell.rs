//! The sentinel's shell.

use std::time::Duration;

use journeyman_supervision::{Child, ChildContext, Directory, Status, TreeNode};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::messages::{SentinelHandle, SentinelMessage, SentinelSnapshot};
use crate::context::Runtime;
use crate::support::{Envelope, Spawned, TrackedTasks, answer, probed};

/// Between two looks.
const EVERY: Duration = Duration::from_mins(1);

/// The sentinel.
#[derive(Debug)]
pub struct SentinelActor;

/// What it starts with.
pub struct Arguments {
    /// What all actors share.
    pub runtime: Runtime,
    /// Its place in the tree.
    pub child: ChildContext,
}

/// What it holds.
pub struct State {
    runtime: Runtime,
    generation: u64,
    directory: Directory,
    seen: SentinelSnapshot,
    tasks: TrackedTasks,
}

impl SentinelActor {
    /// Starts the sentinel at its place in the tree; it answers health probes.
    pub async fn start(arguments: Arguments) -> Spawned<Child> {
        let at = arguments.child.clone();
        let (actor, _) = Self::spawn_linked(None, Self, arguments, at.supervisor.clone()).await?;
        Ok(probed(actor, &at, |reply| SentinelMessage::Snapshot { reply }))
    }
}

impl Actor for SentinelActor {
    type Msg = Envelope<SentinelMessage>;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        Arguments { runtime, child }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let state = State {
            runtime,
            generation: child.generation,
            directory: child.directory.clone(),
            seen: SentinelSnapshot::default(),
            tasks: TrackedTasks::default(),
        };
        let handle = SentinelHandle::new(child.directory, "sentinel");
        state.tasks.spawn(move |stop| async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {
                        handle.tick();
                    }
                    () = stop.cancelled() => return,
                }
            }
        });
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<SentinelMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let generation = state.generation;
        envelope
            .open(generation, |_, message| async {
                match message {
                    SentinelMessage::Tick => state.look().await,
                    SentinelMessage::Snapshot { reply } => {
                        answer(reply, Ok(state.seen.clone()));
                    }
                }
            })
            .await;
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.tasks.stop(Duration::from_secs(1)).await;
        Ok(())
    }
}

impl State {
    async fn look(&mut self) {
        let mut seen = match self.runtime.store.health().await.map(|health| health.system) {
            Ok(health) => SentinelSnapshot {
                status: health["status"].as_str().unwrap_or("unhealthy").to_owned(),
                reasons: health["reasons"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|reason| reason.as_str().map(str::to_owned))
                    .collect(),
            },
            Err(error) => SentinelSnapshot {
                status: "unhealthy".to_owned(),
                reasons: vec![error.to_string()],
            },
        };
        if let Some(tree) = self.directory.tree("root") {
            restless(&tree, &mut seen.reasons);
        }
        if seen.status == "healthy" && !seen.reasons.is_empty() {
            "degraded".clone_into(&mut seen.status);
        }
        if seen != self.seen {
            let reasons = seen.reasons.join("; ");
            if seen.status == "healthy" {
                tracing::info!(status = seen.status, "the runtime is well");
            } else {
                tracing::warn!(status = seen.status, reasons, "the runtime is not well");
            }
        }
        self.seen = seen;
    }
}

/// Children that are not running, as sentences.
fn restless(node: &TreeNode, reasons: &mut Vec<String>) {
    match node.status {
        Status::BackingOff { .. } => reasons.push(format!("{} waits for its restart", node.path)),
        Status::Restarting => reasons.push(format!("{} is being restarted", node.path)),
        Status::Starting | Status::Running | Status::Stopping | Status::Stopped => {}
    }
    for child in &node.children {
        restless(child, reasons);
    }
}
