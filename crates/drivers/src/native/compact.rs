//! How a conversation is made to fit its context window again.
//!
//! It owns what outlives that: the first message, the findings of verifications, and a hand-off that
//! the model wrote, or, where there is none, the latest turns. It must never part a call from its
//! answer.

use journeyman_domain::model::Item;

use super::conversation::EVIDENCE;
use super::output::cut;
use crate::prompts::COMPACT;

/// Bytes of findings that are kept, about 20,000 tokens.
const EVIDENCE_BYTES: usize = 80_000;

/// Characters of a hand-off.
const HAND_OFF_CHARACTERS: usize = 32_000;

/// How a hand-off begins.
const HAND_OFF: &str = "[runtime] The conversation grew too long. What came before is this hand-off, \
    which you wrote; the files are as you left them. Go on from here.";

/// How the note on turns that were left out begins.
const LEFT_OUT: &str = "[runtime] Left out here, since the conversation grew too long: ";

/// The items of a request for a hand-off.
pub(super) fn request(mut items: Vec<Item>) -> Vec<Item> {
    items.push(Item::User { text: COMPACT.to_owned() });
    items
}

/// The conversation with a hand-off in the place of all turns; `None` where it would not be smaller
/// or there is no hand-off.
pub(super) fn handed_off(items: &[Item], words: &str, context_window: u64) -> Option<Vec<Item>> {
    if words.trim().is_empty() {
        return None;
    }
    let first = items.first()?.clone();
    // An eighth of the window, a token being four characters.
    let eighth = usize::try_from(context_window).unwrap_or(usize::MAX) / 2;
    let mut left = EVIDENCE_BYTES.min(eighth);
    let mut kept: Vec<Item> = items
        .iter()
        .skip(1)
        .rev()
        .filter(|item| is_evidence(item))
        .map_while(|item| {
            left = left.checked_sub(item.bytes())?;
            Some(item.clone())
        })
        .collect();
    kept.push(first);
    kept.reverse();
    let words = cut(words.trim(), HAND_OFF_CHARACTERS.min(eighth));
    kept.push(Item::User { text: format!("{HAND_OFF}\n\n{words}") });
    (bytes(&kept) < bytes(items)).then_some(kept)
}

/// Leaves the oldest turns out, each with the answers to its calls, until the items fit; the first
/// message and findings stay. Whether they fit then.
pub(super) fn leave_out(items: &mut Vec<Item>, fits: impl Fn(&[Item]) -> bool) -> bool {
    let mut count = 0;
    while !fits(items) {
        let is_turn = |item: &Item| matches!(item, Item::Assistant { .. });
        let Some(begin) = items.iter().position(is_turn) else {
            return false;
        };
        let next = items[begin + 1..].iter().position(is_turn);
        let end = next.map_or(items.len(), |next| begin + 1 + next);
        let turn: Vec<Item> = items.drain(begin..end).collect();
        let findings = turn.into_iter().filter(is_evidence);
        items.splice(begin..begin, findings);
        count += 1;
        note(items, 1);
    }
    count == 0 || fits(items)
}

/// Counts turns that are left out, in a note after the first message.
fn note(items: &mut Vec<Item>, more: usize) {
    let before = match items.get(1) {
        Some(Item::User { text }) => text
            .strip_prefix(LEFT_OUT)
            .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok()),
        Some(Item::Assistant { .. } | Item::ToolResults { .. }) | None => None,
    };
    let count = before.unwrap_or_default() + more;
    let text = format!(
        "{LEFT_OUT}{count} of your earlier turns with their answers. The files are as you left \
         them; look at `git status` and `git diff`."
    );
    let place = 1.min(items.len());
    let replaced = place + usize::from(before.is_some());
    items.splice(place..replaced, [Item::User { text }]);
}

/// Whether there is a turn that could be left out.
pub(super) fn has_turns(items: &[Item]) -> bool {
    items.iter().any(|item| matches!(item, Item::Assistant { .. }))
}

fn is_evidence(item: &Item) -> bool {
    matches!(item, Item::User { text } if text.starts_with(EVIDENCE))
}

fn bytes(items: &[Item]) -> usize {
    items.iter().map(Item::bytes).sum()
}

#[cfg(test)]
mod tests {
    use journeyman_domain::model::{ModelTurn, Stop, TokenUsage, ToolAnswer};

    use super::super::conversation::evidence;
    use super::*;

    fn user(text: &str) -> Item {
        Item::User { text: text.into() }
    }

    fn turn(name: &str) -> Item {
        Item::Assistant {
            turn: ModelTurn {
                id: name.into(),
                model: String::new(),
                text: String::new(),
                calls: vec![],
                stop: Stop::ToolCalls,
                usage: TokenUsage::default(),
                usage_known: true,
                items: vec![serde_json::json!("x".repeat(998))],
            },
        }
    }

    fn answers(name: &str) -> Item {
        let call_id = name.to_owned();
        let answers = vec![ToolAnswer { call_id, output: "y".repeat(1_000), is_error: false }];
        Item::ToolResults { answers }
    }

    fn conversation() -> Vec<Item> {
        vec![
            user("first"),
            turn("1"),
            answers("1"),
            user("note"),
            turn("2"),
            Item::User { text: evidence("broken") },
            turn("3"),
            answers("3"),
        ]
    }

    #[test]
    fn a_hand_off_stands_for_all_but_the_task_and_findings() {
        let short = handed_off(&conversation(), " go on ", 100_000).unwrap();
        let expected =
            [user("first"), user(&evidence("broken")), user(&format!("{HAND_OFF}\n\ngo on"))];
        assert_eq!(short, expected);
        assert_eq!(handed_off(&conversation(), "\n", 100_000), None);
        assert_eq!(handed_off(&conversation(), &"w".repeat(9_000), 100_000), None, "no smaller");
        let none_of_it = handed_off(&conversation(), "w", 100).unwrap();
        assert_eq!(none_of_it.len(), 2, "findings are bounded by the window");
    }

    #[test]
    fn the_oldest_turns_go_whole_and_are_counted() {
        let mut items = conversation();
        assert!(leave_out(&mut items, |items| bytes(items) < 4_000));
        let left_out = |count: usize| {
            user(&format!(
                "{LEFT_OUT}{count} of your earlier turns with their answers. The files are as you \
                 left them; look at `git status` and `git diff`."
            ))
        };
        let mut expected = conversation();
        expected.splice(1..4, [left_out(1)]);
        assert_eq!(items, expected);
        assert!(leave_out(&mut items, |items| bytes(items) < 1_000));
        assert_eq!(items, [user("first"), left_out(3), user(&evidence("broken"))]);
        assert!(!leave_out(&mut items, |_| false) && !has_turns(&items));
    }
}
