//! The supervisor actor: it carries out what [`model`](crate::model) decides.
//!
//! Owns the children's slots (which instance has which key) and the tasks under way. Handlers never wait: starts,
//! stops, burials and delays are tasks that report back as messages, so that a stop always wins over a restart. Only
//! `pre_start` and `post_stop` wait, since nothing else may happen then. It decides nothing.

mod birth;
mod burial;
mod effects;
mod health;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use futures_util::future::{BoxFuture, join_all};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    child::{Child, StartFailure},
    directory::{Instance, Status},
    dynamic::DynamicError,
    exit::{Ending, Exit, GaveUp, chain},
    model::{self, Event, Key},
    path::{ChildPath, is_id},
    record::Change,
    shared::Shared,
    spec::{ChildSpec, Strategy, SupervisorSpec},
};
pub(crate) use burial::root_ended;

/// What a supervisor is told.
pub(crate) enum Message {
    /// A `Start` ended.
    Born { key: Key, result: Result<Child, StartFailure> },
    /// A `Stop` or a `Bury` ended.
    Gone { key: Key },
    /// A `Wait` ended.
    Elapsed { token: u64 },
    /// Start a child of the template under this id.
    StartChild { id: String, reply: oneshot::Sender<Result<Instance, DynamicError>> },
    /// Stop a child for good.
    TerminateChild { id: String, reply: oneshot::Sender<Result<(), DynamicError>> },
    /// The health probe of supervisors.
    Ping { reply: ractor::RpcReplyPort<()> },
}

pub(crate) struct Supervisor;

pub(crate) struct Arguments {
    pub(crate) shared: Arc<Shared>,
    pub(crate) path: ChildPath,
    pub(crate) spec: SupervisorSpec,
    /// Where the root leaves the reason of its end.
    pub(crate) ending: Option<Arc<OnceLock<Ending>>>,
}

struct Slot {
    path: ChildPath,
    spec: Arc<ChildSpec>,
    instance: Option<ActorId>,
    health: Option<AbortOnDropHandle<()>>,
    start_reply: Option<oneshot::Sender<Result<Instance, DynamicError>>>,
    terminate_replies: Vec<oneshot::Sender<Result<(), DynamicError>>>,
}

pub(crate) struct State {
    shared: Arc<Shared>,
    path: ChildPath,
    spec: SupervisorSpec,
    model: model::State,
    slots: BTreeMap<Key, Slot>,
    keys: HashMap<String, Key>,
    next_key: Key,
    /// Dropped with the state, so that nothing is started for a supervisor that died.
    tasks: JoinSet<()>,
    births: usize,
    /// Exits of instances whose birth was not reported yet.
    early_exits: HashMap<ActorId, Exit>,
    gave_up: Option<GaveUp>,
    ending: Option<Arc<OnceLock<Ending>>>,
}

/// Starts the supervisor of a child; boxed, since supervisors start supervisors.
pub(crate) fn launch(
    arguments: Arguments,
    parent: ActorCell,
) -> BoxFuture<'static, Result<Child, SpawnErr>> {
    Box::pin(async move {
        let (actor, _) = Actor::spawn_linked(None, Supervisor, arguments, parent).await?;
        Ok(Child::with_ping(actor, |reply| Message::Ping { reply }))
    })
}

