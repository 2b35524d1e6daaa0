//! What a repository tells agents: `AGENTS.md` and the files that other tools read for the same.

use std::path::Path;

use journeyman_workspace::ObjectId;

use super::execute::RunError;
use crate::support::recordable;

/// The files, the most telling first; those of one tool repeat what those of another say.
const NAMES: [&str; 5] =
    ["AGENTS.md", "CLAUDE.md", "GEMINI.md", ".github/copilot-instructions.md", ".cursorrules"];
/// Bytes of all of them together.
const LIMIT: usize = 32 * 1024;

/// Path and text of each, as they are at the base, cut where they are too long.
pub(super) async fn of(
    repository: &Path,
    base: &ObjectId,
    files: &[String],
) -> Result<Vec<(String, String)>, RunError> {
    let there = |name: &&str| files.iter().any(|file| file == name);
    let wanted: Vec<String> = NAMES.into_iter().filter(there).map(str::to_owned).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    // More than is kept, so that it is known to be cut.
    let mut contents =
        journeyman_workspace::contents(repository, base, &wanted, LIMIT.saturating_mul(8)).await?;
    let mut left = LIMIT;
    let mut guides: Vec<(String, String)> = Vec::new();
    for name in wanted {
        let Some(text) = contents.remove(&name) else { continue };
        let text = recordable(&text);
        // Often one is a copy of the other, or a link to it.
        if left == 0 || guides.iter().any(|(_, other)| *other == text) {
            continue;
        }
        let cut = text.floor_char_boundary(left);
        left -= cut;
        let text = if cut < text.len() {
            format!("{}\n[cut: {} bytes more]", &text[..cut], text.len() - cut)
        } else {
            text
        };
        guides.push((name, text));
    }
    Ok(guides)
}
