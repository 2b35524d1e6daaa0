//! Git as a user calls it, with an identity of its own and nothing of the machine's settings.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

/// Runs it in a folder; what it printed, without the last line's end.
pub fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=You", "-c", "user.email=you@localhost"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()?;
    ensure!(output.status.success(), "git {arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