impl Actor for Supervisor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { shared, path, spec, ending } = arguments;
        let mut state = State {
            model: model::State::new(&spec, shared.now_ms()),
            shared,
            path,
            spec,
            slots: BTreeMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            tasks: JoinSet::new(),
            births: 0,
            early_exits: HashMap::new(),
            gave_up: None,
            ending,
        };
        state.start_all(&myself).await?;
        Ok(state)
    }

    async fn post_stop(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.tasks.shutdown().await;
        state.stop_all(&myself).await;
        let gave_up = state.gave_up.take();
        if let Some(ending) = &state.ending {
            let reason = match &gave_up {
                Some(gave_up) => Ending::GaveUp(gave_up.clone()),
                None if state.model.is_over() => Ending::AutoShutdown,
                None => Ending::Stopped,
            };
            // Only this instance of the root writes, once.
            let _ = ending.set(reason);
        }
        gave_up.map_or(Ok(()), |gave_up| Err(gave_up.into()))
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Born { key, result } => state.born(&myself, key, result),
            Message::Gone { key } => state.decide(&myself, Event::Gone { key }),
            Message::Elapsed { token } => state.decide(&myself, Event::Elapsed { token }),
            Message::StartChild { id, reply } => state.start_child(&myself, id, reply),
            Message::TerminateChild { id, reply } => state.terminate_child(&myself, &id, reply),
            // A caller that no longer waits is no concern of ours.
            Message::Ping { reply } => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                state.ended(&myself, cell.get_id(), Exit::from_reason(reason.as_deref()));
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                state.ended(&myself, cell.get_id(), Exit::from_error(&error));
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    /// Starts all static children in order; the first failure stops the started ones in reverse.
    async fn start_all(&mut self, myself: &ActorRef<Message>) -> Result<(), StartFailure> {
        if self.spec.strategy == Strategy::Dynamic {
            return Ok(());
        }
        for child in self.spec.children.clone() {
            let path = self.path.join(&child.id);
            self.add_slot(path, Arc::new(child));
        }
        for key in 0..self.next_key {
            let Some(slot) = self.slots.get(&key) else {
                continue;
            };
            let born = birth::bear(
                Arc::clone(&self.shared),
                myself.get_cell(),
                slot.path.clone(),
                Arc::clone(&slot.spec),
            );
            match born.await {
                Ok(child) => self.install(key, &child),
                Err(failure) => {
                    self.not_started(key, &failure);
                    self.stop_all(myself).await;
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Notes that the start of `key` failed, and so that nothing behind it will be started.
    fn not_started(&mut self, key: Key, failure: &StartFailure) {
        let slots = self.slots.split_off(&key);
        if let Some(slot) = slots.get(&key) {
            let message = chain(failure);
            self.shared.directory.set_exit(&slot.path, Exit::Failed(message.clone()));
            self.shared.record(&slot.path, Change::StartFailed { message });
            self.shared.record(&slot.path, Change::Stopped);
        }
        for slot in slots.into_values() {
            self.shared.directory.set_status(&slot.path, Status::Stopped);
        }
    }

    fn add_slot(&mut self, path: ChildPath, spec: Arc<ChildSpec>) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        let supervisor = self.shared.supervisor_of(&spec);
        self.shared.directory.declare(&path, supervisor, self.spec.period);
        self.keys.insert(path.id().to_owned(), key);
        let slot = Slot {
            path,
            spec,
            instance: None,
            health: None,
            start_reply: None,
            terminate_replies: Vec::new(),
        };
        self.slots.insert(key, slot);
        key
    }

    /// Takes a running instance into its slot.
    fn install(&mut self, key: Key, child: &Child) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        slot.instance = Some(child.cell.get_id());
        slot.health = slot.spec.health.zip(child.probe.clone()).map(|(health, probe)| {
            health::watch(
                Arc::clone(&self.shared),
                slot.path.clone(),
                child.cell.clone(),
                health,
                probe,
            )
        });
    }

    /// Stops every child that lives, each within its own limit: in reverse order, or together if dynamic.
    async fn stop_all(&mut self, myself: &ActorRef<Message>) {
        let slots = std::mem::take(&mut self.slots);
        let stops = slots.into_values().rev().map(|slot| {
            let shared = Arc::clone(&self.shared);
            async move {
                drop(slot.health);
                burial::stop_for_good(&shared, &slot.path, slot.spec.shutdown).await;
                for reply in slot.terminate_replies {
                    // The caller may have gone.
                    let _ = reply.send(Ok(()));
                }
            }
        });
        if self.spec.strategy == Strategy::Dynamic {
            join_all(stops).await;
            self.shared.directory.forget_dynamic(&self.path);
        } else {
            for stop in stops {
                stop.await;
            }
        }
        // A start that was interrupted may have left an actor that no path knows.
        burial::kill_strays(&myself.get_cell()).await;
    }

    fn born(&mut self, myself: &ActorRef<Message>, key: Key, result: Result<Child, StartFailure>) {
        self.births = self.births.saturating_sub(1);
        let reply = self.slots.get_mut(&key).and_then(|slot| slot.start_reply.take());
        match result {
            Ok(child) => {
                self.install(key, &child);
                if let (Some(reply), Some(slot)) = (reply, self.slots.get(&key)) {
                    let generation = self.shared.directory.generation(&slot.path);
                    // The caller may have gone; the child stays.
                    let _ = reply.send(Ok(Instance { cell: child.cell.clone(), generation }));
                }
                self.decide(myself, Event::Started { key });
                if let Some(exit) = self.early_exits.remove(&child.cell.get_id()) {
                    self.ended(myself, child.cell.get_id(), exit);
                }
            }
            Err(failure) => {
                let message = chain(&failure);
                if let Some(slot) = self.slots.get(&key) {
                    self.shared.directory.set_exit(&slot.path, Exit::Failed(message.clone()));
                    self.shared
                        .record(&slot.path, Change::StartFailed { message: message.clone() });
                }
                if let Some(reply) = reply {
                    let _ = reply.send(Err(DynamicError::StartFailed { message }));
                }
                self.decide(myself, Event::StartFailed { key });
            }
        }
        if self.births == 0 {
            self.early_exits.clear();
        }
    }

    fn ended(&mut self, myself: &ActorRef<Message>, instance: ActorId, exit: Exit) {
        let Some((key, slot)) =
            self.slots.iter_mut().find(|(_, slot)| slot.instance == Some(instance))
        else {
            if self.births > 0 {
                self.early_exits.insert(instance, exit);
            }
            return;
        };
        let key = *key;
        slot.instance = None;
        slot.health = None;
        self.shared.directory.set_exit(&slot.path, exit.clone());
        self.shared.record(&slot.path, Change::Exited { exit: exit.clone() });
        self.decide(myself, Event::Exited { key, exit });
    }

    fn start_child(
        &mut self,
        myself: &ActorRef<Message>,
        id: String,
        reply: oneshot::Sender<Result<Instance, DynamicError>>,
    ) {
        let refusal = match (self.spec.strategy, self.spec.max_children) {
            (Strategy::OneForOne | Strategy::OneForAll | Strategy::RestForOne, _) => {
                Some(DynamicError::NotDynamic)
            }
            (Strategy::Dynamic, _) if !is_id(&id) => Some(DynamicError::BadId { id: id.clone() }),
            (Strategy::Dynamic, _) if self.keys.contains_key(&id) => {
                Some(DynamicError::Exists { id: id.clone() })
            }
            (Strategy::Dynamic, Some(max)) if self.slots.len() >= max => {
                Some(DynamicError::Full { max })
            }
            (Strategy::Dynamic, _) => None,
        };
        let template = self.spec.children.first().cloned().ok_or(DynamicError::NotDynamic);
        match refusal.map_or(template, Err) {
            Ok(template) => {
                let path = self.path.join(&id);
                let spec = ChildSpec { id, ..template };
                let key = self.add_slot(path, Arc::new(spec.clone()));
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.start_reply = Some(reply);
                }
                self.decide(myself, Event::Added { key, spec: Box::new(spec) });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn terminate_child(
        &mut self,
        myself: &ActorRef<Message>,
        id: &str,
        reply: oneshot::Sender<Result<(), DynamicError>>,
    ) {
        if self.spec.strategy != Strategy::Dynamic {
            return drop(reply.send(Err(DynamicError::NotDynamic)));
        }
        let Some((key, slot)) =
            self.keys.get(id).and_then(|key| Some((*key, self.slots.get_mut(key)?)))
        else {
            return drop(reply.send(Err(DynamicError::Unknown { id: id.to_owned() })));
        };
        slot.terminate_replies.push(reply);
        self.shared.directory.set_status(&slot.path, Status::Stopping);
        self.decide(myself, Event::Terminate { key });
    }
}
