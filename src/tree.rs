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
use journeyman_actors::support::{Lives, Spawned};
use journeyman_supervision::{Change, Child, ChildContext, ChildPath, StartChild, TreeSpec};

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

/// The kinds by their words in the supervision file.
const KINDS: [(&str, Kind); 8] = [
    ("auditor", Kind::Auditor),
    ("classifier", Kind::Classifier),
    ("gateway", Kind::Gateway),
    ("learner", Kind::Learner),
    ("outbox", Kind::Outbox),
    ("run", Kind::Run),
    ("scheduler", Kind::Scheduler),
    ("sentinel", Kind::Sentinel),
];

impl FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        KINDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind).ok_or(())
    }
}

/// Starts the children of the tree.
pub struct Starter {
    /// What all actors share.
    pub runtime: Runtime,
    /// What becomes of them, for metrics and traces.
    pub lives: Lives,
}

impl StartChild for Starter {
    type Kind = Kind;

    async fn start(&self, kind: Kind, child: ChildContext) -> Spawned<Child> {
        let runtime = self.runtime.clone();
        match kind {
            Kind::Auditor => {
                let (store, node, mode) = (runtime.store, runtime.node, runtime.mode);
                AuditorActor::start(AuditorArguments { store, node, mode, child }).await
            }
            Kind::Classifier => ClassifierActor::start(runtime, child).await,
            Kind::Gateway => GatewayActor::start(runtime, child).await,
            Kind::Learner => LearnerActor::start(runtime, child).await,
            Kind::Outbox => OutboxActor::start(runtime, child).await,
            Kind::Run => RunActor::start(RunArguments { runtime, child }).await,
            Kind::Scheduler => SchedulerActor::start(SchedulerArguments { runtime, child }).await,
            Kind::Sentinel => SentinelActor::start(SentinelArguments { runtime, child }).await,
        }
    }

    fn observe(&self, path: &ChildPath, generation: u64, change: &Change) -> Option<String> {
        self.lives.observe(path, generation, change)
    }
}

/// The shipped tree, or the user's own file.
pub fn spec(own: Option<&str>) -> Result<TreeSpec, journeyman_supervision::SpecError> {
    TreeSpec::from_toml(own.unwrap_or(SUPERVISOR))
}

/// The JSON schema of the supervision file.
pub fn schema() -> serde_json::Value {
    journeyman_supervision::schema(&KINDS.map(|(word, _)| word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_repository_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema/supervisor.schema.json");
        let expected = format!("{:#}\n", schema());
        // `make schema`
        if std::env::var_os("JOURNEYMAN_WRITE_SCHEMA").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        let shown = std::fs::read_to_string(path).unwrap();
        assert_eq!(shown, expected, "it is stale; `make schema` writes it");
    }

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
