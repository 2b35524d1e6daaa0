//! What the server does, request by request.
//!
//! Owns: the replies, the misbehaviours still to come, and what is allowed. Must never: depend on
//! how often the other side was started: a reply follows from the conversation alone.

use std::sync::{Mutex, PoisonError};

use super::{Misbehaviour, Reply, Seen};

type Choose = dyn Fn(&Seen) -> Reply + Send + Sync;

enum Replies {
    Turns { replies: Vec<Reply>, repeat_last: bool },
    By(Box<Choose>),
}

/// Whether a misbehaviour is meant for a request.
type Applies = dyn Fn(&Seen) -> bool + Send;

struct Planned {
    applies: Box<Applies>,
    misbehaviour: Misbehaviour,
    times_left: usize,
}

/// The script of a [`super::ModelServer`].
pub struct Script {
    replies: Replies,
    planned: Mutex<Vec<Planned>>,
    pub(super) compaction: bool,
    pub(super) foreign_turns: bool,
    pub(super) key: Option<String>,
    pub(super) models: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("models", &self.models).finish_non_exhaustive()
    }
}

impl Script {
    /// Reply `i` answers the request that holds `i` assistant turns; past the end it is the plain
    /// text `Done.`.
    pub fn turns(replies: impl Into<Vec<Reply>>) -> Self {
        Self::new(Replies::Turns { replies: replies.into(), repeat_last: false })
    }

    /// The reply is a function of the request.
    pub fn by(choose: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(Replies::By(Box::new(choose)))
    }

    fn new(replies: Replies) -> Self {
        Self {
            replies,
            planned: Mutex::default(),
            compaction: false,
            foreign_turns: false,
            key: None,
            models: Vec::new(),
        }
    }

    /// Past the end of the turns, the last reply is given again and again.
    #[must_use]
    pub fn repeat_last(mut self) -> Self {
        if let Replies::Turns { repeat_last, .. } = &mut self.replies {
            *repeat_last = true;
        }
        self
    }

    /// Misbehaves once at this turn, of whichever conversation comes there first, before it gives
    /// the real reply. Several for one turn come in the order in which they were added.
    #[must_use]
    pub fn misbehave_at(self, turn: usize, misbehaviour: Misbehaviour) -> Self {
        self.misbehave_times(turn, 1, misbehaviour)
    }

    /// Misbehaves so many times at this turn.
    #[must_use]
    pub fn misbehave_times(self, turn: usize, times: usize, misbehaviour: Misbehaviour) -> Self {
        self.misbehave_when(times, misbehaviour, move |seen| seen.turn == turn)
    }

    /// Misbehaves so many times at requests of which this is true.
    #[must_use]
    pub fn misbehave_when(
        self,
        times: usize,
        misbehaviour: Misbehaviour,
        applies: impl Fn(&Seen) -> bool + Send + 'static,
    ) -> Self {
        self.plan(times, misbehaviour, applies);
        self
    }

    /// Takes requests whose history is not the one before it with something added. The turns of
    /// such a request go on counting from the turn that was asked for last.
    #[must_use]
    pub fn allow_compaction(mut self) -> Self {
        self.compaction = true;
        self
    }

    /// Takes assistant turns that this server never gave.
    #[must_use]
    pub fn allow_foreign_turns(mut self) -> Self {
        self.foreign_turns = true;
        self
    }

    /// Answers 401 to a request without this key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Knows these models only, and answers 404 to others.
    #[must_use]
    pub fn models<'a>(mut self, models: impl IntoIterator<Item = &'a str>) -> Self {
        self.models = models.into_iter().map(str::to_owned).collect();
        self
    }

    pub(super) fn plan(
        &self,
        times: usize,
        misbehaviour: Misbehaviour,
        applies: impl Fn(&Seen) -> bool + Send + 'static,
    ) {
        let planned = Planned { applies: Box::new(applies), misbehaviour, times_left: times };
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).push(planned);
    }

    pub(super) fn reply(&self, seen: &Seen) -> Reply {
        match &self.replies {
            Replies::By(choose) => choose(seen),
            Replies::Turns { replies, repeat_last } => {
                let last = replies.last().filter(|_| *repeat_last);
                let reply = replies.get(seen.turn).or(last);
                reply.cloned().unwrap_or_else(|| Reply::text("Done."))
            }
        }
    }

    /// The misbehaviour that this request meets, which is thereby used up.
    pub(super) fn misbehaviour(&self, seen: &Seen) -> Option<Misbehaviour> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = planned.iter_mut().filter(|planned| planned.times_left > 0);
        let next = open.find(|planned| (planned.applies)(seen))?;
        next.times_left -= 1;
        Some(next.misbehaviour.clone())
    }

    pub(super) fn knows(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|known| known == model)
    }
}
