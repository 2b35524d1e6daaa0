//! Fingerprints: equal for equal failures, whatever time, folder, process or order they came in.
//!
//! They are versioned: another way of computing them gets another number, and old ones stay what
//! they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use journeyman_domain::failure::Category;
use sha2::{Digest, Sha256};

use crate::mask::{Detail, mask};
use crate::window::is_hit;

/// The version of the algorithm; part of every fingerprint.
pub const VERSION: u32 = 1;

/// Frames of a stack that tell failures apart.
const FRAMES: usize = 3;
/// Fault lines that go into the exact fingerprint.
const MOST_LINES: usize = 400;

/// What is known of a failure once it is classified.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its category.
    pub category: Category,
    /// The typed problem; empty where none was told.
    pub kind: &'a str,
    /// Whether the kind alone makes two failures one kind ("missing_command:npm").
    pub kind_is_telling: bool,
    /// The line that says what happened.
    pub headline: &'a str,
    /// Functions of the stack, innermost first, those of libraries and runtimes left out.
    pub frames: &'a [String],
    /// The windows around the faults.
    pub text: &'a str,
}

/// Both fingerprints of a failure, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Equal for equal failures: names, numbers and the number of faults count.
    pub exact: String,
    /// Equal for failures of one kind.
    pub group: String,
}

/// Computes both fingerprints.
pub fn fingerprint(subject: &Subject<'_>) -> Fingerprint {
    let frames = &subject.frames[..subject.frames.len().min(FRAMES)];
    let mut group = format!("v{VERSION}\n{}\n{}\n", subject.category, subject.kind);
    if !subject.kind_is_telling {
        let _ = writeln!(group, "{}\n{}", mask(subject.headline, Detail::Group), frames.join("\n"));
    }
    // Which faults there are, and how often, not in which order: tests run at the same time.
    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    for line in subject.text.lines().map(str::trim).filter(|line| is_hit(line)).take(MOST_LINES) {
        *lines.entry(mask(line, Detail::Exact).into_owned()).or_default() += 1;
    }
    let mut exact =
        format!("{group}{}\n{}\n", mask(subject.headline, Detail::Exact), frames.join("\n"));
    for (line, count) in lines {
        let _ = writeln!(exact, "{count} {line}");
    }
    Fingerprint { exact: sha256(&exact), group: sha256(&group) }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
