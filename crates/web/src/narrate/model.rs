//! An answer of a model as a line: its first words, what it used, what it cost.

use journeyman_domain::model::{ModelTurn, dollars};

/// Characters of the model's words that a line shows.
const WORDS: usize = 80;

pub(super) fn said(turn: &ModelTurn, cost_nanousd: Option<u64>) -> String {
    let mut line = "model".to_owned();
    if let Some(first) = turn.text.lines().map(str::trim).find(|line| !line.is_empty()) {
        let words: String = first.chars().take(WORDS).collect();
        let more = if words.len() < first.len() { "…" } else { "" };
        line.push_str(&format!(": {words}{more}"));
    }
    let usage = &turn.usage;
    let about = if turn.usage_known { "" } else { "about " };
    line.push_str(&format!("  {about}{} tokens in", usage.input()));
    if usage.cache_read > 0 {
        line.push_str(&format!(" ({} cached)", usage.cache_read));
    }
    line.push_str(&format!(", {} out", usage.output));
    if let Some(cost) = cost_nanousd {
        line.push_str(&format!(", ${:.4}", dollars(cost)));
    }
    line
}
