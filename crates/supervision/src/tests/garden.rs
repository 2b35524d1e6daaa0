//! Random trees of real actors.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    panic::resume_unwind,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};

use super::{forest::Branch, watch::Watch};
use crate::{Child, ChildContext, StartChild};

/// Actors on a tree, and what they did.
#[derive(Clone)]
pub(super) struct Garden(Arc<Inner>);

struct Inner {
    /// Kind `fragile` fails its start while this is set.
    broken: AtomicBool,
    watch: Mutex<Watch>,
}

impl Garden {
    pub(super) fn new(tree: Branch) -> Self {
        let watch = Mutex::new(Watch::new(tree));
        Self(Arc::new(Inner { broken: AtomicBool::new(false), watch }))
    }

    pub(super) fn set_broken(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::SeqCst);
    }

    /// What was not as promised.
    pub(super) fn faults(&self) -> Vec<String> {
        self.watch().faults().to_vec()
    }

    /// The paths of all that live.
    pub(super) fn alive(&self) -> BTreeSet<String> {
        self.watch().alive().map(|born| born.path.clone()).collect()
    }

    /// How often each leaf was started.
    pub(super) fn starts(&self) -> BTreeMap<String, u64> {
        self.watch().starts().clone()
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.0.watch.lock().unwrap()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Panic,
    Fail,
    Finish,
}

struct Plant {
    garden: Garden,
    context: ChildContext,
    kind: String,
}

impl Actor for Plant {
    type Msg = Fate;
    /// Whether it ends by its own wish.
    type State = bool;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Fate>, (): ()) -> Result<bool, ActorProcessingErr> {
        let path = self.context.path.as_str();
        self.garden.watch().born(&self.context.directory, path, &myself.get_cell());
        match self.kind.as_str() {
            "slow" => tokio::time::sleep(Duration::from_millis(30)).await,
            "fragile" if self.garden.0.broken.load(Ordering::SeqCst) => {
                return Err("no such table".into());
            }
            "family" => {
                let relative = Plant {
                    garden: self.garden.clone(),
                    context: self.context.clone(),
                    kind: "relative".to_owned(),
                };
                let name = Some(format!("{:p}/{path}/relative", Arc::as_ptr(&self.garden.0)));
                let (cell, _) =
                    Relative::spawn_linked(name, Relative(relative), (), myself.get_cell()).await?;
                self.context.adopt(cell);
            }
            _ => {}
        }
        Ok(false)
    }

    async fn handle(
        &self,
        myself: ActorRef<Fate>,
        fate: Fate,
        own: &mut bool,
    ) -> Result<(), ActorProcessingErr> {
        match fate {
            // Without the noise of the hook.
            Fate::Panic => resume_unwind(Box::new("as asked")),
            Fate::Fail => return Err("as asked".into()),
            Fate::Finish => {
                *own = true;
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Fate>, own: &mut bool) -> Result<(), ActorProcessingErr> {
        if !*own {
            self.garden.watch().stopped(&self.context.directory, self.context.path.as_str());
        }
        if self.kind == "stuck" {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        Ok(())
    }
}

/// A named grandchild, started by a worker itself.
struct Relative(Plant);

impl Actor for Relative {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        let path = format!("{}/relative", self.0.context.path);
        self.0.garden.watch().adopted(path, myself.get_cell());
        Ok(())
    }
}

pub(super) struct Kind(String);

impl FromStr for Kind {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl StartChild for Garden {
    type Kind = Kind;

    async fn start(&self, Kind(kind): Kind, context: ChildContext) -> Result<Child, SpawnErr> {
        let supervisor = context.supervisor.clone();
        let plant = Plant { garden: self.clone(), context, kind };
        let (actor, _) = Actor::spawn_linked(None, plant, (), supervisor).await?;
        Ok(Child::new(actor))
    }
}
