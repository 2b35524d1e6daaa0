//! What each effect needs to be done by whoever claims it, and what follows it.

use serde::{Deserialize, Serialize};

use super::EffectKind;
use crate::forge::ForgeRepository;
use crate::ids::RunId;
use crate::verdict::Comparison;

/// Letters of a prompt that a pull request shows; a forge takes no more than 65,536 in all.
const MOST_PROMPT: usize = 40_000;
/// Checks that it names.
const MOST_CHECKS: usize = 50;

/// An effect with all that it needs; as the column `payload` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// A branch is pushed.
    Push(Push),
    /// A pull request is opened.
    PullRequest(PullRequest),
}

/// A branch to push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The folder of the repository that has it.
    pub repository: String,
    /// The branch, without `refs/heads/`; it has this name on the remote, too.
    pub branch: String,
    /// The commit that it must be at.
    pub commit: String,
    /// The pull request that follows.
    pub then: Option<PullRequestDraft>,
}

/// A pull request, as far as it is known before the push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestDraft {
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// The branch to merge into; the remote's default one where nobody says.
    pub base: Option<String>,
}

/// A pull request to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Where.
    pub repository: ForgeRepository,
    /// The branch that was pushed.
    pub head: String,
    /// The branch to merge into.
    pub base: String,
    /// One line.
    pub title: String,
    /// Markdown, with the hidden marker.
    pub body: String,
}

impl Effect {
    /// The word of its row.
    pub const fn kind(&self) -> EffectKind {
        match self {
            Self::Push(_) => EffectKind::Push,
            Self::PullRequest(_) => EffectKind::PullRequest,
        }
    }

    /// What makes it this one effect and no other, however often it is decided.
    pub fn idempotency_key(&self, run: RunId) -> String {
        format!("{run}/{}", self.kind())
    }
}

/// The pull request of a task: what was asked, and what became of each check. It leaves the machine: the caller has
/// taken secrets out.
pub fn draft(
    title: String,
    prompt: &str,
    checks: &[(String, Comparison)],
    base: Option<String>,
) -> PullRequestDraft {
    let prompt = prompt.trim();
    let mut body: String = prompt.chars().take(MOST_PROMPT).collect();
    if body.len() < prompt.len() {
        body.push('…');
    }
    if checks.is_empty() {
        body.push_str("\n\nNo check has judged this change.\n");
    } else {
        body.push_str("\n\nChecked on the base and on this change, in clean checkouts:\n\n");
    }
    for (check, became) in checks.iter().take(MOST_CHECKS) {
        let check = check.lines().next().unwrap_or_default();
        let became = match became {
            Comparison::Passes => "passes",
            Comparison::Mended => "failed on the base, passes now",
            Comparison::Broken => "passed on the base, fails now",
            Comparison::Better => "fails on both, with fewer failures now",
            Comparison::StillFails => "fails on both",
        };
        body.push_str(&format!("- `{check}`: {became}\n"));
    }
    PullRequestDraft { title, body, base }
}

/// The comment by which a pull request of ours is known again; Markdown does not show it.
pub fn marker(idempotency_key: &str) -> String {
    format!("<!-- journeyman: {idempotency_key} -->")
}

/// What follows a push that is done: its pull request, with the key of its own, where one was wanted.
pub fn follow_up(
    push: &Push,
    push_key: &str,
    repository: ForgeRepository,
    default_branch: Option<&str>,
) -> Result<Option<(String, PullRequest)>, String> {
    let Some(draft) = &push.then else { return Ok(None) };
    let base = draft.base.as_deref().or(default_branch);
    let Some(base) = base else {
        return Err(format!("{repository} has no default branch that a pull request could go to"));
    };
    let run = push_key.split('/').next().unwrap_or_default();
    let key = format!("{run}/{}", EffectKind::PullRequest);
    let body = format!("{}\n\n{}\n", draft.body.trim_end(), marker(&key));
    let request = PullRequest {
        repository,
        head: push.branch.clone(),
        base: base.to_owned(),
        title: draft.title.clone(),
        body,
    };
    Ok(Some((key, request)))
}
