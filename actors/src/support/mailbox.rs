//! The way to an actor: resolves its live instance, counts what waits, limits how long to wait.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use journeyman_domain::ids::TaskId;
use journeyman_supervision::{Child, ChildContext, Directory, Instance, Status};
use journeyman_telemetry::context::Relation;
use ractor::{ActorRef, RpcReplyPort};
use tokio::time::Instant;

use super::envelope::{Envelope, Message, Waiting};

/// Where an actor sends its answer.
pub type Reply<T, E> = RpcReplyPort<Result<T, E>>;

/// Answers. Whoever asked may have gone, which is no matter of the one that was asked.
pub fn answer<T, E>(reply: Reply<T, E>, answer: Result<T, E>) {
    let _ = reply.send(answer);
}

/// A child whose health is whether it answers this question; the time limit is its supervisor's.
pub fn probed<M, T, E>(
    actor: ActorRef<Envelope<M>>,
    at: &ChildContext,
    question: fn(Reply<T, E>) -> M,
) -> Child
where
    M: Message,
    T: Send + 'static,
    E: Send + 'static,
{
    let mailbox = Mailbox::new(at.directory.clone(), at.path.as_str(), "supervisor");
    Child::new(actor).with_probe(move || {
        let mailbox = mailbox.clone();
        async move { mailbox.ask_without_limit(question).await.is_ok() }
    })
}

/// Why an ask has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError<E> {
    /// Too many messages wait for the actor already.
    #[error("{0} has too much to do at the moment")]
    Busy(&'static str),
    /// The actor is not running, or died while the message waited; asking again is safe.
    #[error("{0} is being restarted")]
    Restarting(&'static str),
    /// The runtime has stopped, or never had such an actor.
    #[error("{0} is not running")]
    Gone(&'static str),
    /// No answer within the time limit; whether it was handled is unknown.
    #[error("{0} did not answer in time")]
    TimedOut(&'static str),
    /// The actor answered with its own error.
    #[error(transparent)]
    Refused(E),
}

/// What all handles are made of. Never holds an actor's reference, which dies with its instance.
#[derive(Debug)]
pub struct Mailbox<M> {
    directory: Directory,
    path: Arc<str>,
    limit: usize,
    sender: &'static str,
    about: Option<TaskId>,
    message: PhantomData<fn(M)>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            directory: self.directory.clone(),
            path: self.path.clone(),
            limit: self.limit,
            sender: self.sender,
            about: self.about,
            message: PhantomData,
        }
    }
}

/// Between two looks whether an actor is back.
const RESTART_LOOK: Duration = Duration::from_millis(25);

/// Messages that may wait for one actor before further ones are refused.
const MAILBOX_LIMIT: usize = 1024;

impl<M: Message> Mailbox<M> {
    /// The way from `sender` to the actor at a path of the tree.
    pub fn new(directory: Directory, path: impl Into<Arc<str>>, sender: &'static str) -> Self {
        let path = path.into();
        Self { directory, path, limit: MAILBOX_LIMIT, sender, about: None, message: PhantomData }
    }

    /// The same way, for messages that belong to this task.
    #[must_use]
    pub fn about(&self, task: TaskId) -> Self {
        Self { about: Some(task), ..self.clone() }
    }

    /// Sends and does not wait. The message is a hint and may be lost; whether it left is the answer.
    pub fn tell(&self, body: M) -> bool {
        self.send::<()>(Relation::Link, body).is_ok()
    }

    /// Sends and waits for the answer, at most so long.
    pub async fn ask<T, E>(
        &self,
        limit: Duration,
        message: impl FnOnce(Reply<T, E>) -> M,
    ) -> Result<T, AskError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let asked = tokio::time::timeout(limit, self.ask_without_limit(message)).await;
        asked.unwrap_or(Err(AskError::TimedOut(M::ACTOR)))
    }

    async fn ask_without_limit<T, E>(
        &self,
        message: impl FnOnce(Reply<T, E>) -> M,
    ) -> Result<T, AskError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (answer, received) = ractor::concurrency::oneshot();
        self.send(Relation::Child, message(RpcReplyPort::from(answer)))?;
        match received.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refusal)) => Err(AskError::Refused(refusal)),
            Err(_) => Err(AskError::Restarting(M::ACTOR)),
        }
    }

    /// As `ask`, for what a user orders: an actor that is being restarted is waited for first, as long again as its
    /// answer may take.
    pub async fn order<T, E>(
        &self,
        limit: Duration,
        message: impl FnOnce(Reply<T, E>) -> M,
    ) -> Result<T, AskError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let until = Instant::now() + limit;
        while matches!(self.resolve::<E>(), Err(AskError::Restarting(_))) && Instant::now() < until
        {
            tokio::time::sleep(RESTART_LOOK).await;
        }
        self.ask(limit, message).await
    }

    fn send<E>(&self, relation: Relation, body: M) -> Result<(), AskError<E>> {
        let instance = self.resolve()?;
        let (waiting, depth) = Waiting::enter(M::ACTOR, self.directory.mailbox_depth(&self.path));
        if depth > self.limit {
            return Err(AskError::Busy(M::ACTOR));
        }
        let envelope = Envelope::seal(self.sender, &self.path, relation, waiting, body);
        let envelope = envelope.about(self.about);
        ActorRef::<Envelope<M>>::from(instance.cell)
            .send_message(envelope)
            .map_err(|_| AskError::Restarting(M::ACTOR))
    }

    fn resolve<E>(&self) -> Result<Instance, AskError<E>> {
        self.directory.resolve(&self.path).ok_or_else(|| match self.directory.status(&self.path) {
            None | Some(Status::Stopped) if !self.comes_back() => AskError::Gone(M::ACTOR),
            _ => AskError::Restarting(M::ACTOR),
        })
    }

    /// Whether a supervisor above is being restarted, with all that is below it.
    fn comes_back(&self) -> bool {
        let above = self.path.match_indices('/').map(|(end, _)| &self.path[..end]);
        above.filter_map(|path| self.directory.status(path)).any(|status| {
            matches!(status, Status::Starting | Status::Restarting | Status::BackingOff { .. })
        })
    }
}
