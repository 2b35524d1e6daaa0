//! What the text of a failure says: a table of matchers, the most telling first.

mod table;

use std::sync::LazyLock;

use journeyman_domain::failure::{Category, Evidence, Phase};
use regex::bytes::{RegexSet, RegexSetBuilder};
use regex::{Captures, Regex};

use self::table::{RULES, Rule, Where};
use super::Finding;
use crate::crash;

struct Compiled {
    /// Tells in one pass which rules are worth a closer look.
    set: RegexSet,
    rules: Vec<(&'static Rule, Regex)>,
}

/// Memory that the automaton of all rules may fill.
const AUTOMATON_BYTES: usize = 32 << 20;

static COMPILED: LazyLock<Option<Compiled>> = LazyLock::new(|| compile().ok());

fn compile() -> Result<Compiled, regex::Error> {
    let rules = RULES.iter().map(|rule| Ok((rule, Regex::new(&format!("(?m){}", rule.pattern))?)));
    // Classes of bytes instead of Unicode's keep the automaton small, which is what makes it fast.
    let patterns = RULES.iter().map(|rule| format!("(?m-u){}", rule.pattern));
    let set = RegexSetBuilder::new(patterns).dfa_size_limit(AUTOMATON_BYTES).build()?;
    Ok(Compiled { rules: rules.collect::<Result<_, regex::Error>>()?, set })
}

/// The first rule of the table that the text fulfils; a crash stands between building and testing.
pub(super) fn by_text(evidence: &Evidence, text: &str) -> Option<Finding> {
    let compiled = COMPILED.as_ref()?;
    let matched = compiled.set.matches(text.as_bytes());
    let hits = || matched.iter().filter_map(|index| compiled.rules.get(index));
    let first = hits().find(|(rule, _)| applies(rule, evidence));
    // A crash says more than that something failed, and than what the program said before it.
    let tested = hits().any(|(rule, _)| rule.is_test());
    if first.is_none_or(|(rule, _)| rule.weak || rule.late)
        && let Some(found) = by_crash(text, tested)
    {
        return Some(found);
    }
    let (rule, pattern) = first?;
    let found = pattern.captures(text)?;
    let kind = expand(rule.kind, &found);
    let category = refine(rule.category, &kind, evidence);
    Some(Finding {
        category,
        kind_is_telling: !kind.is_empty() && !rule.weak,
        headline: line_of(text, &found).to_owned(),
        confidence: if rule.weak { 0.7 } else { 0.95 },
        by: format!(
            "rule:{}",
            rule.kind
                .split(':')
                .next()
                .filter(|name| !name.is_empty())
                .unwrap_or(rule.category.as_str())
        ),
        kind,
    })
}

fn applies(rule: &Rule, evidence: &Evidence) -> bool {
    match rule.place {
        Where::Anywhere => true,
        Where::Acting => evidence.phase == Phase::Act,
        // Checks run without a network: there a refused connection is what a test expected.
        Where::NotVerifying => evidence.phase != Phase::Verify,
    }
}

/// A crash of the program; within a test's run it is that test that failed.
fn by_crash(text: &str, tested: bool) -> Option<Finding> {
    let crash = crash::crash(text)?;
    let plain = matches!(crash.kind.as_str(), "ASSERT" | "CHECK failure" | "Uncaught exception");
    let category = match crash.kind.as_str() {
        _ if tested && plain => Category::TestAssertion,
        "Out-of-memory" => Category::ResourceMemory,
        "Timeout" => Category::TimeoutHard,
        "Missing-library" => Category::EnvMissing,
        _ => Category::ProgramCrash,
    };
    let prefix = if category == Category::TestAssertion { "panic" } else { "crash" };
    Some(Finding {
        category,
        kind: format!("{prefix}:{}", crash.kind),
        kind_is_telling: false,
        headline: crash.headline,
        confidence: 0.9,
        by: "crash".to_owned(),
    })
}

/// The kind with its groups filled in: `$1` is the first group that matched.
fn expand(kind: &str, found: &Captures<'_>) -> String {
    let group = found.iter().skip(1).flatten().next().map_or("", |group| group.as_str());
    let group = group.trim().trim_matches(['\'', '"', '`', '\u{2018}', '\u{2019}']);
    let lint = kind.starts_with("clippy:") || kind.starts_with("rustc:");
    // On a command line lints are spelled with dashes.
    if lint { kind.replace("$1", &group.replace('-', "_")) } else { kind.replace("$1", group) }
}

/// The whole line in which the match begins.
fn line_of<'t>(text: &'t str, found: &Captures<'_>) -> &'t str {
    let Some(whole) = found.get(0) else { return "" };
    let start = whole.start() + (whole.as_str().len() - whole.as_str().trim_start().len());
    let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let to = text[start..].find('\n').map_or(text.len(), |at| start + at);
    text[from..to].trim()
}

/// Codes of rustc for names and syntax; all others are about types and borrows.
const RUSTC_NAMES: &[&str] = &[
    "E0405", "E0407", "E0408", "E0412", "E0416", "E0422", "E0423", "E0424", "E0425", "E0426",
    "E0428", "E0429", "E0430", "E0431", "E0432", "E0433", "E0434", "E0435", "E0437", "E0438",
    "E0463", "E0531", "E0532", "E0574", "E0583", "E0584", "E0585", "E0586", "E0603", "E0616",
    "E0624", "E0658", "E0761", "E0765", "E0766",
];

/// What a rule alone cannot tell: type errors from name errors, a linter from the compiler.
fn refine(category: Category, kind: &str, evidence: &Evidence) -> Category {
    let source = evidence.source.as_deref().unwrap_or_default();
    match (category, kind.split_once(':')) {
        (_, Some(("rustc", code))) if code.starts_with('E') => {
            if RUSTC_NAMES.contains(&code) {
                Category::BuildCompile
            } else {
                Category::BuildType
            }
        }
        (_, Some(("tsc", code))) => {
            let names = code.starts_with("TS1") && code.len() == 6
                || matches!(code, "TS2304" | "TS2305" | "TS2307" | "TS2552");
            if names { Category::BuildCompile } else { Category::BuildType }
        }
        (Category::BuildCompile, None) if source.contains("clippy") || source.contains("lint") => {
            Category::Lint
        }
        _ => category,
    }
}
