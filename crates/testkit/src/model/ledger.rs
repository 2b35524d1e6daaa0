//! The book of what was asked and answered.
//!
//! Owns: conversations, their turns, and what was found wrong. Must never: know a wire format or
//! a script beyond what it allows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::dialect::{Dialect, History};
use super::{Script, Seen};

/// Characters of an item that a violation shows.
const SHOWN_CHARS: usize = 160;

type Turn = (String, usize);

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) seen: Vec<Arc<Seen>>,
    pub(super) violations: Vec<String>,
    pub(super) hung_up: usize,
    conversations: BTreeMap<String, Conversation>,
    /// Every answer that was given to a turn, by its items.
    given: BTreeMap<Turn, Vec<Vec<Value>>>,
    /// When those requests of each turn came that were answered completely.
    answered: BTreeMap<Turn, Vec<SystemTime>>,
    asked: BTreeMap<Turn, usize>,
}

#[derive(Debug, Default)]
struct Conversation {
    system: Value,
    tools: Vec<Value>,
    /// The last request, each entry with its bytes, and the bytes of what stands before them.
    last: Vec<(Value, usize)>,
    last_settings_bytes: usize,
    last_turn: usize,
    /// The histories between compactions, oldest first.
    epochs: Vec<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    entries: Vec<Value>,
    /// Turns that the compactions took away.
    lost_turns: usize,
}

/// A request that is in the book.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub(super) seen: Arc<Seen>,
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
    /// Makes ids of an answer to it unique.
    pub(super) tag: String,
    /// Bytes of the whole request, and those shared with the request before.
    pub(super) bytes: usize,
    pub(super) shared_bytes: usize,
    pub(super) has_cache_marks: bool,
}

