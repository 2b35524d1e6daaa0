//! What the model decides, carried out: tasks that report back, statuses, records.

use std::{sync::Arc, time::Duration};

use ractor::ActorRef;

use super::{
    Message, State, birth,
    burial::{self, Patience},
};
use crate::{
    directory::Status,
    exit::{Exit, GaveUp, SHUTDOWN},
    model::{self, Action, Event, Key},
    record::Change,
    spec::Strategy,
};

impl State {
    pub(super) fn decide(&mut self, myself: &ActorRef<Message>, event: Event) {
        for action in
            model::decide(&mut self.model, event, self.shared.now_ms(), self.shared.jitter())
        {
            self.perform(myself, action);
        }
    }

    fn perform(&mut self, myself: &ActorRef<Message>, action: Action) {
        match action {
            Action::Start { key } => self.start(myself, key),
            Action::Stop { key } => self.lay_to_rest(myself, key, true),
            Action::Bury { key } => self.lay_to_rest(myself, key, false),
            Action::Wait { token, delay_ms, cause, members } => {
                self.wait(myself, token, delay_ms, cause, &members);
            }
            Action::Rest { key } => self.rest(key),
            Action::GiveUp { cause } => self.give_up(myself, cause),
            Action::Shutdown => myself.stop(Some(SHUTDOWN.to_owned())),
        }
    }

    fn start(&mut self, myself: &ActorRef<Message>, key: Key) {
        let Some(slot) = self.slots.get(&key) else {
            return;
        };
        if matches!(
            self.shared.directory.status(slot.path.as_str()),
            Some(Status::BackingOff { .. })
        ) {
            self.shared.directory.set_status(&slot.path, Status::Restarting);
        }
        let born = birth::bear(
            Arc::clone(&self.shared),
            myself.get_cell(),
            slot.path.clone(),
            Arc::clone(&slot.spec),
        );
        self.births += 1;
        self.report(myself, async move { Message::Born { key, result: born.await } });
    }

    fn lay_to_rest(&mut self, myself: &ActorRef<Message>, key: Key, stop: bool) {
        let due = self.model.is_due(key);
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        slot.health = None;
        let (shared, path) = (Arc::clone(&self.shared), slot.path.clone());
        let shutdown = stop.then_some(slot.spec.shutdown);
        shared.directory.set_status(&path, if due { Status::Restarting } else { Status::Stopping });
        self.report(myself, async move {
            burial::lay_to_rest(&shared, &path, shutdown, Patience::Endless).await;
            Message::Gone { key }
        });
    }

    fn wait(
        &mut self,
        myself: &ActorRef<Message>,
        token: u64,
        delay_ms: u64,
        cause: Key,
        members: &[Key],
    ) {
        let after = Duration::from_millis(delay_ms);
        let cause =
            self.slots.get(&cause).map_or_else(|| self.path.clone(), |slot| slot.path.clone());
        self.shared.directory.count_restart(&self.path, &cause);
        for slot in members.iter().filter_map(|key| self.slots.get(key)) {
            if after.is_zero() {
                self.shared.directory.set_status(&slot.path, Status::Restarting);
            } else {
                self.shared.directory.back_off(&slot.path, after);
            }
            self.shared.record(&slot.path, Change::Restarting { after, cause: cause.clone() });
        }
        self.report(myself, async move {
            tokio::time::sleep(after).await;
            Message::Elapsed { token }
        });
    }

    fn rest(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        self.shared.directory.set_status(&slot.path, Status::Stopped);
        self.shared.record(&slot.path, Change::Stopped);
        if self.spec.strategy == Strategy::Dynamic
            && let Some(slot) = self.slots.remove(&key)
        {
            self.keys.remove(slot.path.id());
            self.shared.directory.forget(&slot.path);
            for reply in slot.terminate_replies {
                // The caller may have gone.
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn give_up(&mut self, myself: &ActorRef<Message>, cause: Key) {
        let Some(slot) = self.slots.get(&cause) else {
            return;
        };
        let reason = GaveUp {
            supervisor: self.path.clone(),
            child: slot.path.clone(),
            exit: self.shared.directory.last_exit(&slot.path).unwrap_or(Exit::Normal),
            intensity: self.spec.intensity,
            period: self.spec.period,
        };
        self.shared.record(&self.path, Change::GaveUp { reason: reason.clone() });
        self.gave_up = Some(reason);
        myself.stop(Some(SHUTDOWN.to_owned()));
    }

    /// Runs a task whose result comes back as a message.
    fn report(
        &mut self,
        myself: &ActorRef<Message>,
        task: impl Future<Output = Message> + Send + 'static,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let myself = myself.clone();
        self.tasks.spawn(async move {
            // It fails only when this supervisor is ending, which then stops everything by itself.
            let _ = myself.send_message(task.await);
        });
    }
}
