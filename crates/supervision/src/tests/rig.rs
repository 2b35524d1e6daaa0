//! Actors that misbehave on demand, and a log of what they did.

use std::{
    convert::Infallible,
    str::FromStr,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};

use crate::{
    Change, Child, ChildContext, Instance, RunningTree, StartChild, StartError, SupervisionRecord,
    TreeSpec,
};

/// What the actors of one test did, in order, and what they are to do.
#[derive(Clone, Default)]
pub(super) struct Rig {
    log: Arc<Mutex<Vec<String>>>,
    /// Kinds `panics` and `refuses` fail their start while this is set.
    pub(super) broken: Arc<AtomicBool>,
}

/// The kind is the first part of the text in the spec: it says how the actor misbehaves.
pub(super) struct Kind(String);

impl FromStr for Kind {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

pub(super) enum Order {
    Panic,
    Fail,
    Finish,
    /// Does not answer anything for this long.
    Hang(Duration),
    /// Blocks its thread until the other end is gone.
    Block(std::sync::mpsc::Receiver<()>),
    Ping(RpcReplyPort<()>),
}

struct Worker {
    rig: Rig,
    context: ChildContext,
    kind: String,
}

impl Actor for Worker {
    type Msg = Order;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Order>, (): ()) -> Result<(), ActorProcessingErr> {
        let broken = self.rig.broken.load(Ordering::SeqCst);
        match self.kind.as_str() {
            "panics" if broken => panic!("as asked"),
            "refuses" if broken => return Err("no such table".into()),
            "slow-first" => tokio::time::sleep(Duration::from_hours(1)).await,
            "slow" if self.context.generation > 1 => {
                tokio::time::sleep(Duration::from_hours(1)).await;
            }
            "family" => {
                for member in 0..3 {
                    let name = format!("{}/{member}", self.context.path);
                    let (cell, _) =
                        Actor::spawn_linked(Some(name), Relative, (), myself.get_cell()).await?;
                    self.context.adopt(cell.clone());
                    // Busy at the moment of its death, so that a kill takes a while.
                    cell.send_message(())?;
                }
            }
            _ => {}
        }
        self.rig.note(format!("+{}", self.context.path.id()));
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Panic => panic!("as asked"),
            Order::Fail => return Err("as asked".into()),
            Order::Finish => myself.stop(None),
            Order::Hang(time) => tokio::time::sleep(time).await,
            // Nothing is ever sent.
            Order::Block(gate) => drop(gate.recv()),
            // The prober may have given up waiting.
            Order::Ping(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Order>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if self.kind == "stuck" {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        self.rig.note(format!("-{}", self.context.path.id()));
        Ok(())
    }
}

/// A named grandchild that blocks its thread for a moment, so that a kill needs time.
struct Relative;

impl Actor for Relative {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        std::thread::sleep(Duration::from_millis(2));
        Ok(())
    }
}

impl StartChild for Rig {
    type Kind = Kind;

    async fn start(&self, Kind(kind): Kind, context: ChildContext) -> Result<Child, SpawnErr> {
        let is_careless = kind == "careless-later" && self.broken.load(Ordering::SeqCst);
        assert!(kind != "careless" && !is_careless, "a start function that panics");
        let supervisor = context.supervisor.clone();
        let name = (kind == "family").then(|| context.path.to_string());
        let stillborn = kind == "stillborn" && context.generation < 3;
        let worker = Worker { rig: self.clone(), context, kind: kind.clone() };
        let (actor, _) = Actor::spawn_linked(name, worker, (), supervisor).await?;
        if stillborn {
            actor.send_message(Order::Panic).unwrap();
            actor.wait(None).await.unwrap();
        }
        Ok(if kind == "mute" { Child::new(actor) } else { Child::with_ping(actor, Order::Ping) })
    }
}

impl Rig {
    pub(super) fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    /// What was noted since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub(super) async fn start(&self, toml: &str) -> Result<RunningTree, StartError> {
        RunningTree::start(TreeSpec::from_toml(toml).unwrap(), self.clone()).await
    }
}

/// Without a delay, so that a test needs no clock.
pub(super) const AT_ONCE: &str = r#"backoff = { min = "0ms" }"#;

pub(super) fn order(tree: &RunningTree, path: &str, order: Order) {
    tree.directory().resolve(path).expect(path).cell.send_message(order).expect(path);
}

/// Waits until an instance of at least this generation runs.
pub(super) async fn reborn(tree: &RunningTree, path: &str, generation: u64) -> Instance {
    for _ in 0..200_000 {
        match tree.directory().resolve(path) {
            Some(instance) if instance.generation >= generation => return instance,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    panic!("{path} did not come back: {:#?}", tree.snapshot());
}

pub(super) async fn until(tree: &RunningTree, what: &str, condition: impl Fn() -> bool) {
    for _ in 0..200_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what}: {:#?}", tree.snapshot());
}

/// All records so far of one path.
pub(super) fn changes(
    records: &mut tokio::sync::broadcast::Receiver<SupervisionRecord>,
    path: &str,
) -> Vec<(u64, Change)> {
    std::iter::from_fn(|| records.try_recv().ok())
        .filter(|record| record.path.as_str() == path)
        .map(|record| (record.generation, record.change))
        .collect()
}
