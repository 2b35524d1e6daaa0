//! One exact replacement, and what is said where it does not fit.
//!
//! It owns how a text is matched: exactly, but for the line ends of a file that uses CRLF. It must
//! never guess a place: a text that is missing or stands in several places is refused.

use super::lines::position;
use super::view::numbered;

/// Lines of a file that a miss names or shows.
const SHOWN: usize = 10;

/// Places whose surroundings are compared in full, to find the nearest.
const CANDIDATES: usize = 5;

/// Thousandths of likeness below which nothing is near.
const NEAR: usize = 500;

/// Why nothing was replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// There is nothing to look for.
    #[error("the text to replace is empty; to write a whole file, use another tool")]
    Empty,
    /// Nothing would change.
    #[error("the old and the new text are the same")]
    Same,
    /// The text is not there.
    #[error("the text to replace is not in the file{}", hint(*.other_whitespace, .nearest.as_deref()))]
    NotFound {
        /// The line where it would match if white space did not count.
        other_whitespace: Option<usize>,
        /// The lines most like it, with their numbers.
        nearest: Option<String>,
    },
    /// It is there more than once.
    #[error(
        "the text to replace stands {count} times in the file, at the lines {}; \
         add lines around it until it is the only one, or replace all of them",
        listed(.lines, *.count)
    )]
    Several {
        /// How often.
        count: usize,
        /// The first lines where it begins, from 1.
        lines: Vec<usize>,
    },
}

fn hint(other_whitespace: Option<usize>, nearest: Option<&str>) -> String {
    let mut hint = String::new();
    if let Some(line) = other_whitespace {
        hint.push_str(&format!(
            "; with other white space it stands at line {line}: copy that exactly"
        ));
    }
    if let Some(nearest) = nearest {
        hint.push_str(&format!("; the nearest lines are:\n{}", nearest.trim_end_matches('\n')));
    }
    hint
}

fn listed(lines: &[usize], count: usize) -> String {
    let mut names: Vec<_> = lines.iter().map(ToString::to_string).collect();
    if count > names.len() {
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// `content` with `old` replaced by `new`, at its only place or, with `all`, at each.
///
/// # Errors
/// [`Miss`] where it is not there, or at several places and `all` is not set.
pub fn replace(content: &str, old: &str, new: &str, all: bool) -> Result<String, Miss> {
    if old.is_empty() {
        return Err(Miss::Empty);
    }
    if old == new {
        return Err(Miss::Same);
    }
    let (old, new) = with_line_ends_of(content, old, new);
    let count = content.matches(&old).count();
    match count {
        0 => Err(not_found(content, &old)),
        1 => Ok(content.replacen(&old, &new, 1)),
        _ if all => Ok(content.replace(&old, &new)),
        _ => {
            let places = content.match_indices(&old).take(SHOWN);
            let lines = places.map(|(at, _)| content[..at].matches('\n').count() + 1).collect();
            Err(Miss::Several { count, lines })
        }
    }
}

/// Both texts with CRLF where the file uses it; a model writes LF.
fn with_line_ends_of(content: &str, old: &str, new: &str) -> (String, String) {
    let as_given = (old.to_owned(), new.to_owned());
    let carriage = content.matches("\r\n").count();
    if carriage == 0 || old.contains("\r\n") {
        return as_given;
    }
    let crlf = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r\n");
    if old.contains('\n') {
        let converted = crlf(old);
        // A file of both kinds: what stands there as it was given is meant.
        let is_meant = content.contains(&converted) || !content.contains(old);
        return if is_meant { (converted, crlf(new)) } else { as_given };
    }
    let pure = carriage == content.matches('\n').count();
    if pure { (old.to_owned(), crlf(new)) } else { as_given }
}

fn not_found(content: &str, old: &str) -> Miss {
    let lines: Vec<&str> = content.lines().collect();
    let wanted: Vec<&str> = old.lines().collect();
    Miss::NotFound {
        other_whitespace: by_words(&lines, &wanted),
        nearest: nearest(&lines, &wanted),
    }
}

/// The line from which all lines have the wanted words, in whatever white space.
fn by_words(lines: &[&str], wanted: &[&str]) -> Option<usize> {
    if wanted.iter().all(|line| line.trim().is_empty()) {
        return None;
    }
    let words = |lines: &[&str]| -> Vec<String> {
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    position(&words(lines), &words(wanted), 0).map(|at| at + 1)
}

/// The lines most like the wanted ones: the places whose line is most like the first wanted line
/// that says something, and of those the one whose surroundings fit best.
fn nearest(lines: &[&str], wanted: &[&str]) -> Option<String> {
    let anchor = wanted.iter().position(|line| !line.trim().is_empty())?;
    let mut places: Vec<(usize, usize)> = lines
        .iter()
        .enumerate()
        .map(|(at, line)| (likeness(line, wanted[anchor]), at))
        .filter(|(score, _)| *score > 0)
        .collect();
    places.sort_by_key(|(score, at)| (std::cmp::Reverse(*score), *at));
    let around = |at: usize| at.saturating_sub(anchor);
    let score = |at: usize| {
        let window = lines[around(at)..].iter().zip(wanted);
        window.map(|(a, b)| likeness(a, b)).sum::<usize>() / wanted.len()
    };
    let (score, first) = places
        .iter()
        .take(CANDIDATES)
        .map(|(_, at)| (score(*at), around(*at)))
        .max_by_key(|(score, at)| (*score, std::cmp::Reverse(*at)))?;
    let shown = lines[first..].iter().take(wanted.len().min(SHOWN)).enumerate();
    let shown = shown.map(|(at, line)| {
        let short: String = line.chars().take(200).collect();
        numbered((first + at + 1) as u64, &short)
    });
    (score >= NEAR).then(|| shown.collect())
}

/// How much two lines have in common at their begin and their end, in thousandths.
fn likeness(a: &str, b: &str) -> usize {
    let (a, b) = (a.trim().as_bytes(), b.trim().as_bytes());
    if a == b {
        return 1_000;
    }
    let longer = a.len().max(b.len());
    let shorter = a.len().min(b.len());
    let begin = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (begin + end).min(shorter) * 1_000 / longer
}