/// The name of a conversation without a `prompt_cache_key` whose first user message is this text.
pub fn conversation_of(first_user_message: &str) -> String {
    let mut hasher = DefaultHasher::new();
    first_user_message.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Ledger {
    pub(super) fn answered(&self, conversation: &str, turn: usize) -> usize {
        self.answered.get(&(conversation.to_owned(), turn)).map_or(0, Vec::len)
    }

    pub(super) fn all_answered(&self) -> &BTreeMap<Turn, Vec<SystemTime>> {
        &self.answered
    }

    /// Enters a request and judges it.
    pub(super) fn enter(
        &mut self,
        mut seen: Seen,
        script: &Script,
        dialect: &dyn Dialect,
    ) -> Entered {
        let mut history = dialect.read(&seen);
        seen.conversation = match seen.body["prompt_cache_key"].as_str() {
            Some(key) => key.to_owned(),
            None => self.by_first_message(&history),
        };
        let mut faults = std::mem::take(&mut history.faults);
        let mut conversation = self.conversations.remove(&seen.conversation).unwrap_or_default();
        let (bytes, shared_bytes) = conversation.lengths(&history);
        faults.extend(conversation.settings_changed(&history));
        let (turn, more) =
            self.place(&mut conversation, &seen.conversation, &history, script, dialect);
        faults.extend(more);
        seen.turn = turn;
        seen.last = history.last;
        let key = (seen.conversation.clone(), seen.turn);
        let asked = self.asked.entry(key).or_default();
        *asked += 1;
        let short = conversation_of(&seen.conversation);
        let tag = format!("{}_{}_{asked}", short.get(..8).unwrap_or(&short), seen.turn);
        conversation.last_turn = turn;
        self.conversations.insert(seen.conversation.clone(), conversation);
        let place = format!("{} turn {}", seen.conversation, seen.turn);
        self.violations.extend(faults.iter().map(|fault| format!("{place}: {fault}")));
        let seen = Arc::new(seen);
        self.seen.push(Arc::clone(&seen));
        let has_cache_marks = history.cache_marks > 0;
        Entered { seen, faults, tag, bytes, shared_bytes, has_cache_marks }
    }

    /// The conversation that a request without a key belongs to: the one that it continues the
    /// furthest. Two may begin with the same words: one that is at its beginning again, where all
    /// known ones went on, is another one.
    fn by_first_message(&self, history: &History) -> String {
        let first = conversation_of(&history.first_user);
        let later = (2..).map(|number| format!("{first}#{number}"));
        let mut names = [first.clone()].into_iter().chain(later);
        let known: Vec<_> =
            names.by_ref().map_while(|name| self.conversations.get_key_value(&name)).collect();
        let fresh = || match known.len() {
            0 => first.clone(),
            count => format!("{first}#{}", count + 1),
        };
        let entries = &history.entries;
        let began_again = history.turns.is_empty()
            && known.iter().all(|(_, conversation)| conversation.went_on_from(entries));
        if began_again {
            return fresh();
        }
        let furthest = known.iter().max_by_key(|(_, conversation)| conversation.reach(entries));
        furthest.map_or_else(fresh, |(name, _)| (*name).clone())
    }

    /// The turn that a request asks for, and what is wrong with its history.
    fn place(
        &self,
        conversation: &mut Conversation,
        name: &str,
        history: &History,
        script: &Script,
        dialect: &dyn Dialect,
    ) -> (usize, Vec<String>) {
        let continued = conversation.epoch_of(&history.entries);
        let known = continued.map_or(0, |at| conversation.epochs[at].lost_turns);
        let (turns, mut faults) = self.turns(name, known, history, dialect);
        if script.foreign_turns {
            faults.clear();
        }
        if let Some(at) = continued {
            let known_entries = &mut conversation.epochs[at].entries;
            known_entries.extend_from_slice(&history.entries[known_entries.len()..]);
            return (known + turns, faults);
        }
        let lost_turns = match conversation.epochs.last() {
            None => 0,
            Some(_) if script.compaction => {
                let last = conversation.last_turn;
                let next = last + usize::from(self.answered(name, last) > 0);
                next.saturating_sub(turns)
            }
            Some(before) => {
                faults.push(rewritten(&before.entries, &history.entries));
                before.lost_turns
            }
        };
        conversation.epochs.push(Epoch { entries: history.entries.clone(), lost_turns });
        (lost_turns + turns, faults)
    }

    /// How many turns the history holds, and those that were never given like this.
    fn turns(
        &self,
        conversation: &str,
        lost_turns: usize,
        history: &History,
        dialect: &dyn Dialect,
    ) -> (usize, Vec<String>) {
        let (mut turns, mut foreign) = (0, Vec::new());
        for group in &history.turns {
            let mut rest = group.as_slice();
            loop {
                let turn = (conversation.to_owned(), lost_turns + turns);
                turns += 1;
                let expected = self.given.get(&turn).into_iter().flatten();
                let elsewhere = self.given.values().flatten();
                let mut candidates = expected.chain(elsewhere).filter(|items| !items.is_empty());
                let Some(found) = candidates.find(|items| begins_with(rest, items, dialect)) else {
                    let shown = shown(&Value::from(rest.to_vec()));
                    foreign.push(format!("an assistant turn was never given like this: {shown}"));
                    break;
                };
                // A paused turn and its continuation are sent back as one.
                rest = &rest[found.len()..];
                if rest.is_empty() {
                    break;
                }
            }
        }
        (turns, foreign)
    }

    /// Notes that a turn is answered with these items.
    pub(super) fn answer(&mut self, seen: &Seen, items: Vec<Value>) {
        let turn = (seen.conversation.clone(), seen.turn);
        self.given.entry(turn.clone()).or_default().push(items);
        self.answered.entry(turn).or_default().push(seen.at);
    }

    /// Takes an answer back whose end could not be sent. Its items stay: they may have arrived.
    pub(super) fn take_back(&mut self, seen: &Seen) {
        let turn = (seen.conversation.clone(), seen.turn);
        if let Some(answered) = self.answered.get_mut(&turn) {
            answered.retain(|at| *at != seen.at);
        }
    }
}

impl Conversation {
    /// The newest history that this one continues.
    fn epoch_of(&self, entries: &[Value]) -> Option<usize> {
        self.epochs.iter().rposition(|epoch| entries.starts_with(&epoch.entries))
    }

    /// Bytes of a request, and of the beginning that it shares with the one before, by whole entries.
    fn lengths(&mut self, history: &History) -> (usize, usize) {
        let settings: usize = history.tools.iter().map(bytes_of).sum();
        let settings = settings + bytes_of(&history.system);
        let same_settings = self.last_settings_bytes == settings;
        let pairs = self.last.iter().zip(&history.entries);
        let kept = pairs.take_while(|((before, _), now)| before == *now).count();
        let kept = if same_settings { kept } else { 0 };
        self.last.truncate(kept);
        self.last_settings_bytes = settings;
        let shared: usize = self.last.iter().map(|(_, bytes)| bytes).sum();
        let more = history.entries[kept..].iter().map(|entry| (entry.clone(), bytes_of(entry)));
        self.last.extend(more);
        let all: usize = self.last.iter().map(|(_, bytes)| bytes).sum();
        (settings + all, if same_settings { settings + shared } else { 0 })
    }

    /// How many entries of a history it knows, if the history continues it.
    fn reach(&self, entries: &[Value]) -> usize {
        self.epoch_of(entries).map_or(0, |at| self.epochs[at].entries.len())
    }

    /// Whether more was said already after these very entries.
    fn went_on_from(&self, entries: &[Value]) -> bool {
        let longer = |epoch: &Epoch| epoch.entries.len() > entries.len();
        self.epochs.iter().any(|epoch| longer(epoch) && epoch.entries.starts_with(entries))
    }

    /// Under a schema, the tools are described in the system prompt; without tools, nothing is.
    fn drops_schema(&self, history: &History) -> bool {
        let had = self.tools.first().is_some_and(|tool| tool["type"] == "json_schema");
        had && history.tools.is_empty()
    }

    /// System prompt and tools stay as they were in the first request that had them.
    fn settings_changed(&mut self, history: &History) -> Vec<String> {
        let mut faults = Vec::new();
        if self.epochs.is_empty() {
            self.system.clone_from(&history.system);
        } else if self.system != history.system && !self.drops_schema(history) {
            faults.push(format!(
                "the system prompt changed from {} to {}",
                shown(&self.system),
                shown(&history.system)
            ));
        }
        if self.tools.is_empty() {
            self.tools.clone_from(&history.tools);
        } else if !history.tools.is_empty() && self.tools != history.tools {
            faults.push("the tools changed within the conversation".to_owned());
        }
        faults
    }
}

fn begins_with(rest: &[Value], items: &[Value], dialect: &dyn Dialect) -> bool {
    rest.len() >= items.len()
        && items.iter().zip(rest).all(|(given, back)| dialect.same(given, back))
}

/// Says where a history is not the continuation of the one before.
fn rewritten(before: &[Value], now: &[Value]) -> String {
    let at = before.iter().zip(now).take_while(|(before, now)| before == now).count();
    let show = |entries: &[Value]| entries.get(at).map_or_else(|| "nothing".into(), shown);
    format!("the history was rewritten: item {at} was {} and is {}", show(before), show(now))
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(SHOWN_CHARS).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

fn bytes_of(value: &Value) -> usize {
    value.to_string().len()
}
