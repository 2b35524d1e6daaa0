//! Child kind to spawn function: the list of everything that runs.

use std::str::FromStr;

use journeyman_actors::agent::{RunActor, RunArguments};
use journeyman_actors::auditor::{AuditorActor, AuditorArguments};
use journeyman_actors::classifier::ClassifierActor;
use journeyman_actors::context::Runtime;
use journeyman_actors::gateway::GatewayActor;
use journeyman_actors::learner::LearnerActor;
use journeyman_actors::outbox::OutboxActor;
use journeyman_actors::scheduler::{SchedulerActor, SchedulerArguments};
use journeyman_actors::sentinel::{SentinelActor, SentinelArguments};
use journeyman_actors::support::Spawned;
use journeyman_supervision::{Child, ChildContext, StartChild, TreeSpec};

/// The tree as it is shipped.
pub const SUPERVISOR: &str = include_str!("../config/supervisor.toml");

/// What can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Seals the audit, records the tree.
    Auditor,
    /// Classifies failures.
    Classifier,
    /// Calls models.
    Gateway,
    /// Learns what resolved them.
    Learner,
    /// Sends effects to foreign systems.
    Outbox,
    /// One run of an agent.
    Run,
    /// Claims tasks.
    Scheduler,
    /// Watches the runtime.
    Sentinel,
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Ok(match word {
            "auditor" => Self::Auditor,
            "classifier" => Self::Classifier,
            "gateway" => Self::Gateway,
            "learner" => Self::Learner,
            "outbox" => Self::Outbox,
            "run" => Self::Run,
            "scheduler" => Self::Scheduler,
            "sentinel" => Self::Sentinel,
            _ => return Err(()),
        })
    }
}

/// Starts the children of the tree.
pub struct Starter {
    /// What all actors share.
    pub runtime: Runtime,
}

impl StartChild for Starter {
    type Kind = Kind;

    async fn start(&self, kind: Kind, child: ChildContext) -> Spawned<Child> {
        let runtime = self.runtime.clone();
        match kind {
            Kind::Auditor => AuditorActor::start(AuditorArguments { runtime, child }).await,
            Kind::Classifier => ClassifierActor::start(runtime, child).await,
            Kind::Gateway => GatewayActor::start(runtime, child).await,
            Kind::Learner => LearnerActor::start(runtime, child).await,
            Kind::Outbox => OutboxActor::start(runtime, child).await,
            Kind::Run => RunActor::start(RunArguments { runtime, child }).await,
            Kind::Scheduler => SchedulerActor::start(SchedulerArguments { runtime, child }).await,
            Kind::Sentinel => SentinelActor::start(SentinelArguments { runtime, child }).await,
        }
    }
}

/// The shipped tree, or the user's own file.
pub fn spec(own: Option<&str>) -> Result<TreeSpec, journeyman_supervision::SpecError> {
    TreeSpec::from_toml(own.unwrap_or(SUPERVISOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_tree_is_sound_and_its_kinds_exist() {
        let spec = spec(None).unwrap();
        for (_, supervisor) in spec.supervisors() {
            for child in &supervisor.children {
                if let journeyman_supervision::Start::Worker(kind) = &child.start {
                    assert!(kind.parse::<Kind>().is_ok(), "{kind}");
                }
            }
        }
    }
}
