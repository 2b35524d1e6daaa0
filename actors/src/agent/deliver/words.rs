//! What a delivery says of its task: in the branch's name, the commit and the pull request.
//!
//! All of it may leave the machine, so that it is made from text without secrets alone. A commit made again must be the
//! same commit: once a run has begun, the text is that of its journal, whatever secrets a later life knows.

use journeyman_domain::ids::TaskId;
use journeyman_domain::step::Entry;
use journeyman_domain::title::title;

use crate::agent::execute::Work;
use crate::support::recordable;

/// Characters of a title that a branch name takes over.
const SLUG: usize = 40;

/// What was asked, without secrets.
pub(super) struct Words {
    /// One line.
    pub(super) title: String,
    /// The whole.
    pub(super) prompt: String,
}

impl Words {
    /// Those of a run: from its journal, or from its row where it has not begun.
    pub(super) fn of(work: &Work) -> Self {
        let journaled = work.journal.steps.iter().find_map(|step| {
            let Entry::Started { assignment, .. } = &step.entry else { return None };
            Some(assignment.prompt.clone())
        });
        Self::new(journaled.unwrap_or_else(|| recordable(&work.held.run.prompt)))
    }

    /// The title is made anew: the row's may have been cut within a secret.
    fn new(prompt: String) -> Self {
        Self { title: title(&prompt).unwrap_or_default(), prompt }
    }

    /// The branch of a task.
    pub(super) fn branch(&self, task: TaskId) -> String {
        format!("journeyman/{}", self.name(task))
    }

    /// The task in the name of a branch or a file.
    pub(super) fn name(&self, task: TaskId) -> String {
        format!("{}-{}", task.short(), slug(&self.title))
    }

    /// The message of the commit.
    pub(super) fn message(&self) -> String {
        let (title, body) = (&self.title, self.prompt.trim());
        if body == title { format!("{title}\n") } else { format!("{title}\n\n{body}\n") }
    }
}

/// The words of a title as a branch name takes them: lower-case letters and digits, hyphens.
fn slug(title: &str) -> String {
    let mut slug = String::new();
    for character in title.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= SLUG {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "task".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_short_and_plain() {
        assert_eq!(slug("Fix the build: `foo()` is gone!"), "fix-the-build-foo-is-gone");
        assert_eq!(slug("日本語"), "task");
        assert!(slug(&"long words ".repeat(20)).len() <= SLUG);
    }

    #[test]
    fn a_message_says_the_prompt_once() {
        let message = |prompt: &str| Words::new(prompt.to_owned()).message();
        assert_eq!(message(" Mend it.\n"), "Mend it.\n");
        assert_eq!(message("Mend it.\n\nAll of it.\n"), "Mend it.\n\nMend it.\n\nAll of it.\n");
    }
}
